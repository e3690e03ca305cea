/** `uncouple quickstart`: one start, GRPO and GRPO with GCD from it, how each plays and which of its samples push which. */
import { join } from "node:path";
import { DataError } from "../../core/errors.js";
import { analysisFolder } from "../../host/experiment/coupling.js";
import { EXPERIMENT_FILES, type ExperimentPlan, planExperiment } from "../../host/experiment/plan.js";
import { readResults } from "../../host/experiment/report.js";
import { readJsonFile } from "../../host/files/json_file.js";
import { findOwnPackage } from "../../host/files/packages.js";
import { trainLoop } from "../../host/run/train_loop.js";
import type { CouplingDocument } from "../../report/coupling_document.js";
import { wholeNumber } from "../kit/numbers.js";
import { plainCommand, type Register } from "../kit/options.js";
import { noTuneOption } from "../kit/tuning.js";
import { flagSettings, precisionOption } from "../train/train_options.js";
import { runExperiment } from "./experiment.js";
import { couplingTable, successTable, verdict, worstPair } from "./quickstart_text.js";

export const register: Register = (program, context) => {
  plainCommand(
    program,
    "quickstart",
    "watch a small policy learn household games: imitation, then GRPO with and without GCD",
  )
    .argument("[overrides...]", "settings as section.field=value over configs/quickstart.yaml")
    .option("--seed <number>", "seed of all runs", wholeNumber(0))
    .option("--adapter <name>", "auto, gpu, lavapipe, swiftshader or a part of an adapter's name")
    .addOption(precisionOption())
    .addOption(noTuneOption())
    .option("--out <folder>", "folder of the experiment (default: <folder of run folders>/quickstart)")
    .action(async (overrides, options) => {
      const { terminal, env } = context;
      const own = await findOwnPackage();
      if (!own)
        throw new DataError("[quickstart] the package's own folder was not found. Install uncouple again.");
      const { out, ...flags } = options;
      const config = join(own.folder, "configs", "quickstart.yaml");
      const plan = await planExperiment({
        file: config,
        ...{ out, env, overrides, flags: flagSettings(flags) },
        seeds: options.seed === undefined ? undefined : [options.seed],
      });
      await runExperiment(plan, plan.cells, { ...options, config, jobs: 1 }, context, trainLoop);
      const results = await readResults(plan);
      const [plain] = plan.cells;
      terminal.print("Success on games that no training saw, with intervals of 95 %:");
      for (const [split, { meaning }] of Object.entries(plan.content.splits))
        terminal.print(`  ${split}: ${meaning}`);
      terminal.print(successTable(results));
      terminal.print("Which samples push which, with the same samples and advantages under each policy:");
      terminal.print(couplingTable(results));
      terminal.print(verdict(results));
      terminal.print(
        worstPair((await readJsonFile(join(analysisFolder(plain), "coupling.json"))) as CouplingDocument),
      );
      for (const line of whatNext(plan)) terminal.print(line);
    });
};

function whatNext({ out, cells }: ExperimentPlan): string[] {
  const runs = join(out, EXPERIMENT_FILES.runs);
  const [plain] = cells;
  return [
    "Curves, episodes and coupling of the runs on a page of this machine:",
    `  npx uncouple watch ${runs}`,
    "One of the policies plays a game that it has never seen:",
    `  npx uncouple play --model ${join(runs, plain.id, "export")} --env household --split in_domain`,
    `All tables: ${join(out, EXPERIMENT_FILES.report)}`,
  ];
}
