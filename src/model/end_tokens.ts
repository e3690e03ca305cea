/** Which tokens end an answer, and how an exported model says so. */
import { DataError } from "../core/errors.js";
import { shown } from "../core/shown.js";

type JsonObject = Readonly<Record<string, unknown>>;

/** Ids that `eos_token_id` names: one, a list of them or none. */
function idsOf(value: unknown, rows: number, where: string): number[] {
  const ids: unknown[] = value === undefined || value === null ? [] : Array.isArray(value) ? value : [value];
  for (const id of ids) {
    if (Number.isInteger(id) && Number(id) >= 0 && Number(id) < rows) continue;
    throw new DataError(
      `[${where}] end token is wrong: got ${shown(id)} in eos_token_id, expected ids from 0 to ${rows - 1}, the ` +
        "rows of the model's vocabulary. Correct the file.",
    );
  }
  return ids as number[];
}

/**
 * Ids that end an answer: `eos_token_id` of generation_config.json, or of config.json where the former has none.
 * @param config of the model
 * @param file name of generation_config.json, for messages
 * @throws DataError for an id that the model has no row for
 */
export function endTokenIds(
  config: { readonly eos_token_id: unknown; readonly vocab_size: number },
  generation: JsonObject,
  file: string,
): number[] {
  const own = idsOf(generation.eos_token_id, config.vocab_size, file);
  return own.length > 0 ? own : idsOf(config.eos_token_id, config.vocab_size, "config.json");
}

/** `eos_token_id` of a file that is written: all ids of the file it comes from, and those that training used. */
export function withEndTokens(given: unknown, used: readonly number[]): number | number[] | null {
  const before = given === undefined || given === null ? [] : [given].flat();
  const ids = [...new Set([...used, ...(before as number[])])];
  return ids.length === 0 ? null : ids.length === 1 ? ids[0] : ids;
}
