/** Steps of a played episode, and how they are printed: as JSON lines or as a transcript. */
import type { Environment, ResetResult, StepResult, World } from "../../env/world.js";
import type { PromptOptions } from "../../rl/play/prompt_state.js";
import type { Terminal } from "../kit/terminal.js";

/** One step; `--json` prints exactly this, one line a step, and then what else the world tells (`Info.details`). */
export interface PlayStep {
  /** 0 is the start. */
  readonly step: number;
  /** As it was given, spaces included; null at the start. */
  readonly command: string | null;
  readonly observation: string;
  readonly admissible: readonly string[];
  /** Of this step alone. */
  readonly reward: number;
  readonly won: boolean;
  /** Won, lost, or at the step limit. */
  readonly done: boolean;
  readonly [detail: string]: unknown;
}

/** The first step of an episode. */
export function firstStep({ obs, info }: ResetResult): PlayStep {
  const { admissibleCommands: admissible, won, details } = info;
  return { step: 0, command: null, observation: obs, admissible, reward: 0, won, done: won, ...details };
}

/** The step that a command led to.
 *  @param maxSteps from this step on, an episode is over; Infinity = never */
export function nextStep(step: number, command: string, result: StepResult, maxSteps: number): PlayStep {
  const { obs: observation, reward, terminated, truncated, info } = result;
  const { admissibleCommands: admissible, won, details } = info;
  const done = terminated || truncated || step >= maxSteps;
  return { step, command, observation, admissible, reward, won, done, ...details };
}

/** Plays one episode, command by command, past its end too. */
export class Player {
  private constructor(
    readonly environment: Environment,
    readonly maxSteps: number,
    /** The last step so far. */
    public current: PlayStep,
  ) {}

  /** @param maxSteps see `nextStep` */
  static async start(world: World, taskId: string, maxSteps: number): Promise<Player> {
    const environment = world.create();
    return new Player(environment, maxSteps, firstStep(await environment.reset({ options: { taskId } })));
  }

  async step(command: string): Promise<PlayStep> {
    const result = await this.environment.step(command);
    this.current = nextStep(this.current.step + 1, command, result, this.maxSteps);
    return this.current;
  }

  async close(): Promise<void> {
    await this.environment.close();
  }
}

/** Start of an episode and its commands, one after the other. */
export async function* playCommands(
  world: World,
  taskId: string,
  commands: Iterable<string>,
  maxSteps: number,
): AsyncGenerator<PlayStep> {
  const player = await Player.start(world, taskId, maxSteps);
  try {
    yield player.current;
    for (const command of commands) yield await player.step(command);
  } finally {
    await player.close();
  }
}

/** How a policy plays. */
export interface PolicyOptions {
  /** Steps after which it stops. */
  readonly maxSteps: number;
  /** Divides the logits; 0 takes the likeliest token always. */
  readonly temperature: number;
  /** Seed of its sampling. */
  readonly seed: number;
  /** Most tokens of one command. */
  readonly maxTokens: number;
  readonly prompt: PromptOptions;
}

/** Lets a policy play one episode. */
export type PolicyPlayer = (world: World, taskId: string, options: PolicyOptions) => AsyncIterable<PlayStep>;

/** Prints steps as they come. */
export class StepPrinter {
  #last: PlayStep | undefined;
  /** First step at which the game was won; commands may go on. */
  #wonAt: number | undefined;

  /** @param echo whether a transcript repeats the commands; not where the user has just typed them */
  constructor(
    readonly terminal: Terminal,
    readonly json: boolean,
    readonly echo = true,
  ) {}

  /** Resolves when the step has left the process, so that fast play does not pile up before a slow reader. */
  async print(step: PlayStep): Promise<void> {
    const { terminal } = this;
    this.#last = step;
    if (step.won) this.#wonAt ??= step.step;
    if (this.json) terminal.print(JSON.stringify(step));
    else {
      const command =
        step.command !== null && this.echo ? `${terminal.colors.cyan(`> ${step.command}`)}\n` : "";
      terminal.print(`${command}${step.observation}\n`);
    }
    await terminal.flush();
  }

  /** Says how it ended; nothing in JSON, where the last line tells. */
  finish(): void {
    if (this.#last === undefined || this.json) return;
    const { colors } = this.terminal;
    const { step } = this.#last;
    const won = this.#wonAt;
    const steps = (count: number) => `${count} ${count === 1 ? "step" : "steps"}`;
    const rest = won === step ? "" : ` The game was played on to step ${step}.`;
    this.terminal.print(
      won === undefined
        ? colors.yellow(`Not won after ${steps(step)}.`)
        : colors.green(`Won after ${steps(won)}.${rest}`),
    );
  }
}
