/** Worlds of every kind over HTTP: our client plays them as they are played here; and `uncouple serve-env` as a user starts it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, afterEach, expect, test } from "vitest";
import { AlfworldWorld } from "../../src/env/alfworld/world.js";
import { householdWorld } from "../../src/env/household/world.js";
import type { World } from "../../src/env/world.js";
import { openOpenenvWorld } from "../../src/host/worlds/openenv_client.js";
import { WorldServer } from "../../src/host/worlds/openenv_server.js";
import { smallGameText, smallWalkthrough } from "../support/alfworld_small_game.js";
import { temporaryFolder } from "../support/folders.js";
import { packageForTest } from "../support/package.js";
import { stubJava, stubWorld, writeSmallGame } from "../support/scienceworld.js";

const scratch = temporaryFolder();
const built = packageForTest("openenv");
afterAll(() => built.remove());
const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const gameId = "train/pick_two_obj_and_place-Cup-None-Box-1/trial_1/game.tw-pddl";
const household = () => householdWorld({ seed: 3, sizes: { train: 2, in_domain: 0, out_of_domain: 0 } });
const alfworld = () =>
  new AlfworldWorld([
    { taskId: gameId, split: "train", type: "pick_two_obj_and_place", load: () => smallGameText() },
  ]);
const scienceworld = () => stubWorld([stubJava([writeSmallGame(scratch)])]).world;

test.each([
  ["household", household, household().tasks("train")[1].id, undefined],
  ["alfworld", alfworld, gameId, smallWalkthrough],
  ["scienceworld", scienceworld, "boil/3", undefined],
] as [string, () => World, string, readonly string[] | undefined][])(
  "%s: our client plays our server as the world itself",
  async (id, open, taskId, plan) => {
    const [here, served] = [open(), open()];
    const server = await WorldServer.start(served, { host: "127.0.0.1", port: 0, maxEpisodes: 2 });
    const client = await openOpenenvWorld({ url: server.url, timeLimit: 20 });
    closing.push(
      () => here.close?.(),
      () => served.close?.(),
      () => server.close(),
      () => client.close(),
    );
    expect([client.id, client.splits]).toEqual([id, here.splits]);
    const [far, near] = [client.create(), here.create()];
    const options = { options: { taskId } };
    const first = await near.reset(options);
    const { details: _first, ...info } = first.info;
    expect(await far.reset(options)).toMatchObject({ ...first, info });
    const commands = plan ?? (await here.expert?.(taskId)) ?? [];
    expect(commands.length).toBeGreaterThan(3);
    for (const command of ["fly", ...commands]) {
      const step = await near.step(command);
      const { details, ...told } = step.info;
      const answer = await far.step(command);
      expect(answer).toMatchObject({ ...step, info: told });
      // over HTTP fields of ours come first: `score` is the share from 0 to 1
      const { score: _points, inventory: _same, ...others } = details ?? {};
      expect(answer.info.details).toMatchObject(others);
    }
    expect((await far.step("fly")).info.won).toBe((await near.step("fly")).info.won);
    await Promise.all([far.close(), near.close()]);
  },
);

/** Starts the command. @returns the address that it prints */
async function serve(...args: string[]): Promise<{ child: ChildProcess; url: string }> {
  const child = spawn(process.execPath, ["bin/uncouple.js", "serve-env", "--port", "0", ...args], {
    cwd: built.folder,
    stdio: ["ignore", "pipe", "inherit"],
  });
  closing.push(() => child.kill("SIGKILL"));
  for await (const url of createInterface(child.stdout)) return { child, url };
  throw new Error("no address");
}

test("serve-env prints where it serves, asks for the token of its file, and ends when told to", async () => {
  const file = join(scratch, "token");
  writeFileSync(file, "a secret\n");
  const { child, url } = await serve("--seed", "3", "--token-file", file);
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  await expect(openOpenenvWorld({ url, timeLimit: 20 })).rejects.toThrow(/got 401/);
  const client = await openOpenenvWorld({ url, token: "a secret", timeLimit: 20 });
  const environment = client.create();
  const local = householdWorld({ seed: 3 });
  const [task] = local.tasks("train");
  const options = { options: { taskId: task.id } };
  expect((await environment.reset(options)).obs).toBe((await local.create().reset(options)).obs);
  await client.close();
  const exit = once(child, "exit");
  child.kill("SIGTERM");
  expect(await exit).toEqual([0, null]);
});
