/** `uncouple bench model`: a folder of a published shape with random weights, to measure commands on. */
import { type Command, type CommandUnknownOpts, Option } from "@commander-js/extra-typings";
import { makeModel } from "../../../bench/make_model.js";
import { PRESET_NAMES } from "../../model/config.js";
import { wholeNumber } from "../kit/numbers.js";
import { type CliContext, plainCommand } from "../kit/options.js";

/** Adds the command below `bench`, whose own arguments and options do not matter to it. */
export function registerModel(bench: CommandUnknownOpts, { terminal }: CliContext): void {
  const published = PRESET_NAMES.filter((name) => name.startsWith("qwen2.5-"));
  plainCommand(
    bench as unknown as Command,
    "model",
    "Makes a model of a published shape with random weights, to measure commands on.",
  )
    .addOption(new Option("--preset <name>", "published shape").choices(published).makeOptionMandatory())
    .requiredOption("--out <folder>", "folder to make")
    .option("--seed <number>", "seed of the weights", wholeNumber(0), 0)
    .option("--layers <number>", "layers (default: those of the shape)", wholeNumber(1))
    .option("--replace", "replace a model that is there")
    .action(async (options) => {
      await makeModel(options);
      terminal.print(options.out);
    });
}
