/** What `uncouple bench worlds` counts, and its output. How fast anything is does not matter here. */
import { expect, test } from "vitest";
import { benchWorlds, type WorldRow } from "../../bench/worlds.js";
import { runCli } from "../../src/cli/program.js";
import { CorridorWorld } from "../support/corridor_world.js";
import { TextStream } from "../support/streams.js";

test("every round plays every task once in every setting, round by round; the first one does not count", async () => {
  const progress: string[] = [];
  // longer than any step of this process: the world is waited for
  const world = new CorridorWorld({ delay: () => 20 });
  const settings = [1, 2].map((environments) => ({ name: "corridor", world, environments }));
  const rows = await benchWorlds(settings, {
    tasks: ["one", "two", "three"],
    // `win` ends the episode, what follows is not played
    commands: (taskId) => (taskId === "two" ? ["left", "win", "left"] : ["left", "right"]),
    rounds: 3,
    onProgress: (what) => progress.push(what),
  });
  expect(progress).toHaveLength(8);
  expect(progress.slice(0, 3)).toEqual([
    "corridor on 1, round 0 of 3",
    "corridor on 2, round 0 of 3",
    "corridor on 1, round 1 of 3",
  ]);
  expect(rows.map(({ environments, rounds, steps }) => [environments, rounds, steps])).toEqual([
    [1, 3, 6],
    [2, 3, 6],
  ]);
  for (const row of rows) {
    expect(row.stepMs).toBeGreaterThan(19);
    expect(row.resetMs).toBeGreaterThan(19);
    // 6 steps and 3 resets, one after the other or on two environments
    expect(row.stepsPerSecond).toBeLessThan((row.environments * 6) / (9 * 0.019));
    expect(row.stepsPerSecondP10).toBeLessThanOrEqual(row.stepsPerSecond);
    expect(row.stepsPerSecondP90).toBeGreaterThanOrEqual(row.stepsPerSecond);
    expect(row.ownShare).toBeCloseTo((row.ownMs / 1000) * row.stepsPerSecond, 1);
  }
  expect([world.opened, world.closed]).toEqual([3, 3]);
  expect(world.calls).toHaveLength(8 * 9);
});

async function bench(...args: string[]) {
  const stdout = new TextStream();
  const stderr = new TextStream();
  const code = await runCli(["bench", "worlds", ...args], { stdout, stderr, env: {} });
  return { code, stdout: stdout.text, stderr: stderr.text };
}

test("the command prints a table with its passport, or JSON", async () => {
  const table = await bench("--rounds", "1", "--environments", "1", "3");
  expect(table.code).toBe(0);
  expect(table.stdout).toMatch(
    /^\| world \| environments \| steps\/s .*\n.*\n\| household \| 1 \| .*\n\| household \| 3 \| /,
  );
  expect(table.stdout).toMatch(
    /`uncouple bench worlds --world household --environments 1 3 --rounds 1 --tasks 4`; tasks .*; load /,
  );
  const { stdout } = await bench("--rounds", "2", "--environments", "2", "--tasks", "2", "--json", "--quiet");
  const { rows, passport }: { rows: WorldRow[]; passport: Record<string, string> } = JSON.parse(stdout);
  expect(rows).toMatchObject([{ setting: "household", environments: 2, rounds: 2 }]);
  expect(passport.tasks.split(",")).toHaveLength(2);
});

test.each([
  [["--world", "nowhere"], /Allowed choices are household/],
  [["--environments", "0"], /whole number, 1 or more/],
  [["--split", "nothing"], /unknown split/],
  [["--world", "scienceworld", "--jar", "/no/such.jar"], /no such jar/],
])("%j is refused", async (args, message) => {
  const { code, stderr } = await bench(...args);
  expect(code).toBe(2);
  expect(stderr).toMatch(message);
});
