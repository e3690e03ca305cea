/** `uncouple train --dry-run`: settings, what the preset set of them, and memory, before anything starts. */
import Table from "cli-table3";
import type { PresetField } from "../../config/presets.js";
import { ConfigError } from "../../core/errors.js";
import type { MemoryCure, MemoryPlan } from "../../rl/loop/memory_plan.js";
import { bytesText } from "./progress.js";

/** The plan as an aligned table, and what would need less. */
export function memoryTable(plan: MemoryPlan, cures: readonly MemoryCure[]): string {
  const { rows, totalBytes, heldBytes, largest, texts } = plan;
  const table = new Table({
    head: ["GPU memory", "at the peak"],
    colAligns: ["left", "right"],
    style: { head: [], border: [] },
  });
  for (const { name, bytes } of rows) table.push([name, bytesText(bytes)]);
  table.push(["in use together", bytesText(totalBytes)]);
  table.push(["held, with buffers that wait for use", bytesText(heldBytes)]);
  table.push([`largest buffer (${largest.label})`, bytesText(largest.bytes)]);
  const about = `prompts of up to ${texts.prompt} tokens`;
  const lines = cures.map(({ settings, totalBytes: bytes }) => `  ${settings}: ${bytesText(bytes)}`);
  return [table.toString(), about, ...(lines.length > 0 ? ["with less memory in use:", ...lines] : [])].join(
    "\n",
  );
}

/** @throws ConfigError for a plan that needs more than there is, naming what would need less */
export function checkFits(
  { heldBytes, totalBytes }: MemoryPlan,
  free: number,
  cures: readonly MemoryCure[],
): void {
  if (totalBytes <= free) return;
  throw new ConfigError(
    `[memory] the run does not fit: got ${bytesText(totalBytes)} in use at once and ${bytesText(heldBytes)} held, expected at most ${bytesText(free)}, which is free. ` +
      remedy(cures, free),
  );
}

function remedy(cures: readonly MemoryCure[], free: number): string {
  const text = ({ settings, totalBytes }: MemoryCure) => `${settings} (${bytesText(totalBytes)})`;
  const fitting = cures.filter(({ totalBytes }) => totalBytes <= free);
  if (fitting.length > 0) return `Set ${fitting.map(text).join(" or ")}.`;
  const least = [...cures].sort((a, b) => a.totalBytes - b.totalBytes)[0];
  return `Use a smaller model or a machine with more memory${least ? `: the least is ${text(least)}` : ""}.`;
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
