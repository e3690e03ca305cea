/** Every file of examples/ as a user runs it: node, and the package by its name. */
import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, expect, test } from "vitest";
import { packageForTest } from "./support/package.js";

/** Milliseconds; the training example takes most of a minute on a busy machine with a software adapter. */
const PATIENCE = 300_000;

/** What the examples print, in this order. */
const EXPECTED: Readonly<Record<string, readonly RegExp[]>> = {
  "autograd.js": [/y Float32Array\(6\) \[/, /gradient of sum\(y\) by W Float32Array\(8\) \[/],
  "coupling.js": [
    /go to the shelf \(advantage 1\) in state 0: self \d\S+, cross /,
    /punished, yet rising: \d of 2/,
    /good and bad actions of different states: mean cosine -?[\d.]+ of 2 pairs/,
    /between Gram and directions: \d+e-\d+ of/,
  ],
  "generate.js": [
    /take the -> /,
    /log-probabilities: \d\.\de-\d+/,
    /put it on -> /,
    /log-probabilities: \d\.\de-\d+/,
  ],
  "influence_hook.js": [
    /update 1: \d+ of [1-9]\d* punished rows would rise/,
    /"[^"]*": by itself -\d\S+, by other rows \d/,
    /dropped [1-9]\d* of [1-9]\d* rows/,
    /done: 3 updates/,
  ],
  "own_world.js": [
    /update 6, imitation: loss/,
    /update 7, grpo: loss/,
    /success on test: [\d.]+/,
    /done: 7 updates/,
  ],
  "play_world.js": [/Your task is to: /, /> go to /, /solved, reward 1/],
  "train.js": [
    /success on in_domain: [\d.]+/,
    /update 3, imitation: loss \d\.\d{4}/,
    /update 4, grpo: loss -?\d\.\d{4}/,
    /a checkpoint of update 4/,
    /done: 4 updates/,
  ],
};

const built = packageForTest("examples");
afterAll(() => built.remove());

test("every example is expected to print something", () => {
  const folder = join(built.folder, "examples");
  // the programs in worlds/ are tested where external worlds are
  const files = readdirSync(folder).filter((name) => name !== "worlds");
  expect(files.sort()).toEqual(Object.keys(EXPECTED).sort());
});

test.each(Object.entries(EXPECTED))(
  "%s",
  async (file, parts) => {
    // a failing child rejects with its exit code and stderr
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [join("examples", file)], {
      cwd: built.folder,
      timeout: PATIENCE,
    });
    expect(stderr).toBe("");
    expect(stdout).toMatch(new RegExp(parts.map(({ source }) => source).join(".*"), "s"));
  },
  PATIENCE + 1000,
);
