/** The expert as a critic, on a line of places from which the goal may be out of reach. */
import { expect, test } from "vitest";
import type { Environment, ResetOptions, ResetResult, World } from "../../src/env/world.js";
import { compare, expertVerdicts, planLength, requireExpert } from "../../src/rl/gcd/critic.js";
import type { PlayedRow } from "../../src/rl/rows.js";
import { unplaced } from "../support/rows.js";

const GOAL = 3;

/** Places 0 to 3; `back` from the start falls off the line, from where there is no way. */
class Line implements Environment {
  place = 0;
  isClosed = false;
  readonly resets: (ResetOptions | undefined)[] = [];

  reset(options?: ResetOptions): ResetResult {
    this.resets.push(options);
    // the other task begins one step before the goal
    this.place = options?.options?.taskId === "near" ? 2 : 0;
    return this.#shown();
  }

  step(command: string) {
    if (command === "break") throw new Error("the line broke");
    if (command === "on") this.place++;
    if (command === "back") this.place--;
    const { obs, info } = this.#shown();
    return { obs, reward: 0, terminated: info.won, truncated: false, info };
  }

  snapshot(): unknown {
    return this.place;
  }

  restore(snapshot: unknown): ResetResult {
    this.place = snapshot as number;
    return this.#shown();
  }

  close(): void {
    this.isClosed = true;
  }

  #shown(): ResetResult {
    const info = { admissibleCommands: [], won: this.place === GOAL, taskId: "task" };
    return { obs: String(this.place), task: "go on", info };
  }
}

function lineWorld(environment: Environment, expert: World["expert"] = plan): World {
  return { id: "line", splits: ["train"], tasks: () => [], create: () => environment, expert };
}

const plan = (_task: string, from: unknown) =>
  (from as number) < 0 ? null : Array.from({ length: GOAL - (from as number) }, () => "on");

function rowsOf(episode: number, actions: readonly string[], taskId = "far"): PlayedRow[] {
  return actions.map((action, step) => ({
    ...unplaced,
    group: 4,
    episode,
    step,
    taskId,
    prompt: [1],
    answer: [1],
    logProbs: [0],
    text: { blocks: [], text: "", hash: "" },
    observation: "",
    action,
    valid: true,
    truncated: false,
    stepReward: 0,
    outcome: 0,
  }));
}

test("an action is good where the plan became shorter, the winning one too; rows may come in any order", async () => {
  const environment = new Line();
  const walk = rowsOf(0, ["on", "wait", "back", "on", "on", "on"]);
  const other = rowsOf(1, ["wait", "on"], "near");
  const rows = [walk[3], other[1], ...walk.slice(0, 3), other[0], ...walk.slice(4)];
  expect(await expertVerdicts(lineWorld(environment), rows, 9)).toEqual([
    "good",
    "good",
    "good",
    "bad",
    "bad",
    "bad",
    "good",
    "good",
  ]);
  expect(environment.resets).toEqual([
    { seed: 9, options: { taskId: "far" } },
    { seed: 9, options: { taskId: "near" } },
  ]);
  expect(environment.isClosed).toBe(true);
  const [on, back, wait] = rowsOf(0, ["on", "back", "wait"]);
  expect(await expertVerdicts(lineWorld(new Line()), [wait, back, on], 0)).toEqual(["bad", "bad", "good"]);
});

test("where there is no way any more an action is bad, and the ones after it are not judged", async () => {
  const rows = rowsOf(0, ["back", "back", "on", "on"]);
  expect(await expertVerdicts(lineWorld(new Line()), rows, 0)).toEqual([
    "bad",
    undefined,
    undefined,
    undefined,
  ]);
  expect(compare(undefined, 2)).toBeUndefined();
  expect(compare(2, 2)).toBe("bad");
  expect(compare(2, 1)).toBe("good");
});

test("the environment is closed when the world fails", async () => {
  const environment = new Line();
  await expect(expertVerdicts(lineWorld(environment), rowsOf(0, ["break"]), 0)).rejects.toThrow(
    "the line broke",
  );
  expect(environment.isClosed).toBe(true);
});

test("a world needs an expert and both ways of a snapshot", async () => {
  const whole = new Line();
  expect(() => requireExpert(lineWorld(whole), whole)).not.toThrow();
  const lacking: [World, Environment][] = [
    [{ ...lineWorld(whole), expert: undefined }, whole],
    [lineWorld(whole), Object.assign(new Line(), { snapshot: undefined })],
    [lineWorld(whole), Object.assign(new Line(), { restore: undefined })],
  ];
  for (const [world, environment] of lacking)
    expect(() => requireExpert(world, environment)).toThrow(
      /\[gcd\] world line has no expert.*gcd\.label_source, and set gcd\.cold_start_share to 0/,
    );
  // who asks without looking learns that there is no plan
  expect(await planLength({ ...lineWorld(whole), expert: undefined }, whole, "far")).toBeUndefined();
  expect(
    await planLength(
      lineWorld(whole, () => null),
      whole,
      "far",
    ),
  ).toBeUndefined();
  const blind = Object.assign(new Line(), { snapshot: undefined });
  expect(
    await planLength(
      lineWorld(blind, () => ["on", "on"]),
      blind,
      "far",
    ),
  ).toBe(2);
});
