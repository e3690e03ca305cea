/** Checkpoints survive a kill at any moment. */
import { spawn } from "node:child_process";
import { readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeEach, expect, test } from "vitest";
import { CheckError } from "../../src/core/errors.js";
import type { Logger } from "../../src/core/logger.js";
import type { Checkpoint } from "../../src/core/run_record.js";
import {
  readCheckpoint,
  readNewestCheckpoint,
  setAsideAfter,
  writeCheckpoint,
} from "../../src/host/run/checkpoints.js";
import { buildForTest } from "../support/built.js";
import { temporaryFolder } from "../support/folders.js";

let root: string;
let warnings: string[];
const logger: Logger = { info() {}, warn: (message) => void warnings.push(message) };
beforeEach(() => {
  root = temporaryFolder();
  warnings = [];
});

const at = (...names: string[]) => join(root, ...names);

const built = buildForTest("checkpoints");
afterAll(built.remove);

function checkpoint(step: number): Checkpoint {
  const tensor = (name: string) => ({ name, shape: [2, 2], data: new Float32Array(4).fill(step) });
  return {
    step,
    stage: "grpo",
    tensors: { model: [tensor("b"), tensor("a")], optimizer: [tensor("a")] },
    state: { words: [step, null, "x"], nested: { deep: true } },
  };
}

const newest = async () => (await readNewestCheckpoint(root, logger)).checkpoint?.step;

test("a checkpoint comes back; the oldest ones go", async () => {
  expect(await newest()).toBeUndefined();
  for (const step of [5, 10, 15]) await writeCheckpoint(root, checkpoint(step), 2);
  expect(readdirSync(root).sort()).toEqual(["latest", "step_000010", "step_000015"]);
  const { checkpoint: loaded } = await readNewestCheckpoint(root, logger);
  expect(loaded).toMatchObject({
    step: 15,
    stage: "grpo",
    path: at("step_000015"),
    state: checkpoint(15).state,
  });
  expect([...(loaded?.model.tensors.keys() ?? [])]).toEqual(["a", "b"]);
  expect([...((await loaded?.optimizer.read("a")) ?? [])]).toEqual([15, 15, 15, 15]);
  await writeCheckpoint(root, checkpoint(1234567), null);
  expect(readdirSync(root)).toContain("step_1234567");
  expect(warnings).toEqual([]);
  for (let again = 0; again < 2; again++) {
    await setAsideAfter(root, 10, logger);
    expect(await newest()).toBe(10);
    await writeCheckpoint(root, checkpoint(15), null);
  }
  expect(readdirSync(at("set_aside")).sort()).toEqual(["step_000015", "step_000015.2", "step_1234567"]);
});

test("whatever a kill leaves, the newest complete checkpoint is found", async () => {
  for (const step of [5, 10]) await writeCheckpoint(root, checkpoint(step), null);
  await mkdir(at(".step_000015.0f8fad5b-d9cb-469f-a165-70867728950e.partial"));
  writeFileSync(at(".step_000015.0f8fad5b-d9cb-469f-a165-70867728950e.partial", "model.safetensors"), "half");
  writeFileSync(at(".latest.0f8fad5b-d9cb-469f-a165-70867728950e.partial"), "step");
  await mkdir(at("step_000015"));
  expect(await newest()).toBe(10);
  expect(warnings).toEqual([
    expect.stringMatching(/step_000015.*state\.json.*got no file.*before it is tried/),
  ]);
  expect(readdirSync(root).sort()).toEqual(["latest", "step_000005", "step_000010", "step_000015"]);

  // killed after the rename, before `latest` was moved on
  await rm(at("step_000015"), { recursive: true });
  await writeCheckpoint(root, checkpoint(15), null);
  writeFileSync(at("latest"), "step_000010\n");
  expect(await newest()).toBe(15);
  // killed between the two renames of writing the same step again
  await rename(at("step_000015"), at(".step_000015.0f8fad5b-d9cb-469f-a165-70867728950e.previous"));
  expect(await newest()).toBe(15);
  // damaged afterwards
  truncateSync(at("step_000015", "optimizer.safetensors"), 20);
  expect(await newest()).toBe(10);
  await expect(readCheckpoint(at("step_000015"))).rejects.toThrow(/not complete: got 20 bytes/);
});

test("nothing that cannot be read is passed over or removed", async () => {
  for (const step of [5, 10]) await writeCheckpoint(root, checkpoint(step), null);
  const state = at("step_000010", "state.json");
  const whole = readFileSync(state, "utf8");
  const names = readdirSync(root);
  // written by a newer version
  writeFileSync(state, '{"format":2}');
  await expect(newest()).rejects.toThrow(/another format: got 2, expected 1\. Use the version/);
  // a broken disk, or no permission
  await rm(state);
  await mkdir(state);
  await expect(newest()).rejects.toThrow(/cannot be read: got EISDIR/);
  await rm(state, { recursive: true });
  // no checkpoint is whole
  for (const text of ["", '{"format":1', "[]", whole.replace('"step": 10', '"step": 11')]) {
    writeFileSync(state, text);
    writeFileSync(at("step_000005", "state.json"), text);
    await expect(newest()).rejects.toThrow(/no checkpoint can be used: got 2 that are not whole/);
  }
  expect(readdirSync(root)).toEqual(names);
});

test.each(["model.safetensors", "optimizer.safetensors"])(
  "one flipped bit of %s is noticed",
  async (name) => {
    for (const step of [5, 10]) await writeCheckpoint(root, checkpoint(step), null);
    const file = at("step_000010", name);
    const bytes = readFileSync(file);
    bytes[bytes.length - 3] ^= 4;
    writeFileSync(file, bytes);
    await expect(readCheckpoint(at("step_000010"))).rejects.toThrow(
      `${name}] checkpoint is not complete: got the checksum`,
    );
    expect(await readNewestCheckpoint(root, logger)).toMatchObject({
      checkpoint: { step: 5 },
      damaged: [10],
    });
  },
);

test("weights that are not finite are not saved, and cost no finite checkpoint", async () => {
  for (const step of [5, 10]) await writeCheckpoint(root, checkpoint(step), 2);
  const before = readdirSync(root);
  const bad = checkpoint(15);
  const tensors = {
    ...bad.tensors,
    model: [{ name: "a", shape: [2], data: Float32Array.of(1, Number.NaN) }],
  };
  await expect(writeCheckpoint(root, { ...bad, tensors }, 1)).rejects.toThrow(CheckError);
  await expect(writeCheckpoint(root, { ...bad, tensors }, 1)).rejects.toThrow(
    "[a] weights are not finite: got NaN",
  );
  expect(readdirSync(root)).toEqual(before);
});

test("a user's folders that look like leftovers stay", async () => {
  await mkdir(at("step_000005.previous"));
  await mkdir(at(".step_000005.mine.partial"));
  await writeCheckpoint(root, checkpoint(5), null);
  expect(await newest()).toBe(5);
  expect(readdirSync(root).sort()).toEqual(
    ["latest", "step_000005", "step_000005.previous", ".step_000005.mine.partial"].sort(),
  );
});

test("a checkpoint that fails on the way changes nothing", async () => {
  await writeCheckpoint(root, checkpoint(5), 1);
  const failing = { ...checkpoint(10) };
  const data = () => Promise.reject(new Error("device lost"));
  const tensors = { model: [{ name: "a", shape: [1], data }], optimizer: [] };
  await expect(writeCheckpoint(root, { ...failing, tensors }, 1)).rejects.toThrow("device lost");
  expect(readdirSync(root).sort()).toEqual(["latest", "step_000005"]);
});

/** Writes checkpoints without end, and a line after each. */
const WRITER = `
  const { writeCheckpoint } = await import(process.argv[1]);
  for (let step = 1; ; step++) {
    const tensor = (name) => ({ name, shape: [20000], data: new Float32Array(20000).fill(step) });
    const tensors = { model: [tensor("a"), tensor("b")], optimizer: [tensor("a")] };
    await writeCheckpoint(process.argv[2], { step, stage: "grpo", tensors, state: { step } }, 2);
    process.stdout.write(step + "\\n");
  }`;

test("processes killed at random moments lose no checkpoint that was reported", async () => {
  const module = new URL(`file://${built.folder}/src/host/run/checkpoints.js`).href;
  for (let round = 0; round < 5; round++) {
    const folder = at(String(round));
    const child = spawn(process.execPath, ["--input-type=module", "-e", WRITER, module, folder], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let reported = "";
    child.stdout.on("data", (chunk) => {
      reported += chunk;
      if (reported.split("\n").length > 2) setTimeout(() => child.kill("SIGKILL"), round * 3);
    });
    await new Promise((done) => child.on("close", done));
    const last = Number(reported.trim().split("\n").at(-1));
    const { checkpoint: loaded } = await readNewestCheckpoint(folder, logger);
    expect(loaded?.step).toBeGreaterThanOrEqual(last);
    expect(loaded?.state).toEqual({ step: loaded?.step });
    for (const tensors of [loaded?.model, loaded?.optimizer])
      expect(new Set(await tensors?.read("a"))).toEqual(new Set([loaded?.step]));
    expect(readFileSync(join(folder, "latest"), "utf8")).toMatch(/^step_\d+\n$/);
  }
});
