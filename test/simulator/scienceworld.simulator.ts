/**
 * ScienceWorld against the real simulator: recordings, splits, games after other games.
 *   SCIENCEWORLD_JAR=/path/to/scienceworld.jar npm run test:scienceworld
 */
import { createHash } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Random } from "../../src/core/random.js";
import { pointsOf } from "../../src/env/scienceworld/session.js";
import { variationBlock } from "../../src/env/scienceworld/splits.js";
import { SCIENCE_TASKS } from "../../src/env/scienceworld/tasks.js";
import type { World } from "../../src/env/world.js";
import { JavaSimulator } from "../../src/host/worlds/java_simulator.js";
import { openScienceWorld } from "../../src/host/worlds/scienceworld.js";
import { findScienceWorldJar } from "../../src/host/worlds/scienceworld_jar.js";
import {
  readScienceRecording,
  type ScienceRecording,
  type ScienceStep,
  scienceRecordings,
} from "../support/scienceworld.js";

/** Milliseconds for an answer on a busy machine; those of whole tests are in vitest.simulator.config.ts. */
const TIME_LIMIT = 600_000;

const jar = await findScienceWorldJar(process.env.SCIENCEWORLD_JAR);
const start = () => JavaSimulator.start({ jar, timeLimit: TIME_LIMIT });
let simulator: JavaSimulator;
/** Searches solutions, after which a simulator searches at every start. */
let searcher: JavaSimulator;
beforeAll(async () => {
  simulator = await start();
  searcher = await start();
});
afterAll(() => Promise.all([simulator.close(), searcher.close()]));

/** One step as a recording has it. The calls come in the recorder's order: listing draws from the simulator's random numbers. */
async function record(one: JavaSimulator, recorded: ScienceStep, before: number): Promise<ScienceStep> {
  const observation = await one.step(recorded.action);
  const score = pointsOf(await one.score());
  const completed = await one.completed();
  const moves = await one.moves();
  const look = await one.look();
  const inventory = await one.inventory();
  const valid = await one.validCommands();
  const objects = recorded.objects && (await one.visibleObjects());
  const bad: [string, string][] = [];
  for (const [command] of recorded.bad ?? []) bad.push([command, await one.step(command)]);
  return {
    ...{
      action: recorded.action,
      observation,
      score,
      reward: score - before,
      completed,
      moves,
      look,
      inventory,
    },
    ...{ n_valid: valid.length, valid_sha1: createHash("sha1").update(valid.join("\n")).digest("hex") },
    ...(recorded.valid && { valid }),
    ...(objects && { objects }),
    ...(recorded.bad && { bad }),
  };
}

/** Every field of a recording but the times that it took. */
async function checkAll(recording: ScienceRecording & Record<string, unknown>): Promise<void> {
  const { load_gold_ms, reset_ms, step_ms_median, valid_ms_median, steps, ...rest } = recording;
  const { task, variation, simplifications } = recording;
  const load_error = await searcher.java.client.call(
    searcher.id,
    "load",
    task,
    variation,
    simplifications,
    true,
  );
  const gold = await searcher.goldCommands();
  await simulator.load(task, variation, simplifications, false);
  const taskDescription = await simulator.taskDescription();
  const possibleActions = await simulator.actionTemplates();
  let score = 0;
  for (const [index, step] of steps.entries()) {
    expect(await record(simulator, step, score), `step ${index}`).toEqual(step);
    score = step.score;
  }
  const goal_progress = await simulator.java.client.call(simulator.id, "getGoalProgressStr");
  const identity = { task, variation, simplifications };
  expect({ ...identity, load_error, gold, taskDescription, possibleActions, goal_progress }).toEqual(rest);
}

test.each(scienceRecordings())("%s", async (_, file) => {
  await checkAll({ ...readScienceRecording(file) });
});

/**
 * Plays a recording as an episode of the world. Rewards are differences from the last answer, which may be that of one of the
 * five bad commands: the recorder took them from the last step.
 */
async function checkEpisode({ task, variation, steps }: ScienceRecording, world: World): Promise<void> {
  const environment = world.create();
  const taskId = `${task}/${variation}`;
  let { obs, info } = await environment.reset({ options: { taskId } });
  let [reward, terminated, before] = [0, false, 0];
  for (const [index, step] of steps.entries()) {
    if (index > 0) ({ obs, info, reward, terminated } = await environment.step(step.action));
    const { observation, completed, score, moves, look, inventory } = step;
    const told = { obs, reward, terminated, ...info.details };
    const expected = { obs: observation, reward: score - before, terminated: completed };
    expect(told, `step ${index}`).toEqual({ ...expected, score, moves, look, inventory });
    expect(info).toMatchObject({ won: score === 100, score: score / 100, inventory, taskId });
    before = score;
    for (const [command, answer] of step.bad ?? []) {
      const result = await environment.step(command);
      expect([command, result.obs]).toEqual([command, answer]);
      before = Number(result.info.details?.score);
    }
  }
  await environment.close();
}

// Without lists: one after a bad command that was understood, where the recorder made none, names objects otherwise from there
// on, as it draws which of their names to use. In genetics the same draws decide which flowers bees visit.
const withoutChance = scienceRecordings().filter(([name]) => !name.startsWith("mendelian"));

test.each(withoutChance)("%s as an episode of the world", async (_, file) => {
  const recording = readScienceRecording(file);
  const simplifications = recording.simplifications || "none";
  const timeLimit = TIME_LIMIT / 1000;
  const world = await openScienceWorld({
    jar,
    simplifications,
    listing: "none",
    timeLimit,
    maxEnvironments: 1,
  });
  try {
    await checkEpisode(recording, world);
  } finally {
    await world.close();
  }
});

test("tasks, variations and splits are the simulator's own", async () => {
  const { client } = simulator.java;
  const names = await client.callList(simulator.id, "getTaskNames");
  expect(SCIENCE_TASKS.map(({ name }) => name)).toEqual(names);
  for (const { name, variations } of SCIENCE_TASKS) {
    expect(await client.call(simulator.id, "getTaskMaxVariations", name), name).toBe(variations);
    await simulator.load(name, 0, "", false);
    for (const [block, method] of [
      ["train", "getVariationsTrain"],
      ["dev", "getVariationsDev"],
      ["test", "getVariationsTest"],
    ] as const) {
      const list = (await client.call(simulator.id, method)) as { id: string };
      const size = Number(await client.call(list.id, "size"));
      const first = size > 0 ? await client.call(list.id, "get", 0) : undefined;
      const [from, to] = variationBlock(variations, block);
      expect({ size, first }, `${name} ${block}`).toEqual({ size: to - from, first: from });
    }
  }
});

/** Plays commands drawn from those that are valid. @returns all that the simulator told */
async function wander(
  one: JavaSimulator,
  task: string,
  variation: number,
  steps: number,
): Promise<unknown[]> {
  await one.load(task, variation, "easy", false);
  const told: unknown[] = [await one.step("look around")];
  const random = Random.of(variation, task);
  for (let step = 0; step < steps; step++) {
    const valid = await one.validCommands();
    const command = random.pick(valid);
    told.push(valid, command, await one.step(command), await one.look(), await one.inventory());
    told.push(await one.score(), await one.moves());
  }
  return told;
}

test("a game does not depend on what its process has played before", async () => {
  const games = [
    ["find-animal", 3],
    ["mendelian-genetics-known-plant", 5],
    ["boil", 7],
    ["test-conductivity", 11],
  ] as const;
  // `simulator` has played all recordings by now, and plays these games the other way round
  const used = new Map<string, unknown[]>();
  for (const [task, variation] of [...games].reverse())
    used.set(task, await wander(simulator, task, variation, 15));
  for (const [task, variation] of games) {
    const fresh = await start();
    try {
      expect(await wander(fresh, task, variation, 15), task).toEqual(used.get(task));
    } finally {
      await fresh.close();
    }
  }
});
