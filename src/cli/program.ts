/** The command line as a function: arguments in, exit code out. */
import { Command, CommanderError, type CommandUnknownOpts } from "@commander-js/extra-typings";
import { ConfigError, EXIT, UncoupleError } from "../core/errors.js";
import { printable } from "../core/shown.js";
import { errorText } from "../host/files/error_codes.js";
import { findOwnPackage } from "../host/files/packages.js";
import { systemError, systemText } from "../host/files/system_errors.js";
import { register as bench } from "./bench/bench.js";
import { register as coupling } from "./coupling/coupling.js";
import { register as doctor } from "./doctor/doctor.js";
import { register as evaluate } from "./eval/eval.js";
import { register as experiment } from "./experiment/experiment.js";
import { register as quickstart } from "./experiment/quickstart.js";
import { register as chat } from "./generate/chat.js";
import { register as generate } from "./generate/generate.js";
import type { Register } from "./kit/options.js";
import { StoppedError } from "./kit/stop_signal.js";
import { Terminal, type TerminalOptions } from "./kit/terminal.js";
import { register as merge } from "./merge.js";
import { register as play } from "./play/play.js";
import { register as serveEnv } from "./play/serve_env.js";
import { register as reportRun } from "./run/report.js";
import { register as run } from "./run/run.js";
import { register as score } from "./score.js";
import { register as init } from "./train/init.js";
import { register as train } from "./train/train.js";
import { register as watch } from "./watch/watch.js";

/** Every command, in the order of the help text. */
const COMMANDS: readonly Register[] = [
  quickstart,
  train,
  watch,
  run,
  reportRun,
  experiment,
  evaluate,
  init,
  play,
  serveEnv,
  generate,
  chat,
  merge,
  score,
  coupling,
  bench,
  doctor,
];

/** Parses the arguments and runs the command.
 *  @param args without `node` and the script
 *  @param commands only tests give others
 *  @returns the exit code, when all output has been handed to the system */
export async function runCli(
  args: readonly string[],
  options: TerminalOptions,
  commands: readonly Register[] = COMMANDS,
): Promise<number> {
  const terminal = new Terminal(options);
  const program = await createProgram(options, terminal, commands);
  program.hook("preAction", (_program, command) => {
    terminal.configure(command.opts());
    refuseEmptyPaths(command as CommandUnknownOpts);
  });
  let code: number = EXIT.ok;
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    code = report(error, terminal);
  }
  await terminal.flush();
  const { resultsError } = terminal;
  if (resultsError === undefined) return code;
  terminal.error(`[stdout] results cannot be written: got ${systemText(resultsError)}`);
  return code === EXIT.ok ? EXIT.failed : code;
}

const PATH_ARGUMENTS = new Set(["run", "runs", "file", "folder", "a", "b"]);

/** An empty path is what a shell makes of a variable that is not set: the folder one stands in is hardly meant. */
function refuseEmptyPaths(command: CommandUnknownOpts): void {
  const empty = command.options.find(
    (option) =>
      /<(file|folder|path)/.test(option.flags) &&
      [command.getOptionValue(option.attributeName())].flat().includes("") &&
      command.getOptionValueSource(option.attributeName()) === "cli",
  );
  const argument = command.registeredArguments.find(
    (one, at) => PATH_ARGUMENTS.has(one.name()) && command.args[at] === "",
  );
  const place = empty?.long ?? argument?.name();
  if (place === undefined) return;
  throw new ConfigError(`[${place}] path is empty: got "", expected a name. Name one, or leave it out.`);
}

/** The program with its commands, ready to parse; `exitOverride` makes usage errors exceptions. */
export async function createProgram(
  { stdout, stderr, env }: TerminalOptions,
  terminal: Terminal,
  commands: readonly Register[] = COMMANDS,
): Promise<Command> {
  const own = await findOwnPackage();
  const program: Command = new Command("uncouple")
    .description("Trains transformer policies by reinforcement learning on WebGPU, without Python or CUDA.")
    .version(own?.version ?? "unknown", "--version", "print the version")
    .helpOption("-h, --help", "print this help")
    .showHelpAfterError("(--help lists commands and options)")
    // options after a command are its own: `bench worlds` has some of the names of `bench`
    .enablePositionalOptions()
    .configureOutput({
      writeOut: (text) => void stdout.write(printable(text, "\n\t")),
      writeErr: (text) => void stderr.write(printable(text, "\n\t")),
    })
    .exitOverride();
  for (const register of commands) register(program, { env, terminal });
  return program;
}

/** Prints an error in the way its kind deserves. */
function report(error: unknown, terminal: Terminal): number {
  if (error instanceof CommanderError) {
    // Commander has printed its message; help that nobody asked for is a usage error too.
    return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  }
  if (error instanceof StoppedError) {
    // The user or a scheduler wanted it: no failure.
    terminal.info(error.message);
    return error.exitCode;
  }
  const known = error instanceof UncoupleError;
  const system = known ? undefined : systemError(error);
  terminal.error(system?.message ?? errorText(error));
  if (system !== undefined) {
    if (error instanceof Error) for (const line of causes(error)) terminal.detail(line);
    return system.isUsage ? EXIT.usage : EXIT.failed;
  }
  if (error instanceof Error) {
    for (const line of causes(error)) terminal.detail(line);
    if (!known && !terminal.isVerbose)
      terminal.info("This was not foreseen; --verbose prints where it happened.");
  }
  return known ? exitCodeOf(error) : EXIT.failed;
}

/** A path that cannot be used is a mistake of the command line, whoever noticed it. */
function exitCodeOf({ exitCode, cause }: UncoupleError): number {
  return exitCode === EXIT.failed && systemError(cause)?.isUsage === true ? EXIT.usage : exitCode;
}

/** Stack traces of an error and of those behind it. */
function causes(error: Error): string[] {
  const own = error.stack ?? error.message;
  return error.cause instanceof Error
    ? [own, ...causes(error.cause).map((text) => `caused by ${text}`)]
    : [own];
}
