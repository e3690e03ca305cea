/** `uncouple eval`: success of a policy on any split, greedy and sampled, with pass@k. */
import { InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { EXIT } from "../../core/errors.js";
import type { Evaluation } from "../../core/run_record.js";
import { EpisodeFile, evaluationIdentity } from "../../host/experiment/episode_file.js";
import { evaluateModel } from "../../host/experiment/evaluate_model.js";
import { instructionsOfRun } from "../../host/experiment/instructions.js";
import { beforeWork } from "../../host/files/before_work.js";
import { checkFileWritable } from "../../host/files/writable.js";
import { checkEvaluation } from "../../host/run/preflight.js";
import { wholeNumber } from "../kit/numbers.js";
import {
  type CliContext,
  collect,
  loraOption,
  plainCommand,
  type Register,
  type STORAGES,
  storageOption,
} from "../kit/options.js";
import { withGpu } from "../kit/session.js";
import { StopListener, StoppedError } from "../kit/stop_signal.js";
import { noTuneOption } from "../kit/tuning.js";
import { type EvalOptions, type EvalPlan, evalPlan } from "./eval_options.js";
import { evaluationTable } from "./eval_table.js";

interface Options extends EvalOptions {
  readonly lora?: string;
  readonly storage?: (typeof STORAGES)[number];
  readonly out?: string;
  readonly json?: true;
  readonly tune?: boolean;
  readonly adapter?: string;
  readonly cacheDir?: string;
}

function aboveZero(text: string): number {
  if (Number(text) > 0) return Number(text);
  throw new InvalidArgumentError("Expected a number above 0.");
}

export const register: Register = (program, context) => {
  plainCommand(program, "eval", "Measure the success of a policy: any split, greedy and sampled, pass@k.")
    .argument("[overrides...]", "settings as section.field=value, stronger than options")
    .option("--model <folder>", "policy in Hugging Face layout; an export of a run brings the run's settings")
    .addOption(loraOption())
    .addOption(storageOption("model.precision of the run, or f32"))
    .option("--run <folder>", "finished run: its policy and its settings")
    .option("-c, --config <file>", "YAML file with settings; may be given again", collect)
    .option("--env <name>", "world (default: the run's, or household)")
    .option(
      "--data <folder>",
      "folder of ALFWorld's data (default: the run's, or the variable ALFWORLD_DATA)",
    )
    .option("--split <name>", "split; may be given again (default: those of the run)", collect)
    .option("--episodes <number>", "tasks of each split", wholeNumber(1))
    .option("--k <number>", "sampled episodes of each task: gives avg@k and pass@k", wholeNumber(1))
    .option("--greedy", "take the likeliest token always; without either of both: as in the run")
    .option("--sampled", "sample at --temperature")
    .option("--temperature <number>", "of sampled episodes", aboveZero)
    .option("--seed <number>", "of tasks and sampling", wholeNumber(0))
    .option("--out <file>", "append one JSON line an episode; the same command goes on where it was stopped")
    .option("--json", "print one JSON object")
    .option("--adapter <name>", "auto, gpu, lavapipe, swiftshader or a part of an adapter's name")
    .addOption(noTuneOption())
    .addOption(
      new Option("--cache-dir <folder>", "where the software driver is unpacked").env("UNCOUPLE_CACHE_DIR"),
    )
    .action((overrides, options) => evaluate(options, overrides, context));
};

async function evaluate(options: Options, overrides: readonly string[], context: CliContext): Promise<void> {
  const { out, lora, storage } = options;
  const plan = await evalPlan(options, overrides, context.env);
  for (const note of await checkEvaluation(plan.config, lora)) context.terminal.warn(note);
  const { instructions, records } = await beforeWork(async () => {
    if (out !== undefined) await checkFileWritable(out);
    const ofRun = plan.run === undefined ? undefined : await instructionsOfRun(plan.run, context.terminal);
    if (out === undefined) return { instructions: ofRun, records: undefined };
    const identity = await evaluationIdentity(plan.config, ofRun, { lora, storage });
    return { instructions: ofRun, records: await EpisodeFile.open(out, identity) };
  });
  if (records && records.played.length > 0)
    context.terminal.info(`${records.played.length} episodes are there already`);
  let results: readonly Evaluation[];
  try {
    results = await play(plan, { options, instructions, records }, context);
  } finally {
    await records?.close();
  }
  const { terminal } = context;
  if (options.json) terminal.printJson({ model: plan.config.model.path, evaluations: results });
  else terminal.print(evaluationTable(results));
}

interface Playing {
  readonly options: Options;
  /** Block of each task type. */
  readonly instructions: Readonly<Record<string, string>> | undefined;
  readonly records: EpisodeFile | undefined;
}

/** @throws StoppedError after a signal */
async function play(
  { config }: EvalPlan,
  { options, instructions, records }: Playing,
  context: CliContext,
): Promise<readonly Evaluation[]> {
  const { terminal } = context;
  const { device } = config;
  const listener = new StopListener({
    source: process,
    announce: (message) => terminal.warn(message),
    exit: (code) => process.exit(code),
  });
  const gpu = {
    adapter: options.adapter ?? device.adapter ?? "auto",
    preset: device.preset,
    matmul: device.matmul,
    tune: options.tune === false ? false : device.tune,
    cacheDir: options.cacheDir,
  };
  try {
    const results = await withGpu(gpu, context, ({ runtime }) =>
      evaluateModel(config, {
        runtime,
        lora: options.lora,
        storage: options.storage,
        signal: listener.signal,
        records,
        instructions: instructions && (({ taskType }) => instructions[taskType]),
        onResult: ({ split, mode, success, episodes }) =>
          terminal.info(`${split}, ${mode}: success ${(100 * success).toFixed(1)} % of ${episodes} episodes`),
      }),
    );
    if (!listener.signal.aborted) return results;
  } finally {
    listener.close();
  }
  const goOn =
    options.out === undefined ? "with --out the same command would go on" : "the same command goes on";
  throw new StoppedError(
    `${listener.reason?.message ?? "stopped"}; ${goOn}`,
    listener.reason?.exitCode ?? EXIT.stopped,
  );
}
