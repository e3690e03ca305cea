/** GiGPO and HGPO: worked numbers, the edges of step groups, penalties in the reward. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { estimateAdvantages } from "../../src/rl/advantages/estimate.js";
import type { AdvantageOptions } from "../../src/rl/advantages/options.js";
import type { AdvantageRow } from "../../src/rl/advantages/table.js";

/** An episode along states; its outcome is also the reward of its last step. */
function walk(
  episode: number,
  states: string[],
  outcome: number,
  { group = 0, invalid = [] as number[] } = {},
): AdvantageRow[] {
  return states.map((state, step) => ({
    group,
    episode,
    step,
    outcome,
    stepReward: step === states.length - 1 ? outcome : 0,
    anchorKey: state,
    valid: !invalid.includes(step),
  }));
}

const gigpo: AdvantageOptions = { algo: "gigpo", gamma: 0.95 };
const rounded = (values: ArrayLike<number>, digits = 4) =>
  Array.from(values, (value) => Number(value.toFixed(digits)) + 0);

/** What two values get when divided by their unbiased standard deviation. */
const [ROOT] = rounded([Math.SQRT1_2]);

/** Two trajectories of one task, of the same length. */
const pair = [...walk(0, ["s0", "s1"], 10), ...walk(1, ["s0", "s2"], 0)];

describe("GiGPO", () => {
  test("worked pair of trajectories, across steps and per trajectory", () => {
    const { total, parts, statistics } = estimateAdvantages(pair, gigpo);
    expect(rounded(total)).toEqual([1.5731, 0.866, -1.5731, -0.866]);
    expect(rounded(parts.outcome)).toEqual([0.866, 0.866, -0.866, -0.866]);
    expect(rounded(parts.step)).toEqual([ROOT, 0, -ROOT, 0]);
    const perEpisode = estimateAdvantages(pair, { ...gigpo, cross_steps: false });
    expect(rounded(perEpisode.parts.outcome)).toEqual([ROOT, ROOT, -ROOT, -ROOT]);
    expect(statistics).toMatchObject({
      effective_sample_share: 1,
      "anchor/mean_size": 4 / 3,
      "anchor/max_size": 2,
      "anchor/singleton_groups": 2 / 3,
      "anchor/singleton_rows": 1 / 2,
      "anchor/one_episode_groups": 0,
      "anchor/without_key": 0,
    });
  });

  test("length effect: success in 2 steps against failure in 6", () => {
    const rows = [...walk(0, ["a", "b"], 10), ...walk(1, ["c", "d", "e", "f", "g", "h"], 0)];
    const across = estimateAdvantages(rows, gigpo).parts.outcome;
    expect(rounded([across[0], across[7]], 3)).toEqual([1.62, -0.54]);
    const per = estimateAdvantages(rows, { ...gigpo, cross_steps: false }).parts.outcome;
    expect(rounded([per[0], per[7]])).toEqual([ROOT, -ROOT]);
  });

  test("returns are discounted, the weight multiplies, mean divides by nothing", () => {
    const options = { ...gigpo, norm: "mean", step_advantage_weight: 2 } as const;
    const { parts } = estimateAdvantages(pair, options);
    expect([...parts.step]).toEqual([9.5, 0, -9.5, 0]);
    expect([...parts.outcome]).toEqual([5, 5, -5, -5]);
    const shorter = estimateAdvantages(pair, { ...options, gamma: 0.5 }).parts.step;
    expect([...shorter]).toEqual([5, 0, -5, 0]);
  });

  test("a group of two steps with standard deviation gets 0.707 whatever the difference", () => {
    for (const outcome of [10, 1e-3]) {
      const rows = [...walk(0, ["s"], outcome), ...walk(1, ["s"], 0)];
      expect(rounded(estimateAdvantages(rows, { ...gigpo, std_epsilon: 0 }).parts.step)).toEqual([
        ROOT,
        -ROOT,
      ]);
    }
  });

  test("a state that one trajectory sees twice is compared with itself", () => {
    const rows = [...walk(0, ["s", "t", "s"], 10), ...walk(1, ["u"], 0)];
    const { parts, statistics } = estimateAdvantages(rows, { ...gigpo, norm: "mean" });
    expect(rounded(parts.step)).toEqual([-0.4875, 0, 0.4875, 0]);
    expect(statistics["anchor/one_episode_groups"]).toBe(1);
  });

  test("equal states of other groups, and states without key, are not compared", () => {
    const rows = [...pair, ...walk(0, ["s0"], 10, { group: 1 }), ...walk(1, ["s0"], 10, { group: 1 })];
    const step = estimateAdvantages(rows, gigpo).parts.step;
    expect(rounded(step)).toEqual([ROOT, 0, -ROOT, 0, 0, 0]);
    const unkeyed = rows.map((row) => ({ ...row, anchorKey: row.step === 0 ? null : row.anchorKey }));
    const { parts, statistics } = estimateAdvantages(unkeyed, gigpo);
    expect([...parts.step]).toEqual([0, 0, 0, 0, 0, 0]);
    expect(statistics["anchor/without_key"]).toBe(4 / 6);
    expect(statistics["anchor/singleton_rows"]).toBe(1);
  });

  test("a group of one episode has no outcome part, never its raw score, but its steps may compare", () => {
    const { parts } = estimateAdvantages(walk(0, ["s", "s"], 10), { ...gigpo, norm: "mean" });
    expect([...parts.outcome]).toEqual([0, 0]);
    expect(rounded(parts.step)).toEqual([-0.25, 0.25]);
  });

  test("equal outcomes have no outcome part, also where their mean rounds and penalties make a contrast", () => {
    const rows = [0, 1, 2].flatMap((episode) =>
      walk(episode, ["a"], 0.1, { invalid: episode === 0 ? [0] : [] }),
    );
    const options = { ...gigpo, invalid_action_penalty: 0.1, step_advantage_weight: 0 };
    const { parts } = estimateAdvantages(rows, options);
    expect([...parts.outcome]).toEqual([0, 0, 0]);
    expect(parts.penalty[0]).toBeLessThan(-1);
    const single = walk(0, ["a", "b"], 0.1, { invalid: [1] });
    expect([...estimateAdvantages(single, options).total]).toEqual([0, 0]);
  });

  test("penalties in the reward: the row's own score and return, not those of earlier steps", () => {
    const rows = [...walk(0, ["s0", "s1"], 10, { invalid: [1] }), ...walk(1, ["s0", "s1"], 0)];
    const options = { ...gigpo, norm: "mean", invalid_action_penalty: 0.1 } as const;
    const { total, parts } = estimateAdvantages(rows, options);
    // scores 10, 9.9, 0, 0 with mean 4.975; returns 9.5, 9.9 against 0, 0
    expect(rounded(total, 9)).toEqual([9.775, 9.875, -9.725, -9.925]);
    expect(rounded(parts.outcome, 9)).toEqual([5, 5, -5, -5]);
    expect(rounded(parts.penalty, 9)).toEqual([0.025, -0.125, 0.025, 0.075]);
  });

  test("in an all-failed group one invalid action of 40 outweighs everything, unless penalties are kept apart", () => {
    const rows = Array.from({ length: 8 }, (_, number) =>
      walk(number, ["a", "b", "c", "d", "e"], 0, { group: 0, invalid: number === 0 ? [3] : [] }),
    ).flat();
    const options = { ...gigpo, invalid_action_penalty: 0.1, step_advantage_weight: 0 };
    const { total, parts, statistics } = estimateAdvantages(rows, options);
    expect(rounded(total, 2)[3]).toBe(-6.17);
    expect(rounded(total, 3).filter((value) => value === 0.158)).toHaveLength(39);
    expect([...parts.outcome].every((value) => value === 0)).toBe(true);
    expect(statistics).toMatchObject({ "dead_groups/before_penalties": 1, "dead_groups/after_penalties": 0 });
    const bounded = estimateAdvantages(rows, { ...options, max_advantage: 3 });
    expect(bounded.total[3]).toBeCloseTo(-3, 12);
    expect(bounded.statistics["advantage/clamped"]).toBe(1 / 40);
    const unscaled = estimateAdvantages(rows, { ...options, scale_dead_groups: false });
    expect(unscaled.total[3]).toBeCloseTo(-0.0975, 12);
    const apart = estimateAdvantages(rows, { ...options, penalty_in: "advantage" });
    expect(apart.total[3]).toBeCloseTo(-0.0975, 12);
  });

  test("a further penalty of a row is taken like that of an invalid action", () => {
    const rows = [...walk(0, ["a"], 10), ...walk(1, ["b"], 10)];
    for (const penalty_in of ["advantage", "reward"] as const) {
      const options = { algo: "grpo", penalty_in, norm: "mean" } as const;
      const { total } = estimateAdvantages([{ ...rows[0], penalty: 0.5 }, rows[1]], options);
      expect(rounded(total)).toEqual([-0.25, 0.25]);
    }
  });

  test("masked truncated rows get 0 but count for the others", () => {
    const rows = pair.map((row, index) => ({ ...row, truncated: index === 0 }));
    const { total, parts } = estimateAdvantages(rows, { ...gigpo, mask_truncated: true });
    expect(total[0]).toBe(0);
    expect(parts.step[0]).toBe(0);
    expect(rounded(total)).toEqual([0, 0.866, -1.5731, -0.866]);
  });
});

describe("HGPO", () => {
  const hgpo: AdvantageOptions = { algo: "hgpo", gamma: 1, norm: "mean" };
  // three episodes reach x, two of them by the same way
  const rows = [
    ...walk(0, ["s", "a", "x"], 12),
    ...walk(1, ["s", "a", "x"], 0),
    ...walk(2, ["s", "b", "x"], 6),
  ];

  test("levels weigh (k + 1)^alpha, and there is no outcome part", () => {
    const { total, parts } = estimateAdvantages(rows, hgpo);
    // at x: level 0 compares 12, 0, 6; levels 1 and 2 compare 12 and 0 only
    expect(total[2]).toBeCloseTo((1 * 6 + 2 * 6 + 3 * 6) / 6, 12);
    expect(total[5]).toBeCloseTo(-6, 12);
    // the third episode stands at the mean of level 0, and has no other level
    expect(total[8]).toBe(0);
    // at s, the first step, there is level 0 only
    expect(rounded([total[0], total[3], total[6]])).toEqual([6, -6, 0]);
    // at a: 12 and 0 at levels 0 and 1
    expect(rounded([total[1], total[4], total[7]])).toEqual([6, -6, 0]);
    expect([...parts.outcome].every((value) => value === 0)).toBe(true);
  });

  test("deeper levels differ from the first one where the ways differ", () => {
    const ways = [...rows, ...walk(3, ["s", "b", "x"], 10)];
    const { total } = estimateAdvantages(ways, { ...hgpo, history_length: 1 });
    // level 0: 12, 0, 6, 10 with mean 7; level 1: 12 and 0, 6 and 10
    expect(rounded([total[2], total[5], total[8], total[11]], 9)).toEqual(
      [(5 + 2 * 6) / 3, (-7 - 2 * 6) / 3, (-1 - 2 * 2) / 3, (3 + 2 * 2) / 3].map(
        (value) => rounded([value], 9)[0],
      ),
    );
    const even = estimateAdvantages(ways, { ...hgpo, history_length: 1, history_alpha: 0 }).total;
    expect(even[2]).toBeCloseTo((5 + 6) / 2, 12);
  });

  test("K = 0 is GiGPO's step part, and the weight multiplies", () => {
    const shallow = { ...hgpo, history_length: 0, step_advantage_weight: 0.5, std: "unbiased" } as const;
    const step = estimateAdvantages(rows, { ...shallow, algo: "gigpo" }).parts.step;
    expect([...estimateAdvantages(rows, shallow).total]).toEqual([...step]);
  });

  test("the outcome can be one more level of weight 1", () => {
    const { total, parts } = estimateAdvantages(rows, {
      ...hgpo,
      history_outcome: true,
      cross_steps: false,
    });
    expect(total[2]).toBeCloseTo((6 + 1 * 6 + 2 * 6 + 3 * 6) / 7, 12);
    expect(parts.outcome[2]).toBeCloseTo(6 / 7, 12);
    expect(parts.step[2]).toBeCloseTo(36 / 7, 12);
  });

  test("a level at which a row is alone does not dilute the others", () => {
    const alone = [...rows.slice(0, 6), ...walk(2, ["s", "b", "x"], 3)];
    const { total } = estimateAdvantages(alone, hgpo);
    // at x the third episode is compared at level 0 only, with 12 and 0
    expect(total[8]).toBeCloseTo(-2, 12);
  });

  test("its standard deviation is that of the population", () => {
    const two = [...walk(0, ["s"], 10), ...walk(1, ["s"], 0)];
    expect(rounded(estimateAdvantages(two, { algo: "hgpo" }).total, 5)).toEqual([1, -1]);
    expect(rounded(estimateAdvantages(two, { algo: "hgpo", std: "unbiased" }).total)).toEqual([ROOT, -ROOT]);
  });

  test("a state without key breaks the histories through it", () => {
    const broken = rows.map((row) => ({
      ...row,
      anchorKey: row.anchorKey === "a" ? undefined : row.anchorKey,
    }));
    const { total, statistics } = estimateAdvantages(broken, hgpo);
    expect(rounded([total[1], total[2], total[5], total[8]])).toEqual([0, 6, -6, 0]);
    expect(statistics["anchor/mean_size/1"]).toBe(1);
    expect(statistics["anchor/without_key/1"]).toBe(7 / 9);
  });
});

test.each(["grpo", "rloo", "gigpo", "hgpo"] as const)(
  "%s: no value depends on the order of rows, and the parts add up",
  (algo) => {
    const episodes = fc.array(
      fc.record({
        group: fc.integer({ min: 0, max: 2 }),
        outcome: fc.integer({ min: 0, max: 3 }),
        states: fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 5 }),
        invalid: fc.array(fc.integer({ min: 0, max: 4 })),
      }),
      { minLength: 1, maxLength: 8 },
    );
    const settings = fc.record({
      norm: fc.constantFrom("mean_std" as const, "mean" as const),
      scale_rewards: fc.constantFrom("group" as const, "batch" as const, "none" as const),
      cross_steps: fc.boolean(),
      penalty_in: fc.constantFrom("advantage" as const, "reward" as const),
      history_outcome: fc.boolean(),
      gamma: fc.constantFrom(1, 0.9),
    });
    fc.assert(
      fc.property(episodes, settings, fc.infiniteStream(fc.nat()), (played, given, keys) => {
        const rows = played.flatMap(({ group, outcome, states, invalid }, index) =>
          walk(index, states, outcome, { group, invalid }),
        );
        const options = { ...given, algo, invalid_action_penalty: 0.3 };
        const { total, parts } = estimateAdvantages(rows, options);
        const order = rows
          .map((_, index) => ({ index, key: keys.next().value as number }))
          .sort((a, b) => a.key - b.key)
          .map(({ index }) => index);
        const shuffled = estimateAdvantages(
          order.map((index) => rows[index]),
          options,
        );
        order.forEach((index, at) => {
          expect(shuffled.total[at]).toBe(total[index]);
        });
        total.forEach((value, index) => {
          expect(Number.isFinite(value)).toBe(true);
          expect(Object.values(parts).reduce((sum, part) => sum + part[index], 0)).toBe(value);
        });
      }),
      { numRuns: 60 },
    );
  },
);

describe("unequal penalties within step groups, by hand", () => {
  /** Returns at X 2 and 0, at Y 4 and 0; each episode has one invalid step, at a cost of 0.5. */
  const rows = [...walk(0, ["X", "Y"], 4, { invalid: [1] }), ...walk(1, ["X", "Y"], 0, { invalid: [0] })];
  const options = {
    norm: "mean",
    gamma: 0.5,
    cross_steps: false,
    invalid_action_penalty: 0.5,
    penalty_in: "reward",
    step_advantage_weight: 2,
  } as const;
  const partsOf = (given: AdvantageOptions) => {
    const { outcome, step, penalty } = estimateAdvantages(rows, given).parts;
    return { outcome: rounded(outcome), step: rounded(step), penalty: rounded(penalty) };
  };

  test("GiGPO: own penalties against the mean of the group, in both contrasts", () => {
    expect(partsOf({ algo: "gigpo", ...options })).toEqual({
      outcome: [2, 2, -2, -2],
      step: [2, 4, -2, -4],
      penalty: [0.75, -0.75, -0.75, 0.75],
    });
  });

  test("HGPO: levels weigh 1 and 2, and there is no outcome part", () => {
    // at Y both levels compare the same two rows: (1 x 2 + 2 x 2) / 3 = 2
    expect(partsOf({ algo: "hgpo", history_length: 1, ...options })).toEqual({
      outcome: [0, 0, 0, 0],
      step: [2, 4, -2, -4],
      penalty: [0.5, -0.5, -0.5, 0.5],
    });
  });

  test("HGPO: the outcome as one more level of weight 1", () => {
    // X: (1 + 2) / 2, Y: (6 + 2) / 4, times 2
    expect(partsOf({ algo: "hgpo", history_length: 1, history_outcome: true, ...options })).toEqual({
      outcome: [2, 1, -2, -1],
      step: [1, 3, -1, -3],
      penalty: [0.5, -0.5, -0.5, 0.5],
    });
  });

  test("HGPO: an outcome level that differs by penalties alone counts, one without any difference does not", () => {
    const lost = [...walk(0, ["X"], 0, { invalid: [0] }), ...walk(1, ["Y"], 0), ...walk(2, ["Z"], 0)];
    const of = (table: AdvantageRow[]) =>
      estimateAdvantages(table, { algo: "hgpo", history_length: 0, history_outcome: true, ...options }).parts;
    // mean penalty 1/6; no step group has two rows
    expect(rounded(of(lost).penalty)).toEqual(rounded([-2 / 3, 1 / 3, 1 / 3]));
    expect(rounded(of(lost).step)).toEqual([0, 0, 0]);
    const equal = lost.map((row) => ({ ...row, valid: true }));
    expect(rounded(of(equal).penalty)).toEqual([0, 0, 0]);
    // where steps differ and outcomes do not, steps are not diluted by a level of weight 1
    const drawn = rows.map((row) => ({ ...row, outcome: 1, valid: true }));
    expect(rounded(of(drawn).step)).toEqual([2, 4, -2, -4]);
  });
});

test("spreads are those of the outcomes less their penalties, of a group or of the batch", () => {
  // scores 4 and -0.5, whose population deviation is 2.25; beside them two of 1
  const rows = [
    ...walk(0, ["X"], 4),
    ...walk(1, ["Y"], 0, { invalid: [0] }),
    ...walk(0, ["X"], 1, { group: 1 }),
    ...walk(1, ["Y"], 1, { group: 1 }),
  ];
  const options = {
    algo: "grpo",
    std: "population",
    std_epsilon: 0,
    invalid_action_penalty: 0.5,
    penalty_in: "reward",
  } as const;
  const group = estimateAdvantages(rows, options).parts;
  expect(rounded(group.outcome)).toEqual(rounded([2 / 2.25, -2 / 2.25, 0, 0]));
  expect(rounded(group.penalty)).toEqual(rounded([0.25 / 2.25, -0.25 / 2.25, 0, 0]));
  // mean 1.375, squares 2.625^2 + 1.875^2 + 2 x 0.375^2
  const batch = Math.sqrt((2.625 ** 2 + 1.875 ** 2 + 2 * 0.375 ** 2) / 4);
  const across = estimateAdvantages(rows, { ...options, scale_rewards: "batch" }).parts;
  expect(rounded(across.outcome)).toEqual(rounded([2 / batch, -2 / batch, 0, 0]));
  expect(rounded(across.penalty)).toEqual(rounded([0.25 / batch, -0.25 / batch, 0, 0]));
  // the small number is added to the spread
  const step = estimateAdvantages(
    rows.slice(0, 2).map((row) => ({ ...row, anchorKey: "X" })),
    {
      ...options,
      algo: "gigpo",
      std_epsilon: 0.25,
    },
  ).parts.step;
  expect(rounded(step)).toEqual(rounded([2 / 2.5, -2 / 2.5]));
});
