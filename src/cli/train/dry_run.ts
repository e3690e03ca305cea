/** `uncouple train --dry-run`: settings and memory, before anything starts. */
import { join } from "node:path";
import Table from "cli-table3";
import type { TrainConfig } from "../../config/schema.js";
import { readJsonFile } from "../../host/files/json_file.js";
import { parseQwen2Config, presetConfig, type Qwen2Config } from "../../model/config.js";
import type { MemoryEstimate } from "../../rl/loop/memory_estimate.js";
import { bytesText } from "./progress.js";

/** Words of a small world: what a word tokenizer has before it is built. */
const ASSUMED_WORDS = 512;

/** Shape of the policy that a configuration means; the vocabulary of a word tokenizer is assumed.
 *  @throws DataError when the model folder has no readable config.json */
export async function plannedModel({ model }: TrainConfig): Promise<Qwen2Config> {
  if (model.path === null) return presetConfig(model.preset, ASSUMED_WORDS);
  const file = join(model.path, "config.json");
  return parseQwen2Config(await readJsonFile(file), file);
}

/** The estimate as an aligned table. */
export function memoryTable({ rows, totalBytes, largest, warnings }: MemoryEstimate): string {
  const table = new Table({
    head: ["GPU memory", "estimate", "of what"],
    colAligns: ["left", "right", "left"],
    style: { head: [], border: [] },
  });
  for (const { name, bytes, note } of rows) table.push([name, bytesText(bytes), note]);
  table.push(["all together", bytesText(totalBytes), "an upper estimate"]);
  table.push(["largest buffer", bytesText(largest.bytes), `${largest.name}, ${largest.note}`]);
  return [table.toString(), ...warnings.map((text) => `does not fit: ${text}`)].join("\n");
}
