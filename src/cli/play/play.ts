/** `uncouple play`: a text world by hand, from a file of commands, by its expert, or by a trained policy. */
import { InvalidArgumentError, Option } from "@commander-js/extra-typings";
import type { MatrixStorage } from "../../autograd/parameter_slots.js";
import { type TrainConfig, trainConfigSchema } from "../../config/schema.js";
import { PROMPT_FORMATS } from "../../config/sections.js";
import { DataError } from "../../core/errors.js";
import type { World } from "../../env/world.js";
import { wholeNumber } from "../kit/numbers.js";
import { type CliContext, gpuCommand, loraOption, type Register, storageOption } from "../kit/options.js";
import type { GpuOptions } from "../kit/session.js";
import type { Terminal } from "../kit/terminal.js";
import { noTuneOption } from "../kit/tuning.js";
import { playByHand } from "./play_hand.js";
import {
  type PlayStep,
  type PolicyOptions,
  type PolicyPlayer,
  playCommands,
  StepPrinter,
} from "./play_steps.js";
import { chooseTask, openWorld, readCommands, runConfig, WORLDS, type WorldChoice } from "./play_world.js";

/** What the command line gives. */
interface PlayOptions extends WorldChoice, GpuOptions {
  readonly commands?: string;
  readonly expert?: true;
  readonly model?: string;
  readonly lora?: string;
  readonly storage?: MatrixStorage;
  readonly list?: true;
  readonly json?: true;
  readonly maxSteps?: number;
  readonly temperature: number;
  readonly samplingSeed: number;
  readonly prompt?: (typeof PROMPT_FORMATS)[number];
  readonly history?: number;
  readonly hints?: true;
  readonly maxTokens?: number;
}

/** Opens a policy player; a separate module, since most ways to play need none of the kernels behind it. */
type OpenPolicy = (model: string) => Promise<PolicyPlayer>;

export const register: Register = (program, context) => {
  gpuCommand(program, "play", "Play a text world: by hand, from a file, by its expert or by a policy.")
    .addOption(noTuneOption())
    .addOption(
      new Option("--game <file>", "play this game.tw-pddl file").conflicts(["env", "split", "task", "list"]),
    )
    .addOption(
      new Option("--env <name>", "world to play (default: household, policies as trained)").choices(WORLDS),
    )
    .option("--data <folder>", "folder of ALFWorld's data (default: the run's, else ALFWORLD_DATA)")
    .option("--program <words...>", "external: program of the world and its arguments")
    .option(
      "--jar <file>",
      "ScienceWorld's jar (default: the run's, else SCIENCEWORLD_JAR, else the Python package's)",
    )
    .option("--split <name>", "split of the world (default: train)")
    .option(
      "--task <id>",
      "task of the split (default: the first one); scienceworld: a name such as boil, too",
    )
    .option("--variation <number>", "scienceworld: variation of the task (default: 0)", wholeNumber(0))
    .option(
      "--simplifications <names>",
      "scienceworld: easy, none, or names joined by commas (default: easy)",
    )
    .option("--seed <number>", "household: draws other games; alfworld: draws a task", wholeNumber(0))
    .option("--list", "print the ids of the split's tasks")
    .addOption(
      new Option("--commands <file>", "play the lines of this file, each exactly as it is").conflicts([
        "expert",
        "model",
      ]),
    )
    .addOption(new Option("--expert", "watch a planner that knows everything").conflicts("model"))
    .option("--model <folder>", "watch the policy in this model folder")
    .addOption(loraOption())
    .addOption(storageOption())
    .option("--temperature <number>", "of the policy's sampling; 0 takes the likeliest token", nonNegative, 0)
    .option("--sampling-seed <number>", "of the policy's sampling", wholeNumber(0), 0)
    .addOption(
      new Option("--prompt <format>", "what the policy reads (default: as trained)").choices(PROMPT_FORMATS),
    )
    .option("--history <number>", "past steps that the policy reads (default: as trained)", wholeNumber(0))
    .option("--hints", "let the policy read the admissible commands (default: as trained)")
    .option("--max-tokens <number>", "of one command of the policy (default: as trained)", wholeNumber(1))
    .option(
      "--max-steps <number>",
      "steps until an episode is done (default: none; policies as trained)",
      wholeNumber(1),
    )
    .option("--domain <file>", "play by this PDDL domain, not by the game's own")
    .option("--grammar <file>", "print by this TWL2 grammar, not by the game's own")
    .option("--json", "print one JSON object a step")
    .action((options) => {
      return play(options, context, async (model) => {
        const { policyPlayer } = await import("./play_policy.js");
        return policyPlayer({ ...options, model }, context);
      });
    });
};

/** Opens the world and plays in the way the options say. */
async function play(
  options: PlayOptions,
  { env, terminal }: CliContext,
  openPolicy: OpenPolicy,
): Promise<void> {
  // A file that is not there is told before a world is built.
  const script = options.commands === undefined ? undefined : await readCommands(options.commands);
  const run = options.model === undefined ? undefined : await runConfig(options.model);
  const policy = options.model === undefined ? undefined : await openPolicy(options.model);
  const folders = {
    data: options.data ?? run?.world.path ?? env.ALFWORLD_DATA,
    jar: options.jar ?? run?.world.jar ?? env.SCIENCEWORLD_JAR,
  };
  const world = await openWorld({ ...options, ...folders }, run, terminal);
  try {
    await playWorld(world, options, terminal, policy, script, run);
  } finally {
    await world.close?.();
  }
}

/** Lists the tasks of a world, or plays one. */
async function playWorld(
  world: World,
  options: PlayOptions,
  terminal: Terminal,
  policy: PolicyPlayer | undefined,
  script: readonly string[] | undefined,
  run: TrainConfig | undefined,
): Promise<void> {
  const { json = false, maxSteps = Number.POSITIVE_INFINITY } = options;
  if (options.list) {
    const tasks = world.tasks(options.split ?? (world.splits[0] as string));
    for (const task of tasks) terminal.print(json ? JSON.stringify(task) : task.id);
    return;
  }
  const { id } = chooseTask(world, options);
  terminal.info(`task: ${id}`);
  if (policy) return show(policy(world, id, policyOptions(options, run)), terminal, json);
  const commands = options.expert ? await planOf(world, id) : script;
  if (commands) return show(playCommands(world, id, commands, maxSteps), terminal, json);
  return playByHand(world, id, maxSteps, terminal, json);
}

/** Prints steps until they end or nobody reads them any more. */
async function show(steps: AsyncIterable<PlayStep>, terminal: Terminal, json: boolean): Promise<void> {
  const printer = new StepPrinter(terminal, json);
  for await (const step of steps) {
    await printer.print(step);
    if (terminal.readerGone.aborted) break;
  }
  printer.finish();
}

/** What the command line leaves open is as in the run, or as runs are by default. */
function policyOptions(
  options: PlayOptions,
  { world, prompt, grpo } = trainConfigSchema.parse({}),
): PolicyOptions {
  return {
    maxSteps: options.maxSteps ?? world.max_steps,
    temperature: options.temperature,
    seed: options.samplingSeed,
    maxTokens: options.maxTokens ?? grpo.max_completion_length,
    prompt: {
      ...prompt,
      format: options.prompt ?? prompt.format,
      history: options.history ?? prompt.history,
      admissible: options.hints ?? prompt.admissible,
    },
  };
}

async function planOf(world: World, taskId: string): Promise<readonly string[]> {
  const plan = await world.expert?.(taskId);
  if (plan) return plan;
  const reason = world.expert ? "no plan" : "a world without an expert";
  throw new DataError(
    `[play] the expert cannot win \`${taskId}\`: got ${reason}, expected a winning sequence. Choose another game.`,
  );
}

function nonNegative(text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value) && value >= 0) return value;
  throw new InvalidArgumentError("Expected a number, 0 or more.");
}
