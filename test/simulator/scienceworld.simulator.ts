/**
 * ScienceWorld against the real simulator: recordings, commands that make no sense, lost processes.
 *   SCIENCEWORLD_JAR=/path/to/scienceworld.jar npm run test:scienceworld
 */
import { afterAll, expect, test } from "vitest";
import type { ScienceWorld } from "../../src/env/scienceworld/world.js";
import { JavaSimulator } from "../../src/host/worlds/java_simulator.js";
import { openScienceWorld } from "../../src/host/worlds/scienceworld.js";
import { findScienceWorldJar } from "../../src/host/worlds/scienceworld_jar.js";
import { checkRecording, readScienceRecording, scienceRecordings } from "../support/scienceworld.js";

const jar = await findScienceWorldJar(process.env.SCIENCEWORLD_JAR);
const worlds = new Map<string, ScienceWorld>();
afterAll(async () => {
  for (const world of worlds.values()) await world.close();
});

/** One world for each set of simplifications: starting Java takes a while. */
async function worldOf(simplifications: string): Promise<ScienceWorld> {
  const world =
    worlds.get(simplifications) ?? (await openScienceWorld({ jar, simplifications, maxEnvironments: 1 }));
  worlds.set(simplifications, world);
  return world;
}

test.each(scienceRecordings())("%s", async (_, file) => {
  const recording = readScienceRecording(file);
  await checkRecording(recording, await worldOf(recording.simplifications || "none"), true);
});

test("tasks, variations and splits are the simulator's own", async () => {
  const simulator = await JavaSimulator.start({ jar, timeLimit: 120_000 });
  const { client } = simulator.java;
  const world = await worldOf("easy");
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
  await simulator.close();
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
