/** Experiment files: cells in their order, baselines, and mistakes with their places. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { cellsNamed } from "../../src/cli/experiment/selection.js";
import { planExperiment } from "../../src/host/experiment/plan.js";
import { temporaryFolder } from "../support/folders.js";

let root: string;
beforeAll(() => {
  root = temporaryFolder();
});

const plan = (text: string, env = {}) => {
  const file = join(root, "e.yaml");
  writeFileSync(file, text);
  return planExperiment({ file, out: join(root, "out"), env, flags: [] });
};

async function mistakes(text: string): Promise<string> {
  const error = await plan(text).then(
    () => expect.unreachable("no mistake was found"),
    (thrown: Error) => thrown,
  );
  expect(error.name).toBe("ConfigError");
  return error.message.replaceAll(`${root}/`, "");
}

const GOOD = `
base:
  grpo: { max_steps: 3, learning_rate: 1.0e-4 }
  imitation: { max_steps: 7 }
start:
  train: { imitation: { batch_size: 4 } }
splits:
  L1: { of: in_domain }
axes:
  a: { x: , y: { grpo: { epsilon: 0.1, epsilon_high: 0.4 } } }
  b: { p: , q: { grpo: { epsilon: 0.3, beta: 0.5 } } }
cells:
  control: { of: { a: y, b: q }, set: { grpo: { beta: 0.25 } } }
  alone: { set: { grpo: { max_steps: 5 } } }
baseline: { b: p }
seeds: [4, 2]
`;

test("every combination of levels is a cell; stronger settings win; the start trains before, cells do not imitate", async () => {
  const { start, cells, out } = await plan(GOOD, {
    UNCOUPLE_RUNS_DIR: "/elsewhere",
    UNCOUPLE_PRESET: "fast",
  });
  expect(cells.map(({ id }) => id)).toEqual(
    ["x+p", "x+q", "y+p", "y+q", "control", "alone"].flatMap((name) => [`${name}__s4`, `${name}__s2`]),
  );
  const numbers = cells
    .filter(({ seed }) => seed === 4)
    .map(({ cell, config: { grpo, imitation }, updates }) => [
      cell.name,
      cell.baseline,
      grpo.epsilon,
      grpo.beta,
      grpo.learning_rate,
      imitation.episodes,
      updates,
    ]);
  expect(numbers).toEqual([
    ["x+p", undefined, 0.2, 0, 1e-4, 0, 3],
    ["x+q", "x+p", 0.3, 0.5, 1e-4, 0, 3],
    ["y+p", undefined, 0.1, 0, 1e-4, 0, 3],
    ["y+q", "y+p", 0.3, 0.5, 1e-4, 0, 3],
    ["control", "y+p", 0.3, 0.25, 1e-4, 0, 3],
    ["alone", undefined, 0.2, 0, 1e-4, 0, 5],
  ]);
  expect(cells[8].overrides).toEqual({ grpo: { epsilon: 0.3, epsilon_high: 0.4, beta: 0.25 } });
  expect(start).toMatchObject({ id: "start", updates: 7, trained: true });
  expect(start.config.imitation).toMatchObject({ episodes: 64, batch_size: 4 });
  expect(cells[1].config).toMatchObject({
    seed: 2,
    name: "x+p__s2",
    out: join(out, "runs"),
    device: { preset: "fast" },
    model: { path: join(out, "runs", "start", "export") },
    world: { splits: { L1: { of: "in_domain", task_types: null } } },
    eval: { splits: ["L1"], at_start: false },
  });
});

test("the fingerprint of settings depends on what decides the result, and on nothing else", async () => {
  const shas = async (text: string, env = {}) => {
    const { cells } = await plan(text, env);
    return cells.map(({ configSha256 }) => configSha256);
  };
  const known = await shas(GOOD);
  expect(new Set(known).size).toBe(known.length);
  expect(await shas(GOOD, { UNCOUPLE_ADAPTER: "lavapipe" })).toEqual(known);
  const reordered = GOOD.replace(
    "{ max_steps: 3, learning_rate: 1.0e-4 }",
    "{ learning_rate: 1.0e-4, max_steps: 3 }",
  );
  expect(await shas(reordered)).toEqual(known);
  const changed = await shas(GOOD.replace("epsilon: 0.1", "epsilon: 0.15"));
  expect(changed.map((sha, index) => sha === known[index])).toEqual([
    ...[true, true, true, true],
    ...[false, false, true, true],
    ...[true, true, true, true],
  ]);
});

test("--only takes names, names with seeds, and parts with a star", async () => {
  const { cells } = await plan(GOOD);
  const named = (...patterns: string[]) => cellsNamed(cells, patterns).map(({ id }) => id);
  expect(named("x+q")).toEqual(["x+q__s4", "x+q__s2"]);
  expect(named("*__s2", "alone")).toEqual([
    "x+p__s2",
    "x+q__s2",
    "y+p__s2",
    "y+q__s2",
    "control__s2",
    "alone__s4",
    "alone__s2",
  ]);
  expect(() => named("x.q")).toThrow(/no cell has the name: got "x.q", expected one of x\+p, x\+q,/);
});

test("mistakes are told with their places, all at once", async () => {
  expect(await mistakes("seeds: []\nstart: {}\naxes: { 'a b': { x: } }\nbose: 1\n")).toBe(
    [
      "[e.yaml:2:8] wrong start: got {}, expected either `train` (settings of a training that makes it) or `model` (its folder). Change it.",
      "[e.yaml:1:1] wrong splits: got nothing, expected a section with one section for each split. Change it.",
      '[e.yaml:3:9] wrong axes.a b: got "a b", expected letters, digits and _ . - only. Change it.',
      "[e.yaml:1:8] wrong seeds: got [], expected at least one seed. Change it.",
      '[e.yaml:4:1] wrong bose: got "bose", expected a part of experiment files. Change it.',
    ].join("\n"),
  );
  const changed = (from: string, to: string) => mistakes(GOOD.replace(from, to));
  expect(await changed("epsilon: 0.1", "epsilonn: 0.1")).toMatch(
    /^\[e\.yaml:10:\d+\] unknown setting grpo\.epsilonn: .* Did you mean grpo\.epsilon\?$/,
  );
  expect(await changed("max_steps: 5", "max_steps: -5")).toMatch(
    /^\[e\.yaml:14:\d+\] wrong value of grpo\.max_steps: got -5/,
  );
  expect(await changed("learning_rate: 1.0e-4", "learning_rate: fast")).toMatch(
    /^\[e\.yaml:3:\d+\] wrong value.*got "fast"[^\n]*$/,
  );
  expect(await changed("a: y, b: q", "a: z, c: q")).toBe(
    '[e.yaml:13:23] wrong cells.control.of.a: got "z", expected one of x, y. Change it.\n' +
      '[e.yaml:13:26] wrong cells.control.of.c: got "c", expected one of the axes a, b. Change it.',
  );
  expect(await changed("baseline: { b: p }", "baseline: { b: r }")).toMatch(
    /^\[e\.yaml:15:16\] wrong baseline\.b: got "r"/,
  );
  expect(await changed("[4, 2]", "[4, 4]")).toMatch(
    /^\[e\.yaml:16:12\] wrong seeds\[1\]: got 4, expected each seed once/,
  );
  expect(await changed("control:", "x+q:")).toMatch(
    /^\[e\.yaml:13:3\] wrong cells\.x\+q: .* a name that no other cell has/,
  );
  expect(await changed("set: { grpo: { beta", "set: { seed: 1, grpo: { beta")).toMatch(
    /^\[e\.yaml:13:\d+\] setting is the experiment's own: got seed/,
  );
  expect(await changed("set: { grpo: { beta", "set: { device: {preset: fast}, grpo: { beta")).toMatch(
    /^\[e\.yaml:13:\d+\] cells share one device: got other settings of device in control/,
  );
  expect(await changed("max_steps: 3", "max_steps: 0")).toMatch(/nothing to train: got no updates in x\+p/);
});
