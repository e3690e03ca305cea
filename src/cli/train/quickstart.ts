/** `uncouple quickstart`: a policy learns household tasks, from nothing to a table of success before and after. */
import { join } from "node:path";
import Table from "cli-table3";
import { DataError } from "../../core/errors.js";
import type { Evaluation } from "../../core/run_record.js";
import { findOwnPackage } from "../../host/files/packages.js";
import { trainLoop } from "../../host/run/train_loop.js";
import { wholeNumber } from "../kit/numbers.js";
import { plainCommand, type Register } from "../kit/options.js";
import { noTuneOption } from "../kit/tuning.js";
import { trainOnce } from "./train.js";
import { precisionOption } from "./train_options.js";

/** Evaluations in the order they happen; `start` is the untrained policy. */
const STAGES = ["start", "imitation", "grpo"] as const;
const TITLES: Readonly<Record<string, string>> = {
  start: "untrained",
  imitation: "after imitation",
  grpo: "after GRPO",
};

function percent(value: number): string {
  return `${(100 * value).toFixed(0)} %`;
}

/** Success by split and mode, one column a stage, with 95 % intervals. */
function successTable(evaluations: readonly Evaluation[]): string {
  const stages = STAGES.filter((stage) => evaluations.some((row) => row.stage === stage));
  const table = new Table({
    head: ["success on held-out games", "", ...stages.map((stage) => TITLES[stage])],
    style: { head: [], border: [] },
  });
  const keys = new Map(evaluations.map(({ split, mode }) => [`${split} ${mode}`, { split, mode }]));
  for (const { split, mode } of keys.values()) {
    const cells = stages.map((stage) => {
      const row = evaluations.findLast(
        (one) => one.split === split && one.mode === mode && one.stage === stage,
      );
      return row
        ? `${percent(row.success)} (${percent(row.success_low)} to ${percent(row.success_high)})`
        : "";
    });
    table.push([split, mode, ...cells]);
  }
  return table.toString();
}

export const register: Register = (program, context) => {
  plainCommand(program, "quickstart", "watch a small policy learn household tasks: imitation, then GRPO")
    .argument("[overrides...]", "settings as section.field=value over configs/quickstart.yaml")
    .option("--seed <number>", "seed of the run", wholeNumber(0))
    .option("--adapter <name>", "auto, gpu, lavapipe, swiftshader or a part of an adapter's name")
    .addOption(precisionOption())
    .addOption(noTuneOption())
    .option("--out <folder>", "folder of the run folders")
    .option("--name <name>", "name of the run folder")
    .action(async (overrides, options) => {
      const own = await findOwnPackage();
      if (!own)
        throw new DataError("[quickstart] the package's own folder was not found. Install uncouple again.");
      const config = [join(own.folder, "configs", "quickstart.yaml")];
      const { result, path } = await trainOnce({ ...options, config }, overrides, context, trainLoop);
      const { terminal } = context;
      terminal.print(successTable(result.evaluations ?? []));
      terminal.print(`Watch the trained policy play a game it has never seen:`);
      terminal.print(`  npx uncouple play --model ${join(path, "export")} --env household --split in_domain`);
    });
};
