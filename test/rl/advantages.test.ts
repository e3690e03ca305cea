/** Advantages against worked numbers and against the rules that any group must keep. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { estimateAdvantages } from "../../src/rl/advantages/estimate.js";
import type { AdvantageOptions } from "../../src/rl/advantages/options.js";
import type { AdvantageRow } from "../../src/rl/advantages/table.js";

const options = { algo: "grpo", invalid_action_penalty: 0.1 } as const;

function estimate(rows: readonly AdvantageRow[], given: AdvantageOptions) {
  const { total, parts, statistics } = estimateAdvantages(rows, given);
  return { total, outcome: parts.outcome, penalty: parts.penalty, statistics };
}

/** One episode of `length` rows. */
function episode(group: number, number: number, outcome: number, length = 1, invalid: number[] = []) {
  return Array.from(
    { length },
    (_, step): AdvantageRow => ({ group, episode: number, step, outcome, valid: !invalid.includes(step) }),
  );
}

const group = (outcomes: number[], number = 0) =>
  outcomes.flatMap((outcome, index) => episode(number, index, outcome));

test("worked group of four: with standard deviation, with that of the batch, without", () => {
  const rows = group([1, 0, 0, 1]);
  const { outcome, statistics } = estimate(rows, options);
  for (const [index, sign] of [1, -1, -1, 1].entries()) expect(outcome[index]).toBeCloseTo(sign * 0.866, 3);
  expect(outcome[0]).toBeCloseTo(0.5 / (Math.sqrt(1 / 3) + 1e-4), 12);
  expect([...estimate(rows, { ...options, scale_rewards: "none" }).outcome]).toEqual([0.5, -0.5, -0.5, 0.5]);
  expect(statistics).toMatchObject({ reward: 0.5, frac_reward_zero_std: 0 });
  expect(statistics.reward_std).toBeCloseTo(0.57735, 5);
  const batch = estimate([...rows, ...group([0, 0, 0, 0], 1)], { ...options, scale_rewards: "batch" });
  const batchStd = Math.sqrt((2 * 0.75 ** 2 + 6 * 0.25 ** 2) / 7);
  expect(batch.outcome[0]).toBeCloseTo(0.5 / (batchStd + 1e-4), 12);
  expect([...batch.outcome.subarray(4)]).toEqual([0, 0, 0, 0]);
});

test("each group is divided by its own spread, however far those of others lie apart", () => {
  const { outcome } = estimate([...group([1, 0, 0, 1]), ...group([10, 0], 1)], options);
  expect(outcome[0]).toBeCloseTo(0.5 / (Math.sqrt(1 / 3) + 1e-4), 12);
  expect(outcome[4]).toBeCloseTo(5 / (Math.sqrt(50) + 1e-4), 12);
});

test("worked K = 4 with rewards 1, 1, 1, 0", () => {
  const { outcome } = estimate(group([1, 1, 1, 0]), options);
  for (const [index, value] of [0.5, 0.5, 0.5, -1.5].entries()) expect(outcome[index]).toBeCloseTo(value, 3);
});

test("worked pair of trajectories: per episode and across steps", () => {
  const equalLength = [...episode(0, 0, 10, 2), ...episode(0, 1, 0, 2)];
  expect(estimate(equalLength, options).outcome[0]).toBeCloseTo(Math.SQRT1_2, 4);
  expect(estimate(equalLength, { ...options, cross_steps: true }).outcome[0]).toBeCloseTo(0.866, 4);
  const lengths = [...episode(0, 0, 10, 2), ...episode(0, 1, 0, 6)];
  const perEpisode = estimate(lengths, options).outcome;
  expect([perEpisode[0], perEpisode[7]].map((value) => value.toFixed(3))).toEqual(["0.707", "-0.707"]);
  const perRow = estimate(lengths, { ...options, cross_steps: true }).outcome;
  expect([perRow[0], perRow[7]].map((value) => value.toFixed(3))).toEqual(["1.620", "-0.540"]);
});

test("one invalid action in an all-failed group costs its penalty, against the group's share of invalid actions", () => {
  const rows = Array.from({ length: 8 }, (_, number) =>
    episode(0, number, 0, 5, number === 0 ? [3] : []),
  ).flat();
  const { total, outcome, statistics } = estimate(rows, options);
  expect(total[3]).toBeCloseTo(-0.1 * (39 / 40), 12);
  expect(total.filter((value) => Math.abs(value - 0.1 / 40) < 1e-12)).toHaveLength(39);
  expect(total.reduce((sum, value) => sum + value, 0)).toBeCloseTo(0, 12);
  expect(outcome.every((value) => value === 0)).toBe(true);
  expect(statistics).toMatchObject({
    frac_reward_zero_std: 1,
    "dead_groups/before_penalties": 1,
    "dead_groups/after_penalties": 0,
    "advantage/penalised": 1 / 40,
  });
});

test("groups of one, and of equal outcomes whose mean does not round to them, get exactly 0", () => {
  for (const scaleRewards of ["group", "batch", "none"] as const) {
    const rows = [...episode(0, 0, 10, 3), ...group([0.1, 0.1, 0.1], 1), ...group([1, 0], 2)];
    const { outcome, statistics } = estimate(rows, { ...options, scale_rewards: scaleRewards });
    expect([...outcome.subarray(0, 6)]).toEqual([0, 0, 0, 0, 0, 0]);
    expect(statistics.frac_reward_zero_std).toBeCloseTo(2 / 3, 12);
    expect(statistics["dead_groups/after_penalties"]).toBeCloseTo(2 / 3, 12);
  }
});

test("masked truncated rows get neither part but count as episodes", () => {
  const rows = group([1, 0]).map((row, index) => ({ ...row, truncated: index === 1, valid: index === 0 }));
  expect([...estimate(rows, { ...options, mask_truncated: true }).total]).toEqual([
    estimate(group([1, 0]), options).total[0],
    0,
  ]);
  expect(estimate(rows, options).penalty[1]).toBeCloseTo(-0.05, 12);
});

test("contradicting and infinite outcomes are refused, no rows are fine", () => {
  const rows = episode(0, 0, 1, 2);
  expect(() => estimate([rows[0], { ...rows[1], outcome: 0 }], options)).toThrow(
    /outcome is wrong at group 0, episode 0, step 1: got 0, expected 1 as in/,
  );
  expect(() => estimate(episode(0, 0, Number.NaN), options)).toThrow(/got NaN, expected a finite/);
  expect(estimate([], options).statistics).toMatchObject({ reward: 0, frac_reward_zero_std: 0 });
});

test("advantages of episodes sum to 0 in every group, whatever the order of the rows", () => {
  const outcomes = fc.array(
    fc.array(fc.double({ min: -10, max: 10, noNaN: true }), { minLength: 1, maxLength: 6 }),
    {
      minLength: 1,
      maxLength: 4,
    },
  );
  const scale = fc.constantFrom("group" as const, "batch" as const, "none" as const);
  fc.assert(
    fc.property(outcomes, scale, (groups, scaleRewards) => {
      const rows = groups.flatMap((values, number) => group(values, number));
      const { outcome } = estimate(rows, { ...options, scale_rewards: scaleRewards });
      let start = 0;
      for (const values of groups) {
        const sum = outcome.subarray(start, start + values.length).reduce((total, value) => total + value, 0);
        expect(Math.abs(sum)).toBeLessThan(1e-9);
        start += values.length;
      }
      const reversed = estimate([...rows].reverse(), { ...options, scale_rewards: scaleRewards }).outcome;
      expect([...reversed.reverse()]).toEqual([...outcome]);
    }),
  );
});
