/** Worlds for learning tests: the observation names a colour, the winning command names it too. */
import type { Environment, ResetOptions, ResetResult, StepResult, Task, World } from "../../src/env/world.js";

const COLOURS = ["red", "blue", "green", "white"];

class ColourEnvironment implements Environment {
  #colour = "";
  readonly #wins: (colour: string, command: string) => boolean;

  constructor(wins: (colour: string, command: string) => boolean) {
    this.#wins = wins;
  }

  reset({ options }: ResetOptions = {}): ResetResult {
    this.#colour = options?.taskId ?? COLOURS[0];
    return this.shown();
  }

  step(command: string): StepResult {
    const won = this.#wins(this.#colour, command);
    return {
      obs: "done",
      reward: Number(won),
      terminated: true,
      truncated: false,
      info: { ...this.shown().info, won },
    };
  }

  snapshot(): unknown {
    return this.#colour;
  }

  restore(snapshot: unknown): ResetResult {
    this.#colour = snapshot as string;
    return this.shown();
  }

  close(): void {}

  protected shown(): ResetResult {
    return {
      obs: `Your task is to: say ${this.#colour}`,
      task: `say ${this.#colour}`,
      info: { admissibleCommands: COLOURS, won: false, taskId: this.#colour },
    };
  }
}

/** @param wins which command wins; tests of shuffled rewards give one that has nothing to do with the task */
export function colourWorld(wins = (colour: string, command: string) => colour === command): World {
  const tasks = (split: string): Task[] => COLOURS.map((id) => ({ id, split, type: "say" }));
  return {
    id: "colours",
    splits: ["train", "held_out"],
    tasks,
    create: () => new ColourEnvironment(wins),
    expert: (taskId) => [taskId],
    sampleTexts: () => [...COLOURS, "Your task is to: say", "done"],
  };
}

/** Tasks of one colour in the world of tries; each has another demonstration. */
const VARIANTS = COLOURS.length;

/**
 * The same with a few tries: a wrong word ends nothing, and the same is shown again, so that an episode visits one state more than
 * once. The expert says any colour: what it teaches is the form of an answer, and the colours are left to reinforcement.
 */
export function triesWorld(wins = (colour: string, command: string) => colour === command): World {
  const tasks = (split: string): Task[] =>
    COLOURS.flatMap((colour) =>
      Array.from({ length: VARIANTS }, (_, variant) => ({ id: `${colour} ${variant}`, split, type: "say" })),
    );
  return {
    ...colourWorld(),
    id: "tries",
    tasks,
    create: () => new TriesEnvironment(wins),
    expert: (taskId) => [COLOURS[Number(taskId.split(" ")[1])]],
  };
}

class TriesEnvironment extends ColourEnvironment {
  override reset({ options }: ResetOptions = {}): ResetResult {
    const taskId = options?.taskId ?? "red 0";
    const shown = super.reset({ options: { taskId: taskId.split(" ")[0] } });
    return { ...shown, info: { ...shown.info, taskId } };
  }

  override step(command: string): StepResult {
    const result = super.step(command);
    return { ...result, obs: result.info.won ? "done" : this.shown().obs, terminated: result.info.won };
  }
}
