/** RLVMR: rewards by rule, groups of tags, weights, cap. */
import { expect, test } from "vitest";
import { estimateAdvantages } from "../../src/rl/advantages/estimate.js";
import type { AdvantageOptions } from "../../src/rl/advantages/options.js";
import { resolveOptions } from "../../src/rl/advantages/options.js";
import type { AdvantageRow } from "../../src/rl/advantages/table.js";
import { haveActions, readTable } from "../../src/rl/advantages/table.js";
import { tagRewards } from "../../src/rl/advantages/tags.js";

type Step = readonly [tag: string | null, action: string, rest?: Partial<AdvantageRow>];

function episode(number: number, outcome: number, steps: readonly Step[]): AdvantageRow[] {
  return steps.map(([tag, action, rest], step) => ({
    group: 0,
    episode: number,
    step,
    outcome,
    tag,
    action,
    valid: true,
    ...rest,
  }));
}

const rlvmr: AdvantageOptions = { algo: "rlvmr" };

/** Rewards of tags before they are compared. */
function rewards(rows: readonly AdvantageRow[], options: AdvantageOptions = rlvmr): number[] {
  const resolved = resolveOptions(options, haveActions(rows));
  return [...tagRewards(readTable(rows, resolved), resolved)];
}

test("planning is paid by success, monitor and no tag never", () => {
  const steps: Step[] = [
    ["planning", "a"],
    ["monitor", "b"],
    [null, "c"],
    ["none", "d"],
  ];
  expect(rewards(episode(0, 10, steps))).toEqual([1, 0, 0, 0]);
  expect(rewards(episode(0, 0, steps))).toEqual([0, 0, 0, 0]);
});

test("explore is paid for an action that no earlier valid step had", () => {
  const rows = episode(0, 0, [
    ["explore", "go", { valid: false }],
    ["explore", "go"],
    ["explore", "go"],
    ["monitor", "take"],
    ["explore", "take"],
    ["explore", "open"],
  ]);
  expect(rewards(rows)).toEqual([0, 1, 0, 0, 0, 1]);
});

test("reflection is paid after a failed step, for another action, and at the first step unless told otherwise", () => {
  const rows = episode(0, 0, [
    ["reflection", "a"],
    ["reflection", "b"],
    ["explore", "c", { admissible: false }],
    ["reflection", "c"],
    ["explore", "d", { valid: false }],
    ["reflection", "e"],
  ]);
  expect(rewards(rows)).toEqual([1, 0, 1, 0, 0, 1]);
  expect(rewards(rows, { ...rlvmr, first_step_reflection: false })[0]).toBe(0);
  const repeated = episode(0, 0, [
    ["explore", "c", { admissible: false }],
    ["reflection", "e"],
  ]);
  expect(rewards(repeated)).toEqual([1, 1]);
});

test("the cap pays the first steps of each tag of an episode", () => {
  const rows = episode(0, 10, [
    ["planning", "a"],
    ["planning", "b"],
    ["explore", "c"],
    ["planning", "d"],
  ]);
  expect(rewards(rows, { ...rlvmr, max_paid_tags: 2 })).toEqual([1, 1, 1, 0]);
  expect(rewards(rows, { ...rlvmr, max_paid_tags: 0 })).toEqual([0, 0, 0, 0]);
});

const two = [
  ...episode(0, 10, [
    ["planning", "a"],
    ["explore", "b"],
  ]),
  ...episode(1, 0, [
    ["planning", "a"],
    ["explore", "c"],
  ]),
];

test("tags are compared within the task group, with the code's weight or the paper's alpha", () => {
  const { parts, total, statistics } = estimateAdvantages(two, rlvmr);
  // planning 1 and 0; explore 1 and 1 has no contrast; outcome across steps as in GiGPO
  expect([...parts.tag].map((value) => value.toFixed(4))).toEqual(["0.7071", "0.0000", "-0.7071", "0.0000"]);
  expect(total[0]).toBeCloseTo(0.8660254 + Math.SQRT1_2, 5);
  expect(estimateAdvantages(two, { ...rlvmr, tag_weight: 0.5 }).total[0]).toBeCloseTo(
    0.8660254 + Math.SQRT1_2 / 2,
    5,
  );
  const alpha = estimateAdvantages(two, { ...rlvmr, tag_alpha: 0.25 });
  expect(alpha.parts.outcome[0]).toBeCloseTo(0.25 * 0.8660254, 5);
  expect(alpha.parts.tag[0]).toBeCloseTo(0.75 * Math.SQRT1_2, 5);
  // alpha one half is half of weight one
  const half = estimateAdvantages(two, { ...rlvmr, tag_alpha: 0.5 }).total;
  half.forEach((value, index) => {
    expect(value).toBeCloseTo(total[index] / 2, 12);
  });
  expect(statistics).toMatchObject({
    "tag/planning": 0.5,
    "tag/planning/reward": 0.5,
    "tag/explore": 0.5,
    "tag/explore/reward": 1,
    "tag/reflection": 0,
    "tag/monitor": 0,
    "tag/none": 0,
  });
});

test("the format penalty goes through the episode's score, not through the tag", () => {
  const rows = two.map((row, index) => ({ ...row, valid: index !== 3 }));
  const options = { ...rlvmr, norm: "mean", invalid_action_penalty: 0.1 } as const;
  const { parts } = estimateAdvantages(rows, options);
  expect([...parts.penalty].map((value) => value.toFixed(3))).toEqual(["0.025", "0.025", "0.025", "-0.075"]);
  expect(parts.tag[3]).toBe(0);
  // the invalid row has left its tag: the other one is alone
  expect(parts.tag[1]).toBe(0);
});

test("a tag that one row alone has gets 0, never its reward", () => {
  const rows = [...episode(0, 10, [["planning", "a"]]), ...episode(1, 0, [["explore", "a"]])];
  expect([...estimateAdvantages(rows, rlvmr).parts.tag]).toEqual([0, 0]);
});

test("without actions the column stepReward holds the rewards of tags", () => {
  const rows = two.map(({ action: _, ...row }, index) => ({ ...row, stepReward: index === 0 ? 1 : 0 }));
  expect(estimateAdvantages(rows, rlvmr).parts.tag[0]).toBeCloseTo(Math.SQRT1_2, 5);
  expect(() => estimateAdvantages(rows, { ...rlvmr, tag_reward: "rules" })).toThrow(
    /action is wrong at .*: got undefined, expected a text for algo rlvmr/,
  );
});

test("rewards of steps stand in for rules where they are asked for: those of compared tags, monitor never", () => {
  const rows = episode(0, 10, [
    ["planning", "a", { stepReward: 0.5 }],
    ["explore", "b", { stepReward: 0.25 }],
    ["monitor", "c", { stepReward: 1 }],
    ["none", "d", { stepReward: 1 }],
    [null, "e", { stepReward: 1 }],
    ["explore", "f", { stepReward: 1, valid: false }],
  ]);
  expect(rewards(rows, { ...rlvmr, tag_reward: "step_reward" })).toEqual([0.5, 0.25, 0, 0, 0, 0]);
});

test("the cap counts paid steps alone", () => {
  const rows = episode(0, 0, [
    ["explore", "a"],
    ["explore", "a"],
    ["explore", "b"],
    ["explore", "c"],
  ]);
  expect(rewards(rows, { ...rlvmr, max_paid_tags: 2 })).toEqual([1, 0, 1, 0]);
});

test("each of the three tags is compared with its own", () => {
  const kinds = ["planning", "explore", "reflection"];
  const rows = [1, 0].flatMap((stepReward, number) =>
    episode(
      number,
      0,
      kinds.map((tag): Step => [tag, tag, { stepReward }]),
    ),
  );
  const { tag } = estimateAdvantages(rows, { ...rlvmr, tag_reward: "step_reward" }).parts;
  for (const [index, sign] of [1, 1, 1, -1, -1, -1].entries())
    expect(tag[index]).toBeCloseTo(sign * Math.SQRT1_2, 4);
});

test("alpha weighs the penalty in the reward as it weighs the outcome", () => {
  const rows = [0, 1].flatMap((number) =>
    episode(number, 10 * number, [
      ["planning", "a", { valid: number === 1 }],
      ["explore", "b"],
    ]),
  );
  const given = { ...rlvmr, penalty_in: "reward", invalid_action_penalty: 0.5 } as const;
  const whole = estimateAdvantages(rows, given).parts;
  const weighed = estimateAdvantages(rows, { ...given, tag_alpha: 0.25 }).parts;
  expect(whole.penalty.some((value) => Math.abs(value) > 0.01)).toBe(true);
  for (const part of ["outcome", "penalty"] as const)
    expect([...weighed[part]]).toEqual([...whole[part]].map((value) => 0.25 * value));
});
