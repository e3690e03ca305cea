/** `uncouple coupling`: which samples push which. */
import { ConfigError } from "../../core/errors.js";
import { gpuCommand, type Register } from "../kit/options.js";
import { noTuneOption } from "../kit/tuning.js";
import { precisionOption } from "../train/train_options.js";
import { calculate } from "./calculator.js";

export const register: Register = (program, context) => {
  gpuCommand(program, "coupling", "show which samples push which: inner products of per-sample gradients")
    .requiredOption("--model <folder>", "model in Hugging Face layout")
    .requiredOption(
      "--samples <file>",
      'JSON file: array of {"tokens": [ids], "responseStart": n, "weights": [one number a response token]}; weights may be left out',
    )
    .option("--budget <size>", "GPU memory beside the model's, as 2GiB or 500MB", readBytes)
    .option("--verify", "check some samples by a backward pass each; exit with 5 when a layer is off")
    .option("--diagnose", "compare some samples alone with the same in the batch")
    .addOption(precisionOption())
    .addOption(noTuneOption())
    .option("--json", "print one JSON object")
    .action(async (options) => calculate(options, context));
};

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
