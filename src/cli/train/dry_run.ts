/** `uncouple train --dry-run`: settings, what the preset set of them, and memory, before anything starts. */
import { join } from "node:path";
import Table from "cli-table3";
import type { PresetField } from "../../config/presets.js";
import type { TrainConfig } from "../../config/schema.js";
import { readJsonFile } from "../../host/files/json_file.js";
import { RUN_FILES } from "../../host/run/run_info.js";
import { usesKept } from "../../host/run/training_setup.js";
import { parseQwen2Config, presetConfig, type Qwen2Config } from "../../model/config.js";
import type { MemoryEstimate } from "../../rl/loop/memory_estimate.js";
import { bytesText } from "./progress.js";

/** Words of a small world: what a word tokenizer has before it is built. */
const ASSUMED_WORDS = 512;

/** Shape of the policy that a configuration means; the vocabulary of a word tokenizer is assumed.
 *  @param run folder of a run that goes on
 *  @throws DataError when the model folder has no readable config.json */
export async function plannedModel({ model }: TrainConfig, run?: string): Promise<Qwen2Config> {
  if (model.path === null) return presetConfig(model.preset, ASSUMED_WORDS);
  const kept = run === undefined ? undefined : join(run, RUN_FILES.model);
  const isKept = kept !== undefined && (await usesKept(model.path, kept));
  const file = join(isKept ? kept : model.path, "config.json");
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

/** What the preset set of the section `grpo`, and what was given instead. */
export function presetTable(algorithm: string, fields: readonly PresetField[]): string {
  if (fields.length === 0)
    return `grpo.algo ${algorithm} sets nothing: fields that were not given have the defaults`;
  const table = new Table({
    head: [`grpo.algo ${algorithm}`, "sets", "here"],
    style: { head: [], border: [] },
  });
  for (const { field, preset, value } of fields) {
    table.push([field, String(preset), value === preset ? "as set" : `${String(value)}, as given`]);
  }
  return table.toString();
}
