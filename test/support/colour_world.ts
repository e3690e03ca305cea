/** A one-step world for learning tests: the observation names a colour, the winning command names it too. */
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
    return this.#shown();
  }

  step(command: string): StepResult {
    const won = this.#wins(this.#colour, command);
    return {
      obs: "done",
      reward: Number(won),
      terminated: true,
      truncated: false,
      info: { ...this.#shown().info, won },
    };
  }

  snapshot(): unknown {
    return this.#colour;
  }

  restore(snapshot: unknown): ResetResult {
    this.#colour = snapshot as string;
    return this.#shown();
  }

  close(): void {}

  #shown(): ResetResult {
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
