/** Processes of the real simulator that are killed, hang, or are no simulator; and who can reach them. */
import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { WorldError } from "../../src/core/errors.js";
import { ScienceWorld } from "../../src/env/scienceworld/world.js";
import type { StepResult } from "../../src/env/world.js";
import { JavaSimulator } from "../../src/host/worlds/java_simulator.js";
import { findScienceWorldJar } from "../../src/host/worlds/scienceworld_jar.js";
import { temporaryFolder } from "../support/folders.js";

const jar = await findScienceWorldJar(process.env.SCIENCEWORLD_JAR);
const scratch = temporaryFolder();
/** Milliseconds for a start or an answer, and so for the hang to be found out. */
const TIME_LIMIT = 60_000;

const options = { options: { taskId: "boil/0" } };
/** Sense and nonsense. */
const COMMANDS = [
  "",
  "\n",
  "\\",
  "pick up \u{1f600}",
  "focus on OBJ",
  "0",
  "open door to kitchen",
  "go to kitchen",
  "open cupboard",
  "pick up metal pot",
  "look around",
];

/** A world, and the processes that it has started. */
function open(): { world: ScienceWorld; started: JavaSimulator[] } {
  const started: JavaSimulator[] = [];
  const start = async () => {
    const simulator = await JavaSimulator.start({ jar, timeLimit: TIME_LIMIT });
    started.push(simulator);
    return simulator;
  };
  return { world: new ScienceWorld({ start, listing: "valid", maxEnvironments: 2 }), started };
}

const pidOf = ({ java }: JavaSimulator): number => java.child.pid ?? 0;

/** Plays the commands; at the given one a signal comes while the simulator is at work on it. */
async function play(
  signal?: NodeJS.Signals,
  at = 7,
): Promise<{ steps: StepResult[]; started: JavaSimulator[] }> {
  const { world, started } = open();
  const environment = world.create();
  await environment.reset(options);
  const steps: StepResult[] = [];
  for (const [index, command] of COMMANDS.entries()) {
    const step = environment.step(command);
    if (signal && index === at) process.kill(pidOf(started[0]), signal);
    steps.push(await step);
  }
  await environment.close();
  await world.close();
  return { steps, started };
}

const undisturbed = await play();

test.each(["SIGKILL", "SIGTERM", "SIGSTOP"] as const)(
  "%s in mid-step: the episode goes on in another process as if nothing had been",
  async (signal) => {
    const { steps, started } = await play(signal);
    expect(steps).toEqual(undisturbed.steps);
    expect(started).toHaveLength(2);
    // the stopped one, too
    for (const one of started) expect(() => process.kill(pidOf(one), 0)).toThrow(/ESRCH/);
  },
);

test("nonsense is answered, and costs no move where it is not understood", () => {
  const [empty, , , , focus] = undisturbed.steps;
  expect([empty.info.understood, focus.info.understood]).toEqual([false, false]);
  expect(undisturbed.steps.map(({ obs }) => obs).every((obs) => obs !== "")).toBe(true);
  expect(undisturbed.started).toHaveLength(1);
});

/** Addresses on which a process listens, as Linux writes them: hexadecimal, bytes of each word in reverse. */
function listening(pid: number): string[] {
  const sockets = readdirSync(`/proc/${pid}/fd`).map((name) => readlinkSync(`/proc/${pid}/fd/${name}`));
  const rows = ["tcp", "tcp6"].flatMap((table) =>
    readFileSync(`/proc/${pid}/net/${table}`, "utf8").split("\n"),
  );
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter(([, , , state, , , , , , inode]) => state === "0A" && sockets.includes(`socket:[${inode}]`))
    .map(([, address]) => address.split(":")[0]);
}

test.runIf(existsSync("/proc/self/fd"))("others cannot reach it: it listens on 127.0.0.1 alone", async () => {
  const simulator = await JavaSimulator.start({ jar, timeLimit: TIME_LIMIT });
  const addresses = listening(pidOf(simulator));
  await simulator.close();
  expect(addresses).toHaveLength(1);
  expect(["0100007F", "0000000000000000FFFF00000100007F"]).toContain(addresses[0]);
});

test.each([
  ["empty", ""],
  ["a text", "this is no jar"],
])("a jar that is %s is named, with Java's own words", async (name, content) => {
  const file = join(scratch, `${name}.jar`);
  writeFileSync(file, content);
  const starting = JavaSimulator.start({ jar: file, timeLimit: TIME_LIMIT });
  await expect(starting).rejects.toThrow(WorldError);
  await expect(starting).rejects.toThrow(/gateway does not start: got exit code 1.*py4j.GatewayServer/s);
});
