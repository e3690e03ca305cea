/** What an evaluation found, for people. */
import Table from "cli-table3";
import type { Evaluation } from "../../core/run_record.js";

/** One line a split and mode, then one for each of its task types. */
export function evaluationTable(results: readonly Evaluation[]): string {
  const samples = [
    ...new Set(results.flatMap((one) => Object.keys(one).filter((key) => /^(avg|pass)@\d+$/.test(key)))),
  ];
  const table = new Table({
    head: ["split", "mode", "task type", "episodes", "success", ...samples, "steps", "repeated", "invalid"],
    style: { head: [], border: [], compact: true },
  });
  for (const one of results) {
    const mode = one.instructions === undefined ? one.mode : `${one.mode}, ${one.instructions} instructions`;
    table.push([
      one.split,
      mode,
      "all",
      one.episodes,
      shareText(one.success, one.success_low, one.success_high),
      ...samples.map((name) => percent(one[name])),
      typeof one.mean_length === "number" ? one.mean_length.toFixed(1) : "",
      percent(one.repeated_action_rate),
      percent(one.invalid_action_rate),
    ]);
    for (const type of typesOf(one)) {
      const of = (name: string) => one[`${name}/${type}`];
      const success = shareText(of("success"), of("success_low"), of("success_high"));
      table.push(["", "", type, String(of("episodes") ?? ""), success, ...samples.map(() => ""), "", "", ""]);
    }
  }
  return table.toString();
}

function typesOf(one: Evaluation): string[] {
  return Object.keys(one).flatMap((key) => /^success\/(.+)$/.exec(key)?.[1] ?? []);
}

function percent(value: unknown): string {
  return typeof value === "number" ? `${(100 * value).toFixed(1)} %` : "";
}

function shareText(value: unknown, low: unknown, high: unknown): string {
  return low === undefined ? percent(value) : `${percent(value)} (${percent(low)} to ${percent(high)})`;
}
