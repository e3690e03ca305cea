/** `uncouple coupling --run` on a small run of its own. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test, vi } from "vitest";
import { runCli } from "../../src/cli/program.js";
import { trainConfigSchema } from "../../src/config/schema.js";
import { perSampleGram } from "../../src/coupling/gram.js";
import { readRolloutRows, rolloutSteps } from "../../src/host/run/rollout_rows.js";
import { oneMoreUpdate } from "../../src/host/run/update_rows.js";
import type { CouplingDocument } from "../../src/report/coupling_document.js";
import { temporaryFolder } from "../support/folders.js";
import { TextStream } from "../support/streams.js";

// a fault can be put into the Gram, to see that verification finds it
vi.mock("../../src/coupling/gram.js", async (original) => {
  const gram = await original<typeof import("../../src/coupling/gram.js")>();
  return { ...gram, perSampleGram: vi.fn(gram.perSampleGram) };
});
const real = await vi.importActual<typeof import("../../src/coupling/gram.js")>("../../src/coupling/gram.js");

const root = temporaryFolder();
const run = join(root, "small");

async function uncouple(...args: string[]) {
  const [stdout, stderr] = [new TextStream(), new TextStream()];
  const env = { ...process.env, UNCOUPLE_RUNS_DIR: root };
  const code = await runCli(args, { stdout, stderr, env });
  return { code, out: stdout.text, err: stderr.text };
}

beforeAll(async () => {
  const { code, err } = await uncouple(
    ...["train", "--name", "small", "--seed", "3", "--log-rollouts"],
    ...["world.max_steps=2", "world.household.difficulty=easy", "world.household.train=8"],
    ...[
      "imitation.episodes=16",
      "imitation.max_steps=40",
      "imitation.batch_size=16",
      "imitation.learning_rate=5e-3",
    ],
    // answers hold more than the action
    "prompt.answer=tag",
    // penalties give advantages where nothing succeeds
    ...[
      "grpo.max_steps=2",
      "grpo.tasks_per_step=2",
      "grpo.num_generations=4",
      "grpo.max_completion_length=5",
    ],
    ...[
      "grpo.invalid_action_penalty=0.5",
      "eval.splits=[]",
      "checkpoint.save_steps=1",
      "checkpoint.save_total_limit=4",
    ],
  );
  expect(err).not.toContain("error");
  expect(code).toBe(0);
});

const read = (folder: string, file = "coupling.json"): CouplingDocument =>
  JSON.parse(readFileSync(join(folder, file), "utf8"));

test("an analysis of the update that the run recorded, checked against real steps", async () => {
  const { code, out, err } = await uncouple(
    ...["coupling", "--run", run, "--checkpoint", "41", "--samples", "8", "--verify", "--json"],
  );
  expect(err).toMatch(/samples: \d+ of \d+ distinct ones .* \(rollouts of update 42\)/);
  // the forecast comes before anything is written
  expect(err.indexOf("forecast")).toBeLessThan(err.indexOf("wrote"));
  expect(code).toBe(0);
  const folder = join(run, "coupling", "step_000041");
  const document = read(folder);
  expect(JSON.parse(out).analyses[0].numbers).toEqual(document.numbers);
  const names = document.agreements.map(({ what }) => what);
  expect(names).toHaveLength(4);
  expect(document.agreements[0].correlation).toBeGreaterThan(0.999);
  expect(document.agreements[0].slope).toBeCloseTo(1, 1);
  expect(document.agreements[1].correlation).toBeGreaterThan(0.99);
  // the optimiser's step is predicted by products with its actual update
  expect(document.agreements.find(({ what }) => what.includes("actual update"))?.correlation).toBeGreaterThan(
    0.95,
  );
  expect(document.samples.every(({ optimiser }) => optimiser !== null)).toBe(true);
  expect(document.dangerOptimiser?.points).toHaveLength(document.danger.points.length);
  expect(document.dangerOptimiser?.points[0].drift).not.toBe(document.danger.points[0].drift);
  // actions of one state cannot be told apart before they are chosen: equal states have equal points
  const [before, after] = document.views;
  expect(before.plane.points).toHaveLength(document.samples.length);
  document.samples.forEach(({ state }, i) => {
    const twin = document.samples.findIndex((other) => other.state === state);
    expect(before.plane.points[i][0]).toBeCloseTo(before.plane.points[twin][0], 4);
    if (twin !== i) expect(after.plane.points[i]).not.toEqual(after.plane.points[twin]);
  });
  expect(document.stateAction?.visits).toBeGreaterThan(document.samples.length);
  expect(document.sharedTokens).not.toBeNull();
  expect(document.goodAnswers).not.toBeNull();
  // the word of the tag counts in one and not in the other
  const { goodBad } = document.acrossStates;
  expect(document.actionTokens?.acrossStates.goodBad.pairs).toBe(goodBad.pairs);
  expect(document.actionTokens?.acrossStates.goodBad.mean).not.toBe(goodBad.mean);
  expect(document.passport).toMatchObject({ checkpoint: 41, stage: "grpo", precision: "f32" });
  for (const file of ["coupling.html", "coupling_gram.npz", "coupling_pairs.parquet"])
    expect(existsSync(join(folder, file))).toBe(true);
  // tokens of the sample shown add up to its change
  const heat = document.tokenHeat;
  const sum = heat?.tokens.reduce((total, { value }) => total + value, 0);
  const total = document.samples[heat?.sample ?? 0].total;
  expect(Math.abs((sum as number) - total)).toBeLessThan(1e-3 * Math.abs(total) + 1e-6);
});

test("where no rollouts are, the policy plays them; ids of samples do not depend on it", async () => {
  const out = join(root, "anew");
  // the newest checkpoint is the end of the run: nothing was recorded after it
  const played = await uncouple("coupling", "--run", run, "--samples", "6", "--out", out);
  expect(played.err).toContain("played anew, as update 43 would");
  expect(played.code).toBe(0);
  const again = join(root, "again");
  await uncouple("coupling", "--run", run, "--samples", "6", "--out", again);
  expect(read(again).samples).toEqual(read(out).samples);
});

test("a Gram that is off ends with 5, after the files are written; without --verify nobody looks", async () => {
  vi.mocked(perSampleGram).mockImplementation(async (...given) => {
    const found = await real.perSampleGram(...given);
    found.layers.get("model.norm.weight")?.fill(0);
    return found;
  });
  const out = join(root, "off");
  const wrong = await uncouple(
    ...["coupling", "--run", run, "--checkpoint", "40", "--samples", "4", "--out", out, "--verify"],
  );
  const unseen = await uncouple(
    "coupling",
    "--run",
    run,
    "--checkpoint",
    "40",
    "--samples",
    "4",
    "--out",
    `${out}2`,
  );
  vi.mocked(perSampleGram).mockImplementation(real.perSampleGram);
  expect(wrong.code).toBe(5);
  expect(wrong.err).toMatch(
    /\[coupling\] verification failed: got model\.norm\.weight 1\.0e\+0, expected relative errors/,
  );
  expect(existsSync(join(out, "coupling.json"))).toBe(true);
  expect(unseen.code).toBe(0);
});

test("two policies read the same samples", async () => {
  const out = join(root, "compared");
  const { code, out: printed } = await uncouple(
    ...["coupling", "--run", run, "--checkpoint", "40", "--compare", run, "--samples", "5", "--out", out],
  );
  expect(code).toBe(0);
  expect(printed.match(/^small at 40$/gm)).toHaveLength(2);
  const [first, second] = [read(out), read(out, "coupling_compare.json")];
  expect(second.samples.map(({ id }) => id)).toEqual(first.samples.map(({ id }) => id));
  expect(second.gram).toEqual(first.gram);
});

test("rows are read back as they were written, and malformed ones are named", async () => {
  expect(await rolloutSteps(run)).toEqual([41, 42]);
  const rows = await readRolloutRows(run, 41);
  expect(rows.length).toBeGreaterThan(4);
  expect(rows.every(({ step }) => step === 41)).toBe(true);
});

test("one more update is one of the policy stage, wherever the checkpoint lies", () => {
  const config = trainConfigSchema.parse({ imitation: { max_steps: 10 }, grpo: { max_steps: 5 } });
  const steps = [4, 10, 13, 15].map((step) => {
    const { imitation, grpo, log } = oneMoreUpdate(config, step);
    return [imitation.max_steps, grpo.max_steps, log.rollouts];
  });
  expect(steps).toEqual([
    [4, 1, true],
    [10, 1, true],
    [10, 4, true],
    [10, 6, true],
  ]);
});

test.each([
  [["--checkpoint", "99"], 2, /no such checkpoint: got no step_000099/],
  [["--samples", "-1"], 2, /got "-1", expected with --run a whole number/],
  [["--checkpoint", "x"], 2, /whole number of at least 0/],
  [["--precision", "mixed"], 2, /--precision cannot go with --run/],
  [["--model", "somewhere"], 2, /unclear what to measure/],
])("bad options are told, case %#", async (args, expected, message) => {
  const { code, err } = await uncouple("coupling", "--run", run, ...args);
  expect(code).toBe(expected);
  expect(err).toMatch(message);
});
