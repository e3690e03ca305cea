import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import type { AdapterChoice } from "../../src/host/gpu/drivers.js";
import { keepTuning, readTuning, tuningKey, tuningPath } from "../../src/host/tuning/tuning_record.js";
import { temporaryFolder } from "../support/folders.js";

let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
});

function fakeLogger() {
  const lines: string[] = [];
  return { lines, info: () => {}, warn: (line: string) => lines.push(line) };
}

const result = {
  choice: "tile nt small",
  shape: "512x256x256",
  shipped: "64x64x16 4x4",
  shippedMs: 2,
  chosen: "32x32x16 4x4",
  chosenMs: 1,
  dropped: { "64x64x8 4x4": "got 1 at 2, expected 3" },
};
const record = { key: "one adapter", date: "2025-01-01T00:00:00.000Z", results: [result] };

test("a record is read as it was kept, and by no other key", async () => {
  const logger = fakeLogger();
  await keepTuning(folder, record, logger);
  expect(await readTuning(folder, record.key, logger)).toEqual(record);
  expect(await readTuning(folder, "another adapter", logger)).toBeUndefined();
  expect(readdirSync(folder)).toHaveLength(1);
  expect(logger.lines).toEqual([]);
});

test.each([
  ["{", /no tuning record/],
  ["null", /no tuning record/],
  [JSON.stringify({ ...record, results: [{ ...result, chosen: 3 }] }), /no tuning record/],
  [JSON.stringify({ ...record, key: "another" }), /measured on another adapter/],
])("a file that holds %s is not used, and it is said", async (text, message) => {
  const logger = fakeLogger();
  writeFileSync(tuningPath(folder, record.key), text);
  expect(await readTuning(folder, record.key, logger)).toBeUndefined();
  expect(logger.lines).toEqual([expect.stringMatching(message)]);
});

test("a folder that cannot be written is said", async () => {
  writeFileSync(join(folder, "file"), "");
  const logger = fakeLogger();
  await keepTuning(join(folder, "file", "below"), record, logger);
  expect(logger.lines).toEqual([expect.stringContaining("cannot be kept")]);
});

test("another driver, preset or precision has another key", async () => {
  const choice = { vendor: "v", architecture: "a", device: "d", description: "1.0", backend: "vulkan" };
  const of = (more: object) => ({ ...choice, preset: "checked", ...more }) as AdapterChoice;
  const keys = [
    await tuningKey(of({}), "f32"),
    await tuningKey(of({ description: "1.1" }), "f32"),
    await tuningKey(of({ preset: "fast" }), "f32"),
    await tuningKey(of({}), "f16"),
  ];
  expect(new Set(keys).size).toBe(4);
  expect(await tuningKey(of({ reason: "as asked" }), "f32")).toBe(keys[0]);
});
