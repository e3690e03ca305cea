/** Tables and options that must be refused, leave-one-out, and the penalised baseline in expectation. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { estimateAdvantages } from "../../src/rl/advantages/estimate.js";
import type { AdvantageOptions } from "../../src/rl/advantages/options.js";
import type { AdvantageRow } from "../../src/rl/advantages/table.js";

const row: AdvantageRow = {
  group: 0,
  episode: 0,
  step: 0,
  outcome: 1,
  stepReward: 1,
  anchorKey: "s",
  tag: "planning",
  action: "look",
  valid: true,
  truncated: false,
};
const strict = { invalid_action_penalty: 0.1, mask_truncated: true } as const;

/** Rows are JavaScript's: types do not hold at the door of a library. */
const estimate = (rows: readonly unknown[], options: unknown) =>
  estimateAdvantages(rows as AdvantageRow[], options as AdvantageOptions);

test.each([
  ["group", Number.NaN, "a finite number or a text", "grpo"],
  ["episode", undefined, "a finite number or a text", "grpo"],
  ["step", 0.5, "an integer, 0 or more", "grpo"],
  ["step", -1, "an integer, 0 or more", "grpo"],
  ["outcome", Number.POSITIVE_INFINITY, "a finite number", "grpo"],
  ["outcome", undefined, "a finite number", "rloo"],
  ["stepReward", Number.NaN, "a finite number", "grpo"],
  ["stepReward", undefined, "a finite number for algo gigpo", "gigpo"],
  ["stepReward", undefined, "a finite number for algo hgpo", "hgpo"],
  ["anchorKey", 7, "a text, null or undefined", "gigpo"],
  ["tag", "thinking", "planning, explore, reflection, monitor, none", "rlvmr"],
  ["valid", undefined, "true or false", "grpo"],
  ["valid", 1, "true or false", "rlvmr"],
  ["truncated", undefined, "true or false", "grpo"],
  ["penalty", -1, "a number, 0 or more", "grpo"],
])("%s %s is refused: expected %s (%s)", (column, value, expected, algo) => {
  expect(() => estimate([{ ...row, [column]: value }], { algo, ...strict })).toThrow(
    new RegExp(`^\\[advantages\\] ${column} is wrong at group .*: got .*, expected ${expected}`),
  );
});

test("columns that no row has are missing for the algorithms that need them", () => {
  const { anchorKey: _, ...unanchored } = row;
  for (const algo of ["gigpo", "hgpo"])
    expect(() => estimate([unanchored], { algo })).toThrow(/column anchorKey is missing/);
  const { tag: __, ...untagged } = row;
  expect(() => estimate([untagged], { algo: "rlvmr" })).toThrow(/column tag is missing/);
  const { group, episode, step, outcome } = row;
  const least = { group, episode, step, outcome };
  expect(
    [...estimate([least, { ...least, episode: 1, outcome: 0 }], { algo: "grpo" }).total][0],
  ).toBeGreaterThan(0);
});

test("rows that contradict each other are refused", () => {
  expect(() => estimate([row, row], { algo: "grpo" })).toThrow(/one row for each step/);
  expect(() => estimate([row, { ...row, step: 1, outcome: 0 }], { algo: "grpo" })).toThrow(
    /expected 1 as in earlier rows/,
  );
  const gap = [row, { ...row, step: 2 }];
  expect(() => estimate(gap, { algo: "gigpo" })).toThrow(
    /step is wrong .*: got 2, expected 1: steps without a gap/,
  );
  expect([...estimate(gap, { algo: "grpo" }).total]).toEqual([0, 0]);
});

test.each([
  [{}, "algo is wrong: got nothing"],
  [{ algo: "ppo" }, 'algo is wrong: got "ppo", expected grpo or rloo'],
  [{ algo: "grpo", gama: 1 }, "unknown option: got gama"],
  [{ algo: "gigpo", gamma: 1.5 }, "gamma is wrong: got 1.5, expected a number from 0 to 1"],
  [{ algo: "gigpo", norm: "std" }, 'norm is wrong: got "std", expected mean_std or mean'],
  [{ algo: "hgpo", history_length: 1.5 }, "history_length is wrong"],
  [{ algo: "grpo", max_advantage: 0 }, "max_advantage is wrong"],
  [{ algo: "grpo", invalid_action_penalty: -1 }, "invalid_action_penalty is wrong"],
  [{ algo: "grpo", invalid_action_penalty: Number.POSITIVE_INFINITY }, "invalid_action_penalty is wrong"],
  [{ algo: "rlvmr", tag_alpha: 0.5, tag_weight: 1 }, "tag_weight is wrong: got 1, expected to be left out"],
])("options %j are refused", (options, message) => {
  expect(() => estimate([row], options)).toThrow(message);
});

test("an option that is undefined counts as not given", () => {
  const rows = [row, { ...row, episode: 1, outcome: 0 }];
  expect(estimate(rows, { algo: "grpo", std_epsilon: undefined }).total).toEqual(
    estimate(rows, { algo: "grpo" }).total,
  );
});

test("leave-one-out: each outcome against the mean of the others, never divided", () => {
  const rows = [6, 0, 3].map((outcome, episode) => ({ ...row, episode, outcome }));
  for (const norm of ["mean_std", "mean"] as const)
    expect([...estimate(rows, { algo: "rloo", norm }).total]).toEqual([4.5, -4.5, 0]);
  expect([...estimate([rows[0]], { algo: "rloo" }).total]).toEqual([0]);
});

test("population and unbiased standard deviation, and its epsilon", () => {
  const rows = [1, 0, 0, 1].map((outcome, episode) => ({ ...row, episode, outcome }));
  const first = (options: object) => estimate(rows, { algo: "grpo", std_epsilon: 0, ...options }).total[0];
  expect(first({})).toBeCloseTo(Math.sqrt(3) / 2, 12);
  expect(first({ std: "population" })).toBeCloseTo(1, 12);
  expect(first({ std_epsilon: 1e-6 })).toBeCloseTo(0.5 / (Math.sqrt(1 / 3) + 1e-6), 14);
  expect(first({ norm: "mean" })).toBe(0.5);
});

test("a mean-centred group of N punishes a flawed action by (1 - 1/N) of its true disadvantage, in expectation", () => {
  // success 0.8; the flawed action, chosen with q, costs r of it: its mass is q r (q - 1)
  const [p, q, r] = [0.8, 0.3, 0.2];
  for (const N of [2, 4, 8]) {
    let mass = 0;
    // all choices (flawed or not) times all results (success or not) of the N members
    for (let event = 0; event < 4 ** N; event++) {
      let chance = 1;
      const members = Array.from({ length: N }, (_, member) => {
        const isFlawed = (event >> (2 * member)) & 1;
        const won = (event >> (2 * member + 1)) & 1;
        const success = p - r * isFlawed;
        chance *= (isFlawed ? q : 1 - q) * (won ? success : 1 - success);
        return { isFlawed, won };
      });
      const mean = members.reduce((sum, { won }) => sum + won, 0) / N;
      mass += (chance * members.reduce((sum, { isFlawed, won }) => sum + isFlawed * (won - mean), 0)) / N;
      if (event === 1 + 2 * 4) {
        const rows = members.map(({ won }, episode) => ({ ...row, episode, outcome: won }));
        const { total } = estimate(rows, { algo: "grpo", norm: "mean" });
        expect([...total]).toEqual(members.map(({ won }) => won - mean));
      }
    }
    expect(mass).toBeCloseTo((1 - 1 / N) * q * r * (q - 1), 10);
  }
});

test("the glossary explains every statistic", () => {
  const glossary = readFileSync(new URL("../../docs/glossary.md", import.meta.url), "utf8");
  const rows = [row, { ...row, episode: 1, outcome: 0 }];
  const keys = ["grpo", "gigpo", "hgpo", "rlvmr"].flatMap((algo) =>
    Object.keys(estimate(rows, { algo, max_advantage: 1 }).statistics),
  );
  const names = keys.map((key) => key.replace(/^anchor\/.*\/\d+$/, "anchor/mean_size/<k>"));
  for (const name of new Set(names)) expect(glossary, name).toContain(`\`${name}\``);
});

test("statistics of advantages and tags, by hand; none of an empty table is NaN", () => {
  const rows = [6, 0, 3].map((outcome, episode) => ({ ...row, episode, outcome }));
  expect(estimate(rows, { algo: "grpo", norm: "mean" }).statistics).toMatchObject({
    "advantage/mean": 0,
    "advantage/min": -3,
    "advantage/max": 3,
    effective_sample_share: 2 / 3,
  });
  // without a tag, with the word none, and with a tag in an answer that is not valid
  const tags = ["planning", null, "none", "planning"] as const;
  const tagged = tags.map((tag, episode) => ({
    ...row,
    episode,
    tag,
    stepReward: 2,
    valid: episode < 3,
    action: undefined,
  }));
  expect(estimate(tagged, { algo: "rlvmr" }).statistics).toMatchObject({
    "tag/planning": 1 / 4,
    "tag/planning/reward": 2,
    "tag/explore": 0,
    "tag/none": 3 / 4,
  });
  for (const algo of ["grpo", "gigpo", "hgpo", "rlvmr"])
    for (const [name, value] of Object.entries(estimate([], { algo }).statistics))
      expect(value, `${algo} ${name}`).not.toBeNaN();
});

test("columns that an algorithm needs are asked for", () => {
  const without = (name: string) => ({ ...row, tag: "planning", action: undefined, [name]: undefined });
  const refused = (name: string) => () => estimate([without(name)], { algo: "rlvmr" });
  expect(refused("stepReward")).toThrow(
    /stepReward is wrong .*: got undefined, expected a finite number for algo rlvmr/,
  );
  expect(refused("group")).toThrow(
    /group is wrong .*: got undefined, expected a finite number or a text for algo/,
  );
  expect(refused("episode")).toThrow(/episode is wrong/);
  expect(refused("valid")).toThrow(/valid is wrong/);
});
