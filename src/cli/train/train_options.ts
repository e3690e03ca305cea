/** The command line of `uncouple train`, turned into sources of settings. */
import { Option } from "@commander-js/extra-typings";
import { isOverride } from "../../config/layers.js";
import type { FlagSetting } from "../../config/load.js";
import { PRECISIONS } from "../../config/sections.js";
import { wholeNumber } from "../kit/numbers.js";
import { collect, plainCommand, type Register } from "../kit/options.js";
import { noTuneOption } from "../kit/tuning.js";

/** Options as commander gives them. */
export interface TrainOptions {
  readonly config?: string[];
  readonly set?: string[];
  readonly resume?: string | true;
  readonly dryRun?: true;
  readonly logRollouts?: true;
  readonly steps?: number;
  readonly seed?: number;
  readonly name?: string;
  readonly out?: string;
  readonly adapter?: string;
  readonly preset?: string;
  readonly precision?: string;
  readonly tune?: boolean;
  readonly cacheDir?: string;
  readonly json?: true;
}

/** `--precision`, of commands that train or measure gradients. */
export function precisionOption() {
  return new Option("--precision <name>", "storage of the policy: f32, or mixed with f16").choices([
    "f32",
    "mixed",
  ] as const);
}

/** Adds `train` to the program. Flags have no defaults: those of the configuration hold. */
export function trainCommand(program: Parameters<Register>[0]) {
  return plainCommand(program, "train", "Train a policy: imitation of an expert, then GRPO.")
    .argument("[overrides...]", "settings as section.field=value, stronger than files and flags")
    .option("-c, --config <file>", "YAML file with settings; may be given again, later ones win", collect)
    .option("--set <override>", "the same as an override; may be given again", collect)
    .option("--name <name>", "name of the run folder")
    .option("--out <folder>", "folder of the run folders (UNCOUPLE_RUNS_DIR; default runs)")
    .option("--seed <number>", "seed of the run", wholeNumber(0))
    .option("--steps <number>", "GRPO iterations: grpo.max_steps", wholeNumber(0))
    .option("--resume [run]", "go on with a run: its folder, or latest (also without a value)")
    .option("--log-rollouts", "write every step of every rollout")
    .option("--dry-run", "print the resolved settings and an estimate of the memory, and stop")
    .option("--json", "print one JSON object at the end")
    .option("--adapter <name>", "auto, gpu, lavapipe, swiftshader or a part of an adapter's name")
    .addOption(new Option("--preset <name>", "Dawn toggles").choices(["checked", "fast"] as const))
    .addOption(
      new Option(
        "--precision <name>",
        "storage of the policy: f32, mixed with f16, or bf16 below an adapter",
      ).choices(PRECISIONS),
    )
    .addOption(noTuneOption())
    .addOption(
      new Option("--cache-dir <folder>", "where the software driver is unpacked").env("UNCOUPLE_CACHE_DIR"),
    );
}

/** Settings that flags stand for. */
export function flagSettings(options: TrainOptions): FlagSetting[] {
  const { seed, name, out, steps, adapter, preset, precision, tune, logRollouts } = options;
  const table: [flag: string, value: unknown, path: string[]][] = [
    ["--seed", seed, ["seed"]],
    ["--name", name, ["name"]],
    ["--out", out, ["out"]],
    ["--steps", steps, ["grpo", "max_steps"]],
    ["--adapter", adapter, ["device", "adapter"]],
    ["--preset", preset, ["device", "preset"]],
    ["--precision", precision, ["model", "precision"]],
    ["--no-tune", tune === false ? false : undefined, ["device", "tune"]],
    ["--log-rollouts", logRollouts, ["log", "rollouts"]],
  ];
  return table
    .filter(([, value]) => value !== undefined)
    .map(([flag, value, path]) => ({
      flag: typeof value === "boolean" ? flag : `${flag} ${value}`,
      value,
      path,
    }));
}

/** What is to be resumed, and all overrides. */
export interface Wishes {
  /** Run folder; `latest` = the newest one, or the one of the configured name; undefined = a new run. */
  readonly resume: string | undefined;
  readonly overrides: readonly string[];
}

/** `--resume a.b=c` means `--resume latest` and an override: commander gives the word to the option. */
export function wishesOf(options: TrainOptions, words: readonly string[]): Wishes {
  const { resume, set = [] } = options;
  if (typeof resume === "string" && isOverride(resume)) {
    return { resume: "latest", overrides: [resume, ...words, ...set] };
  }
  return { resume: resume === true ? "latest" : resume, overrides: [...words, ...set] };
}
