/**
 * ScienceWorld against the real simulator: recordings, commands that make no sense, lost processes.
 *   SCIENCEWORLD_JAR=/path/to/scienceworld.jar npm run test:scienceworld
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import { pointsOf } from "../../src/env/scienceworld/session.js";
import { ScienceWorld } from "../../src/env/scienceworld/world.js";
import { JavaSimulator } from "../../src/host/worlds/java_simulator.js";
import { openScienceWorld } from "../../src/host/worlds/scienceworld.js";
import { findScienceWorldJar } from "../../src/host/worlds/scienceworld_jar.js";
import { readScienceRecording, scienceRecordings } from "../support/scienceworld.js";

/** Milliseconds for a recording, and for an answer, on a busy machine. */
const TIME_LIMIT = 600_000;

const jar = await findScienceWorldJar(process.env.SCIENCEWORLD_JAR);
let simulator: JavaSimulator;
beforeAll(async () => {
  simulator = await JavaSimulator.start({ jar, timeLimit: TIME_LIMIT });
});
afterAll(() => simulator.close());

// In the order of calls of the recorder: listing valid commands draws from the simulator's random numbers.
test.each(scienceRecordings())(
  "%s",
  async (_, file) => {
    const { task, variation, simplifications, taskDescription, steps } = readScienceRecording(file);
    await simulator.load(task, variation, simplifications, false);
    expect(await simulator.taskDescription()).toBe(taskDescription);
    for (const { action, valid, objects, bad = [], reward: _reward, ...step } of steps) {
      expect({
        observation: await simulator.step(action),
        score: pointsOf(await simulator.score()),
        completed: await simulator.completed(),
        moves: await simulator.moves(),
        look: await simulator.look(),
        inventory: await simulator.inventory(),
      }).toEqual({ ...step, n_valid: undefined, valid_sha1: undefined });
      const commands = await simulator.validCommands();
      expect(commands).toHaveLength(step.n_valid ?? 0);
      if (valid) expect(commands).toEqual(valid);
      if (objects) expect([...(await simulator.visibleObjects())].sort()).toEqual([...objects].sort());
      for (const [command, answer] of bad) expect(await simulator.step(command)).toBe(answer);
    }
  },
  TIME_LIMIT,
);

test("tasks, variations and splits are the simulator's own", async () => {
  const { client } = simulator.java;
  const world = new ScienceWorld({
    start: () => Promise.reject(new Error("not started")),
    maxEnvironments: 1,
  });
  const names = await client.callList(simulator.id, "getTaskNames");
  expect([...new Set(world.tasks("train").map(({ type }) => type))]).toEqual(names);
  for (const name of names) {
    const all = ["train", "dev", "test"].flatMap((split) =>
      world.tasks(split).filter(({ type }) => type === name),
    );
    expect(all).toHaveLength(Number(await client.call(simulator.id, "getTaskMaxVariations", name)));
    await simulator.load(name, 0, "", false);
    for (const [split, method] of [
      ["dev", "getVariationsDev"],
      ["test", "getVariationsTest"],
    ] as const) {
      const size = Number(await client.call(String(await variations(simulator, method)), "size"));
      expect(
        world.tasks(split).filter(({ type }) => type === name),
        `${name} ${split}`,
      ).toHaveLength(size);
    }
  }
});

/** Id of the list that a method returns. */
async function variations({ java, id }: JavaSimulator, method: string): Promise<string> {
  return ((await java.client.call(id, method)) as { id: string }).id;
}

test("commands that make no sense are answered, and an episode goes on in another process when its own is killed", async () => {
  const world = await openScienceWorld({ jar, listing: "none", maxEnvironments: 2 });
  const environment = world.create();
  const commands = [
    "",
    "\n",
    "\\",
    "pick up \u{1f600}",
    "focus on OBJ",
    "0",
    "open door to kitchen",
    "look around",
  ];
  const options = { options: { taskId: "boil/0" } };
  await environment.reset(options);
  const first = [];
  for (const command of commands) first.push(await environment.step(command));
  const processes: number[] = [];
  const source = (environment as unknown as { source: { acquire(): Promise<{ simulator: JavaSimulator }> } })
    .source;
  const acquire = source.acquire.bind(source);
  source.acquire = async () => {
    const session = await acquire();
    processes.push(session.simulator.java.child.pid ?? 0);
    return session;
  };
  await environment.close();
  await environment.reset(options);
  const second = [];
  for (const [index, command] of commands.entries()) {
    if (index === 6) process.kill(processes[0], "SIGKILL");
    second.push(await environment.step(command));
  }
  expect(second).toEqual(first);
  expect(processes).toHaveLength(2);
  await environment.close();
  await world.close();
});
