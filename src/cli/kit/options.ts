/** Options that every command takes, and their UNCOUPLE_ environment variables. */
import { type Command, Option } from "@commander-js/extra-typings";
import type { Environment } from "../../core/environment.js";
import { MATMUL_PRECISIONS, type MatmulPrecision } from "../../gpu/device_facts.js";
import type { Terminal } from "./terminal.js";

/** What commands get from the process. */
export interface CliContext {
  env: Environment;
  terminal: Terminal;
}

/** Adds one command to the program; each command's file exports one. */
export type Register = (program: Command, context: CliContext) => void;

/** Starts a command that runs on a GPU, with the options that all of those share.
 *  @param name and arguments, as commander spells them
 *  @returns the command; its action gets a GpuOptions among its options */
export function gpuCommand(program: Command, name: string, description: string) {
  return plainCommand(program, name, description)
    .addOption(
      new Option("--adapter <name>", "auto, gpu, lavapipe, swiftshader or a part of an adapter's name")
        .env("UNCOUPLE_ADAPTER")
        .default("auto"),
    )
    .addOption(
      new Option("--preset <name>", "Dawn toggles: with its guards (checked) or without (fast)")
        .choices(["checked", "fast"] as const)
        .env("UNCOUPLE_PRESET")
        .default("checked" as const),
    )
    .addOption(
      new Option("--matmul <precision>", "factors of matrix products; f16 and split_f16 by matrix hardware")
        .choices(MATMUL_PRECISIONS)
        .env("UNCOUPLE_MATMUL")
        .default<MatmulPrecision>("f32"),
    )
    .addOption(
      new Option("--cache-dir <folder>", "where the software driver is unpacked").env("UNCOUPLE_CACHE_DIR"),
    );
}

/** Parser of an option that may be given again. */
export function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

/** The adapter on a model that a command reads. */
export function loraOption() {
  return new Option("--lora <folder>", "low-rank adapter on the model, as PEFT saves it");
}

export const STORAGES = ["f32", "f16", "bf16"] as const;

/**
 * How the matrices of a model that is only read are stored.
 * @param otherwise what holds where it is not given
 */
export function storageOption(otherwise = "f32") {
  return new Option(
    "--storage <type>",
    `memory of the model's matrices: f32, or 16 bits: f16, or bf16 as checkpoints have them (default: ${otherwise})`,
  ).choices(STORAGES);
}

/** Starts a command that needs no GPU. */
export function plainCommand(program: Command, name: string, description: string) {
  return program
    .command(name)
    .description(description)
    .option("-q, --quiet", "print results, warnings and errors only")
    .option("-v, --verbose", "print what happens on the way, and stack traces")
    .option("--no-color", "print without colours (as does NO_COLOR)");
}
