/** A world of one corridor that can be slow, throw, hang and start wrongly, and that counts its environments. */
import type { Awaitable, Environment, ResetOptions, ResetResult, Task, World } from "../../src/env/world.js";

/** What goes wrong or takes time; each is asked before every call. */
export interface Trouble {
  /** Milliseconds before an answer; 0 answers at once, without a promise. */
  delay?(task: string, step: number): number;
  /** Throws, or hangs, where it gives that. */
  fault?(task: string, step: number): "throws" | "rejects" | "hangs" | undefined;
  /** Closing throws or hangs. */
  closing?: "throws" | "hangs";
  /** What the first observation ends with. */
  opening?(environment: number): string;
  /** What the observation after a step ends with. */
  said?(task: string, step: number): string;
  /** The task is done before the first step. */
  isDone?(task: string): boolean;
  /** The world itself ends an episode there. */
  stops?(task: string, step: number): boolean;
  /** Further admissible commands; they do nothing. */
  commands?(task: string, step: number): readonly string[];
}

export const CORRIDOR_COMMANDS = ["left", "right", "shout", "win", "leave"];

/** @param tasks ids; `win` wins, `leave` loses */
export class CorridorWorld implements World {
  readonly id = "corridor";
  readonly splits = ["train"];
  readonly maxEnvironments?: number;
  opened = 0;
  closed = 0;
  /** Most that were open at a time. */
  most = 0;
  readonly calls: string[] = [];

  constructor(
    readonly trouble: Trouble = {},
    options: { readonly maxEnvironments?: number; readonly score?: boolean } = {},
  ) {
    this.maxEnvironments = options.maxEnvironments;
    this.hasScore = options.score ?? false;
  }

  readonly hasScore: boolean;

  tasks(split: string): Task[] {
    return ["one", "two", "three"].map((id) => ({ id, split, type: id === "one" ? "odd" : "even" }));
  }

  create(): Environment {
    this.opened++;
    this.most = Math.max(this.most, this.opened - this.closed);
    return new Corridor(this, this.opened);
  }

  sampleTexts(): string[] {
    return [...CORRIDOR_COMMANDS, "task : one two three . you are at 0 1 2 3 4 5 6 7 8 9 -", "!"];
  }
}

class Corridor implements Environment {
  #task = "";
  #place = 0;
  #steps = 0;

  constructor(
    readonly world: CorridorWorld,
    readonly number: number,
  ) {}

  reset({ options }: ResetOptions = {}): Awaitable<ResetResult> {
    this.#task = options?.taskId ?? "one";
    this.#place = 0;
    this.#steps = 0;
    const text = this.world.trouble.opening?.(this.number) ?? "";
    return this.#answer(() => ({
      obs: `You are at 0${text} . task : ${this.#task}`,
      task: this.#task,
      info: this.#info(this.world.trouble.isDone?.(this.#task) ?? false),
    }));
  }

  step(command: string) {
    this.#steps++;
    return this.#answer(() => {
      if (command === "left") this.#place--;
      if (command === "right") this.#place++;
      const won = command === "win";
      return {
        obs: `You are at ${this.#place} .${this.world.trouble.said?.(this.#task, this.#steps) ?? ""}`,
        reward: Number(won),
        terminated: won || command === "leave",
        truncated: this.world.trouble.stops?.(this.#task, this.#steps) ?? false,
        info: this.#info(won),
      };
    });
  }

  close(): Awaitable<void> {
    this.world.closed++;
    if (this.world.trouble.closing === "throws") throw new Error("the door is stuck");
    if (this.world.trouble.closing === "hangs") return new Promise(() => {});
  }

  #info(won: boolean) {
    return {
      admissibleCommands: [
        ...CORRIDOR_COMMANDS.filter((command) => command !== "shout"),
        ...(this.world.trouble.commands?.(this.#task, this.#steps) ?? []),
      ],
      won,
      taskId: this.#task,
      stateKey: `${this.#task} ${this.#place}`,
      inventory: this.#steps % 2 === 0 ? "nothing" : "a lamp",
      ...(this.world.hasScore && { score: won ? 1 : Math.min(1, Math.abs(this.#place) / 10) }),
    };
  }

  #answer<T>(make: () => T): Awaitable<T> {
    const { trouble, calls } = this.world;
    calls.push(`${this.#task} ${this.#steps}`);
    const fault = trouble.fault?.(this.#task, this.#steps);
    if (fault === "throws") throw new Error("the floor gave way");
    if (fault === "rejects") return Promise.reject(new Error("the floor gave way later"));
    if (fault === "hangs") return new Promise(() => {});
    const delay = trouble.delay?.(this.#task, this.#steps) ?? 0;
    if (delay === 0) return make();
    return new Promise((resolve) => setTimeout(() => resolve(make()), delay));
  }
}
