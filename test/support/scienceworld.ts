/** Recordings of ScienceWorld's simulator, which lie beside the project where it is developed, and a small game of our own. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { ScienceWorld, type ScienceWorldOptions } from "../../src/env/scienceworld/world.js";
import { JavaSimulator } from "../../src/host/worlds/java_simulator.js";
import { needing } from "./needs.js";

const folder = fileURLToPath(new URL("../../../shared/scienceworld/", import.meta.url));
const stub = fileURLToPath(new URL("stub_gateway.mjs", import.meta.url));

export const withScienceRecordings = needing({
  what: "recordings of ScienceWorld's simulator",
  isThere: existsSync(`${folder}golden`),
  cure: "They are no part of the project, and are looked for in ../shared/scienceworld; a small game of our own is tested.",
});

/** Names of the recordings and their files. */
export function scienceRecordings(): [name: string, file: string][] {
  return readdirSync(`${folder}golden`).map((name) => [name, join(folder, "golden", name)]);
}

/** A file beside the recordings, parsed. */
export function scienceFile(name: string): unknown {
  return JSON.parse(readFileSync(join(folder, name), "utf8"));
}

export interface ScienceStep {
  readonly action: string;
  readonly observation: string;
  /** Points of 100. */
  readonly score: number;
  readonly reward: number;
  readonly completed: boolean;
  readonly moves: number;
  readonly look: string;
  readonly inventory: string;
  readonly n_valid?: number;
  readonly valid?: readonly string[];
  readonly objects?: readonly string[];
  /** Commands sent after the step, with their answers. */
  readonly bad?: readonly (readonly [string, string])[];
}

export interface ScienceRecording {
  readonly task: string;
  readonly variation: number;
  readonly simplifications: string;
  readonly taskDescription: string;
  readonly gold: readonly string[];
  readonly possibleActions: readonly string[];
  readonly steps: readonly ScienceStep[];
}

export function readScienceRecording(file: string): ScienceRecording {
  return JSON.parse(readFileSync(file, "utf8")) as ScienceRecording;
}

function step(
  action: string,
  observation: string,
  score: number,
  reward: number,
  moves: number,
): ScienceStep {
  const look = `You are in a room.\n\ta pot \\ "${moves}"\n`;
  const valid = [...(moves % 2 === 0 ? ["focus on pot"] : []), "look around", "open door"];
  const objects = moves === 0 ? ["door", "pot"] : undefined;
  const completed = score === 100;
  return {
    action,
    observation,
    score,
    reward,
    completed,
    moves,
    look,
    inventory: "nothing\r\n",
    valid,
    objects,
  };
}

/** Five steps that win, with backslashes, line ends, other scripts and a long text in them. */
export const smallScienceGame: ScienceRecording = {
  task: "boil",
  variation: 3,
  simplifications: "easy",
  taskDescription: "Your task is to boil water.",
  gold: ["open door", "heat \\n pot", "wait", "focus on pot"],
  possibleActions: ["focus on OBJ", "look around", "open OBJ"],
  steps: [
    step("look around", "You are in a room.\n\ta pot", 0, 0, 0),
    step("open door", "C:\\new\\room ✓ 日本 😀", 12, 12, 1),
    step("heat \\n pot", "é".repeat(9000), 9, -3, 2),
    step("wait", "\ttime\r\n\n", 50, 41, 13),
    step("focus on pot", "You focus on the pot.", 100, 50, 14),
  ],
};

/** Plays a recording in a world on a stub; every field of every step must come out the same. */
export async function checkRecording(recording: ScienceRecording, world: ScienceWorld): Promise<void> {
  const environment = world.create();
  const taskId = `${recording.task}/${recording.variation}`;
  let { obs, info, task } = await environment.reset({ options: { taskId } });
  expect(task).toBe(recording.taskDescription);
  let reward = 0;
  let terminated = false;
  for (const [index, step] of recording.steps.entries()) {
    if (index > 0) ({ obs, info, reward, terminated } = await environment.step(step.action));
    const { score, moves, look, inventory } = step;
    expect({ obs, reward, done: terminated, ...info.details }).toEqual({
      obs: step.observation,
      reward: step.reward,
      done: step.completed,
      ...{ score, moves, look, inventory },
    });
    expect(info).toMatchObject({ won: score === 100, score: score / 100, inventory, taskId });
    if (step.valid) expect(info.admissibleCommands).toEqual(step.valid);
    for (const [command, answer] of step.bad ?? []) {
      const result = await environment.step(command);
      expect(result.obs).toBe(answer);
      expect(result.info.understood).toBe(!/^(No known action|Unknown action)/.test(answer));
    }
  }
  expect(await world.expert(taskId)).toEqual(recording.gold);
  await environment.close();
}

/** A fault of the stub; see stub_gateway.mjs. */
export interface Fault {
  readonly kind: string;
  /** Count of `step` calls of a process, from 1. */
  readonly step: number;
  /** File that remembers that the fault has happened. */
  readonly marker?: string;
}

/** Program and arguments that stand in for Java. */
export function stubJava(games: readonly string[], fault?: Fault, delay = 0): string[] {
  return [process.execPath, stub, JSON.stringify({ games, fault, delay })];
}

/** Writes the small game. @returns its file */
export function writeSmallGame(scratch: string, game: Partial<ScienceRecording> = {}): string {
  const file = join(scratch, `game-${readdirSync(scratch).length}.json`);
  writeFileSync(file, JSON.stringify({ ...smallScienceGame, ...game }));
  return file;
}

/** A world on stubs. @param javas programs for the first, second ... process; the last one stands for all after it */
export function stubWorld(
  javas: readonly (readonly string[])[],
  options: Partial<ScienceWorldOptions> = {},
  timeLimit = 20_000,
): { world: ScienceWorld; started: () => number } {
  let count = 0;
  const start = () => {
    const java = javas[Math.min(count++, javas.length - 1)];
    return JavaSimulator.start({ jar: "stub.jar", java, timeLimit });
  };
  const world = new ScienceWorld({ ...options, start, maxEnvironments: options.maxEnvironments ?? 2 });
  return { world, started: () => count };
}
