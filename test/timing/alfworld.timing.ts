/** How fast real games load and play, with generous bounds for slow shared machines. */
import { expect } from "vitest";
import { Random } from "../../src/core/random.js";
import { mean, quantile } from "../../src/core/statistics.js";
import { AlfworldWorld } from "../../src/env/alfworld/world.js";
import { planFromStart } from "../../src/env/planner/expert.js";
import { newerRules, readArchive, withArchive } from "../support/alfworld_archive.js";

const MIN_STEPS_PER_SECOND = 2000;
/** Milliseconds of CPU time, garbage collection and compiling in other threads included. */
const MAX_PLANNING = 50;

withArchive.test("real games play thousands of steps a second, lists of commands included", async () => {
  const random = Random.of(0, "speed");
  const games = random.shuffle(readArchive().filter((game) => game.solvable)).slice(0, 12);
  const entries = games.map((game) => {
    const text = game.text();
    return { taskId: game.path, split: game.split, type: game.type, load: () => text };
  });
  const world = new AlfworldWorld(entries);
  const environment = world.create();
  const loading: number[] = [];
  const resetting: number[] = [];
  let steps = 0;
  let milliseconds = 0;
  let characters = 0;
  for (const { taskId } of entries) {
    const before = performance.now();
    await environment.reset({ options: { taskId } });
    const between = performance.now();
    let { info } = await environment.reset({ options: { taskId } });
    loading.push(between - before);
    resetting.push(performance.now() - between);
    const start = performance.now();
    for (let i = 0; i < 400; i++) {
      const result = await environment.step(i % 10 === 9 ? "dance" : random.pick(info.admissibleCommands));
      info = result.info;
      characters += result.obs.length + info.admissibleCommands.length;
      steps++;
    }
    milliseconds += performance.now() - start;
  }
  const perSecond = (steps / milliseconds) * 1000;
  const median = (values: number[]) => quantile(values, 0.5);
  console.log(
    `alfworld: ${perSecond.toFixed(0)} steps/s, first load ${median(loading).toFixed(1)} ms, ` +
      `reset ${median(resetting).toFixed(2)} ms (medians of ${entries.length} games, ${characters} characters)`,
  );
  expect(perSecond).toBeGreaterThan(MIN_STEPS_PER_SECOND);
  expect(median(resetting)).toBeLessThan(100);
});

withArchive.test("the expert plans in a fraction of a game's loading time", () => {
  const games = readArchive().filter((game) => game.solvable);
  const sample = Random.of(0, "planning").shuffle(games).slice(0, 40);
  for (const rules of [{}, newerRules()]) {
    const entries = sample.map((game) => ({
      taskId: game.path,
      split: game.split,
      type: game.type,
      load: game.text,
    }));
    const world = new AlfworldWorld(entries, rules);
    const spent = entries.map(({ taskId }) => {
      const game = world.game(taskId);
      const before = process.cpuUsage();
      expect(planFromStart(game)).not.toBeNull();
      const { user, system } = process.cpuUsage(before);
      return (user + system) / 1000;
    });
    console.log(`expert: ${mean(spent).toFixed(1)} ms a game, ${Math.max(...spent).toFixed(1)} ms at most`);
    expect(mean(spent)).toBeLessThan(MAX_PLANNING);
  }
});
