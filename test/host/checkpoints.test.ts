/** Checkpoints survive a kill at any moment. */
import { spawn } from "node:child_process";
import { readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeEach, expect, test } from "vitest";
import type { Logger } from "../../src/core/logger.js";
import type { Checkpoint } from "../../src/core/run_record.js";
import {
  dropCheckpointsAfter,
  readCheckpoint,
  readNewestCheckpoint,
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

const newest = async () => (await readNewestCheckpoint(root, logger))?.step;

test("a checkpoint comes back; the oldest ones go", async () => {
  expect(await newest()).toBeUndefined();
  for (const step of [5, 10, 15]) await writeCheckpoint(root, checkpoint(step), 2);
  expect(readdirSync(root).sort()).toEqual(["latest", "step_000010", "step_000015"]);
  const loaded = await readNewestCheckpoint(root, logger);
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
  await dropCheckpointsAfter(root, 10);
  expect(await newest()).toBe(10);
  expect(warnings).toEqual([]);
});

test("whatever a kill leaves, the newest complete checkpoint is found", async () => {
  for (const step of [5, 10]) await writeCheckpoint(root, checkpoint(step), null);
  await mkdir(at(".step_000015.id.partial"));
  writeFileSync(at(".step_000015.id.partial", "model.safetensors"), "half");
  writeFileSync(at(".latest.id.partial"), "step");
  await mkdir(at("step_000015"));
  expect(await newest()).toBe(10);
  expect(warnings).toEqual([
    expect.stringMatching(/step_000015.*state\.json.*cannot be read.*before it is tried/),
  ]);
  expect(readdirSync(root).sort()).toEqual(["latest", "step_000005", "step_000010", "step_000015"]);

  // killed after the rename, before `latest` was moved on
  await rm(at("step_000015"), { recursive: true });
  await writeCheckpoint(root, checkpoint(15), null);
  writeFileSync(at("latest"), "step_000010\n");
  expect(await newest()).toBe(15);
  // killed between the two renames of writing the same step again
  await rename(at("step_000015"), at("step_000015.previous"));
  expect(await newest()).toBe(15);
  // damaged afterwards
  truncateSync(at("step_000015", "optimizer.safetensors"), 20);
  expect(await newest()).toBe(10);
  await expect(readCheckpoint(at("step_000015"))).rejects.toThrow(/not complete: got 20 bytes/);
  writeFileSync(at("step_000010", "state.json"), '{"format":2}');
  expect(await newest()).toBe(5);
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
    const loaded = await readNewestCheckpoint(folder, logger);
    expect(loaded?.step).toBeGreaterThanOrEqual(last);
    expect(loaded?.state).toEqual({ step: loaded?.step });
    for (const tensors of [loaded?.model, loaded?.optimizer])
      expect(new Set(await tensors?.read("a"))).toEqual(new Set([loaded?.step]));
    expect(readFileSync(join(folder, "latest"), "utf8")).toMatch(/^step_\d+\n$/);
  }
});
