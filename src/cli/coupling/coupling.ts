/** `uncouple coupling`: which samples push which. */
import { InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { ConfigError } from "../../core/errors.js";
import { gpuCommand, loraOption, type Register, storageOption } from "../kit/options.js";
import { noTuneOption } from "../kit/tuning.js";
import { precisionOption } from "../train/train_options.js";
import { calculate } from "./calculator.js";
import { scoreFile, scoreRun } from "./last_layer.js";
import { analyseRun } from "./run_analysis.js";

export const register: Register = (program, context) => {
  gpuCommand(program, "coupling", "show which samples push which: inner products of per-sample gradients")
    .option("--model <folder>", "model in Hugging Face layout: the Gram of given --samples")
    .addOption(loraOption())
    .option("--run <folder>", "run folder: the samples of one of its updates, with a report")
    .option(
      "--samples <file or count>",
      'with --model a JSON file: array of {"tokens": [ids], "responseStart": n, "weights": [one number a response token]}, ' +
        "weights may be left out; with --run how many at most (64)",
    )
    .option("--checkpoint <update>", "of the run; default: the newest one", wholeNumber)
    .option("--compare <folder>", "second run, whose policy reads the same samples")
    .option("--out <folder>", "where files go; default: coupling/ in the run folder")
    .option("--seed <number>", "chooses the samples of a run", wholeNumber)
    .option("--budget <size>", "GPU memory beside the model's, as 2GiB or 500MB", readBytes)
    .addOption(
      new Option("--path <path>", "how the Gram is computed, see docs/coupling.md")
        .choices(["auto", "product", "token"] as const)
        .conflicts("approximate"),
    )
    .option(
      "--approximate <rank>",
      "project gradients to so many numbers a side, for large models; --verify then tells the error",
      wholeNumber,
    )
    .addOption(
      new Option(
        "--last-layer [count]",
        "no backward pass: scores of groups (NTHR, GWHES) from hidden states and the likeliest so many tokens (all); " +
          'samples of a file then have an "advantage", and may have a "group"',
      ).argParser(positive),
    )
    .option(
      "--verify",
      "check some samples by a backward pass each; exit with 5 when a layer is off. With --run also leave samples out, and with --compare refuse runs that began from different policies",
    )
    .option("--diagnose", "compare some samples alone with the same in the batch")
    .addOption(precisionOption())
    .addOption(storageOption("as --precision says").conflicts("precision"))
    .addOption(noTuneOption())
    .option("--json", "print one JSON object")
    .action(async (options) => {
      const { model, run, samples } = options;
      if (run !== undefined && model === undefined) {
        refuse(options, ["precision", "storage", "lora"], "--run");
        const wishes = { ...options, run, samples: sampleCount(samples), seed: options.seed ?? 0 };
        if (options.lastLayer === undefined) return analyseRun(wishes, context);
        refuse(options, [...OF_GRADIENTS, "compare"], "--last-layer");
        return scoreRun({ ...wishes, lastLayer: options.lastLayer }, context);
      }
      if (model === undefined || run !== undefined || samples === undefined) {
        throw new ConfigError(
          "[coupling] unclear what to measure: expected --run, or --model with --samples. Give one of the two.",
        );
      }
      refuse(options, ["checkpoint", "compare", "out", "seed"], "--model");
      if (options.lastLayer === undefined) return calculate({ ...options, model, samples }, context);
      refuse(options, OF_GRADIENTS, "--last-layer");
      return scoreFile({ ...options, model, samples, lastLayer: options.lastLayer }, context);
    });
};

const OF_GRADIENTS = ["budget", "path", "approximate", "verify", "diagnose"];

/** @throws ConfigError for options that belong to the other use */
function refuse(options: Readonly<Record<string, unknown>>, names: readonly string[], use: string): void {
  const given = names.filter((name) => options[name] !== undefined).map((name) => `--${name}`);
  if (given.length === 0) return;
  throw new ConfigError(
    `[coupling] ${given.join(", ")} cannot go with ${use}: expected none of them. Leave them out.`,
  );
}

function sampleCount(text = "64"): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1) return count;
  throw new ConfigError(
    `[coupling] --samples is wrong: got "${text}", expected with --run a whole number of at least 1. Correct it.`,
  );
}

function positive(text: string): number {
  const value = wholeNumber(text);
  if (value > 0) return value;
  throw new InvalidArgumentError("Expected a whole number of at least 1.");
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isInteger(value) && value >= 0) return value;
  throw new InvalidArgumentError("Expected a whole number of at least 0.");
}

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
};

/** Bytes of a size such as `2GiB`. @throws ConfigError */
export function readBytes(text: string): number {
  const [, number, unit = ""] = text.trim().match(/^(\d+(?:\.\d+)?)\s*([a-z]*)$/i) ?? [];
  const factor = UNITS[unit.toLowerCase()];
  if (number !== undefined && factor !== undefined && Number(number) > 0)
    return Math.floor(Number(number) * factor);
  throw new ConfigError(
    `[coupling] --budget is wrong: got "${text}", expected a size above 0 such as 2GiB, 512MiB or 1.5GB. Correct it.`,
  );
}
