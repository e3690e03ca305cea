/** `uncouple coupling --run` on a small run of its own. */
import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, expect, test, vi } from "vitest";
import { runCli } from "../../src/cli/program.js";
import { trainConfigSchema } from "../../src/config/schema.js";
import { perSampleGram } from "../../src/coupling/gram.js";
import { readRolloutRows, rolloutSteps } from "../../src/host/run/rollout_rows.js";
import { configSum } from "../../src/host/run/run_info.js";
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

const corridor = fileURLToPath(new URL("../../examples/worlds/corridor.mjs", import.meta.url));

test("runs that read text differently are refused before any work", async () => {
  const made = await uncouple(
    ...[
      "train",
      "--name",
      "corridor",
      "world.id=external",
      `world.command=[node, ${corridor}]`,
      "world.max_steps=2",
    ],
    ...["prompt.answer=tag", "imitation.episodes=0", "grpo.max_steps=1", "grpo.tasks_per_step=1"],
    ...["grpo.num_generations=2", "grpo.max_completion_length=2", "eval.splits=[]", "eval.at_start=false"],
  );
  expect(made.code, made.err).toBe(0);
  const out = join(root, "unread");
  const { code, err } = await uncouple(
    ...["coupling", "--run", run, "--compare", join(root, "corridor"), "--out", out],
  );
  expect(code).toBe(2);
  expect(err).toMatch(
    /\[--compare\] the runs read text differently: got a vocabulary of \d+ in .*corridor, expected one of \d+/,
  );
  expect(err).not.toContain("forecast");
  expect(existsSync(out)).toBe(false);
});

test("runs that began from different policies are told apart: a warning, and 5 where it is to be verified", async () => {
  // the same folder under other settings
  const other = join(root, "other");
  cpSync(run, other, { recursive: true });
  const config = readFileSync(join(other, "config.yaml"), "utf8").replace(/^seed: 3$/m, "seed: 4");
  writeFileSync(join(other, "config.yaml"), config);
  const info = JSON.parse(readFileSync(join(other, "run.json"), "utf8"));
  writeFileSync(join(other, "run.json"), JSON.stringify({ ...info, configSum: configSum(config) }));
  const args = [
    "coupling",
    "--run",
    run,
    "--checkpoint",
    "41",
    "--compare",
    other,
    "--samples",
    "3",
    "--out",
  ];
  const told = await uncouple(...args, join(root, "told"));
  expect(told.err).toMatch(
    /did not begin from the same policy: got other values of seed in .*other, expected/,
  );
  expect(told.code).toBe(0);
  const verified = await uncouple(...args, join(root, "verified"), "--verify");
  expect(verified.code).toBe(5);
  expect(existsSync(join(root, "verified", "coupling_compare.json"))).toBe(true);
});

test("rows without an advantage are nothing to measure, and a folder that is no run is told", async () => {
  const dead = join(root, "dead");
  cpSync(run, dead, { recursive: true });
  const file = join(dead, "rollouts", "step_000042.jsonl");
  const rows = readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => ({ ...JSON.parse(line), advantage: 0 }));
  writeFileSync(file, rows.map((row) => JSON.stringify(row)).join("\n"));
  const nothing = await uncouple("coupling", "--run", dead, "--checkpoint", "41");
  expect(nothing.code).toBe(1);
  expect(nothing.err).toMatch(/nothing to measure: got 0 samples with an advantage/);
  const absent = await uncouple("coupling", "--run", join(root, "nowhere"));
  expect(absent.code).toBe(2);
  expect(absent.err).toMatch(/nowhere/);
  writeFileSync(join(dead, "run.json"), "{");
  const broken = await uncouple("coupling", "--run", dead);
  expect(broken.code).toBe(2);
  expect(broken.err).toMatch(/run\.json/);
});

test("rows are read back as they were written, and malformed ones are named", async () => {
  expect(await rolloutSteps(run)).toEqual([41, 42]);
  const rows = await readRolloutRows(run, 41);
  expect(rows.length).toBeGreaterThan(4);
  expect(rows.every(({ step }) => step === 41)).toBe(true);
});

test("one more update is one of the policy stage, wherever the checkpoint lies", () => {
  const config = trainConfigSchema.parse({
    imitation: { max_steps: 10 },
    grpo: { max_steps: 5, warmup_steps: 2 },
  });
  const steps = [4, 10, 13, 15].map((step) => {
    const { imitation, grpo, log } = oneMoreUpdate(config, step);
    // so few updates may be fewer than the warm-up
    expect(grpo.warmup_steps).toBe(0);
    return [imitation.max_steps, grpo.max_steps, log.rollouts];
  });
  expect(steps).toEqual([
    [4, 1, true],
    [10, 1, true],
    [10, 4, true],
    [10, 6, true],
  ]);
  const alone = trainConfigSchema.parse({ imitation: { episodes: 0 }, grpo: { max_steps: 60 } });
  expect(oneMoreUpdate(alone, 40).grpo.max_steps).toBe(41);
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

test("--last-layer: scores of the update's states, from the run's policy without gradients", async () => {
  const folder = join(root, "scores");
  const { code, out, err } = await uncouple(
    ...["coupling", "--run", run, "--checkpoint", "41", "--samples", "12", "--last-layer", "8"],
    ...["--out", folder, "--json"],
  );
  expect(err).not.toContain("forecast");
  expect(code).toBe(0);
  const { gram, groups } = JSON.parse(out);
  const file = JSON.parse(readFileSync(join(folder, "coupling_last_layer.json"), "utf8"));
  expect(file).toMatchObject({ gram, groups });
  expect(gram).toHaveLength(file.samples.length);
  expect(file.samples[0]).toHaveProperty("action");
  for (const { group, positives, negatives } of groups)
    for (const number of [...positives, ...negatives]) expect(file.samples[number].state).toBe(group);
});

test("an approximation says so in its passport", async () => {
  const folder = join(root, "approximate");
  const { code } = await uncouple(
    ...["coupling", "--run", run, "--checkpoint", "41", "--samples", "6", "--approximate", "8"],
    ...["--out", folder],
  );
  expect(code).toBe(0);
  expect(read(folder).passport.precision).toBe("f32, gradients projected to rank 8");
});
