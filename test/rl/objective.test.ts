/** What objectives hand to the kernels of their losses, worked out by hand; the tape only takes notes. */
import { expect, test } from "vitest";
import type { Tape } from "../../src/autograd/tape.js";
import type { Tensor } from "../../src/autograd/tensor.js";
import { answerTokens, imitationLoss, imitationObjective } from "../../src/rl/objective/imitation.js";
import type { ForwardPass, Objective } from "../../src/rl/objective/objective.js";
import {
  type FixedLogProbs,
  type PolicyLossOptions,
  policyObjective,
  policyStatistics,
  selectPolicyRows,
} from "../../src/rl/objective/policy.js";
import type { Row } from "../../src/rl/rows.js";
import { lossOptions, unplaced } from "../support/rows.js";

const named = (name: string) => name as unknown as Tensor;
const forward = {
  ...{ log_prob: named("log_prob"), entropy: named("entropy"), hidden: named("hidden") },
  index: Uint32Array.of(11, 12, 13, 14),
} as ForwardPass;
const scale = named("loss scale");

/** The op that a loss applies with its inputs, host data as lists, and what comes back. */
function lossOf(objective: Objective, first: number, end: number) {
  const calls: { readonly op: string; readonly inputs: Record<string, unknown>; readonly params: unknown }[] =
    [];
  const tape = {
    input: (data: ArrayLike<number>) => Array.from(data),
    apply: ({ name }: { name: string }, inputs: Record<string, unknown>, params: unknown) => {
      calls.push({ op: name, inputs, params });
      return { d_log_prob: "d_log_prob", d_entropy: "d_entropy", stats: "stats" };
    },
  } as unknown as Tape;
  const { seeds, stats } = objective.loss(tape, forward, first, end, scale);
  expect(calls).toHaveLength(1);
  return { ...calls[0], seeds, stats };
}

const row = (prompt: number, answer: number[], advantage: number, changes: Partial<Row> = {}): Row => ({
  ...unplaced,
  prompt: [prompt],
  answer,
  advantage,
  logProbs: answer.map(() => -1),
  ...changes,
});
/** Four tokens of play, the first row twice; two questions between them. */
const rows = [
  row(1, [2], 1),
  row(7, [10], 1, { kind: "classification" }),
  row(4, [5, 6], -0.5),
  row(1, [2], 2),
  row(8, [11], 0.5, { kind: "classification" }),
];
const log = (...values: number[]) => Float32Array.from(values);
/** One array a row, so that a wrong row shows. */
const fixed: FixedLogProbs = {
  old: [log(-1), log(-2), log(-3, -4), log(-5), log(-6)],
  reference: [log(-10), log(-20), log(-30, -40), log(-50), log(-60)],
};
const objectiveOf = (options: PolicyLossOptions, of: FixedLogProbs = {}, given = rows) =>
  policyObjective(given, of, options);

test("rows of play alone, at the policy that played: equal rows are one, its own log-probabilities are the old ones", () => {
  const objective = objectiveOf(lossOptions({}, undefined, 0.7));
  expect(objective.temperature).toBe(0.7);
  expect(objective.rows).toEqual([rows[0], rows[2]]);
  expect(lossOf(objective, 0, 2)).toEqual({
    op: "policy_loss",
    inputs: {
      ...{
        log_prob: "log_prob",
        entropy: "entropy",
        old_log_prob: "log_prob",
        reference_log_prob: undefined,
      },
      ...{ advantage: [1.5, -0.5, -0.5], weight: [0.5, 0.25, 0.25], count: [2, 1, 1] },
      ...{ stream: undefined, sequence_start: undefined, loss_scale: scale },
    },
    params: {
      ...{ coef: 1, surrogate: 0, ratio_level: 0, clip_low: 0.2, clip_high: 0.2, dual_clip: 0, beta: 0 },
      ...{ kl_kind: 3, entropy_coef: 0 },
    },
    seeds: [["log_prob", "d_log_prob"]],
    stats: "stats",
  });
  // a micro-batch without joined rows needs no counts
  expect(lossOf(objective, 1, 2).inputs).toMatchObject({ advantage: [-0.5, -0.5], count: undefined });
});

test("both streams: fixed log-probabilities at the places of their rows, stream and start of each token, scalars of both", () => {
  const policy = { coefficient: 2, clipLow: 0.1, clipHigh: 0.3, dualClip: 4, entropyCoef: 0.5 } as const;
  const classification = { coefficient: 3, beta: 0.1, klKind: "k2", ratioLevel: "sequence" } as const;
  const options = lossOptions({ ...policy, surrogate: "clip" }, { ...classification, surrogate: "cispo" });
  const objective = objectiveOf(options, fixed);
  // play first; rows of equal sign are joined
  expect(objective.selected.map(({ index, members }) => [index, members])).toEqual([
    [0, [0, 3]],
    [2, [2]],
    [1, [1]],
    [4, [4]],
  ]);
  const { inputs, params, seeds } = lossOf(objective, 1, 4);
  expect(inputs).toEqual({
    ...{ log_prob: "log_prob", entropy: "entropy" },
    ...{ old_log_prob: [-3, -4, -2, -6], reference_log_prob: [-30, -40, -20, -60] },
    ...{ advantage: [-0.5, -0.5, 1, 0.5], weight: [0.25, 0.25, 0.5, 0.5], count: undefined },
    ...{ stream: [0, 0, 1, 1], sequence_start: [0, 0, 2, 3], loss_scale: scale },
  });
  const own = { coef: 2, surrogate: 0, ratio_level: 0, clip_low: 0.1, clip_high: 0.3, dual_clip: 4, beta: 0 };
  const other = {
    coef: 3,
    surrogate: 1,
    ratio_level: 1,
    clip_low: 0.2,
    clip_high: 0.2,
    dual_clip: 0,
    beta: 0.1,
  };
  expect(params).toEqual({
    ...{ ...own, kl_kind: 3, entropy_coef: 0.5 },
    ...Object.fromEntries(
      Object.entries({ ...other, kl_kind: 2, entropy_coef: 0 }).map(([name, value]) => [
        `classification_${name}`,
        value,
      ]),
    ),
  });
  expect(seeds).toEqual([
    ["log_prob", "d_log_prob"],
    ["entropy", "d_entropy"],
  ]);
  // a reference that no stream has a term for is not handed on
  expect(lossOf(objectiveOf(lossOptions({}), fixed), 0, 1).inputs.reference_log_prob).toBeUndefined();
});

test("questions that a classifier answers: its loss at the first token's place, their tokens have none", () => {
  const asked: unknown[] = [];
  const classifier = {
    loss: (...[, hidden, places, labels, weight, lossScale]: unknown[]) => {
      asked.push([hidden, Array.from(places as Uint32Array), labels, weight, lossScale]);
      return [named("score"), named("d_score")] as const;
    },
  };
  const labelOf = ({ answer }: Row) => (answer[0] === 10 ? ("good" as const) : ("bad" as const));
  const options = { ...lossOptions({}, { coefficient: 3 }), head: { classifier, labelOf } };
  const objective = objectiveOf(options);
  expect(objective.selected.slice(2)).toEqual([
    { index: 1, advantages: [0], weights: [0], members: [1], counts: [0] },
    { index: 4, advantages: [0], weights: [0], members: [4], counts: [0] },
  ]);
  const { seeds, inputs } = lossOf(objective, 1, 4);
  expect(seeds).toEqual([
    ["log_prob", "d_log_prob"],
    ["score", "d_score"],
  ]);
  expect(inputs).toMatchObject({ weight: [0.25, 0.25, 0, 0], stream: [0, 0, 1, 1] });
  // two tokens of play come first; half of the coefficient each
  expect(asked).toEqual([["hidden", [13, 14], ["good", "bad"], 1.5, scale]]);
  expect(lossOf(objective, 0, 2).seeds).toEqual([["log_prob", "d_log_prob"]]);
  expect(asked).toHaveLength(1);
  // without a stream of its own nobody asks it
  const alone = { ...lossOptions({}), head: { classifier, labelOf } };
  expect(lossOf(objectiveOf(alone), 0, 2).seeds).toHaveLength(1);
});

test("rows of a stream without a loss are left out; masks and weights of tokens are in the weights", () => {
  const placesOf = (options: PolicyLossOptions, isLinear = true) =>
    selectPolicyRows(rows, options, isLinear).map(({ index }) => index);
  expect(placesOf(lossOptions({}))).toEqual([0, 2]);
  expect(placesOf(lossOptions({}, {}))).toEqual([0, 2, 1, 4]);
  expect(selectPolicyRows(rows.slice(1, 2), lossOptions({}), true)).toEqual([]);
  const weighed = [row(1, [2, 3, 4], 1, { mask: [1, 0, 1], weight: [0.5, 9, 2] }), row(5, [6, 7], 1)];
  expect(selectPolicyRows(weighed, lossOptions({}), true).map(({ weights }) => weights)).toEqual([
    [0.125, 0, 0.5],
    [0.25, 0.25],
  ]);
  // opposite signs cancel in the only update, and stay apart in others; with KL or entropy every row matters
  const opposite = [row(1, [2], 1), row(1, [2], -1), row(3, [4], 0)];
  const counted = (options: PolicyLossOptions, isLinear: boolean) =>
    selectPolicyRows(opposite, options, isLinear).map(({ index }) => index);
  expect(counted(lossOptions({}), true)).toEqual([]);
  expect(counted(lossOptions({}), false)).toEqual([0, 1]);
  expect(counted(lossOptions({ beta: 0.1 }), true)).toEqual([0, 2]);
  expect(counted(lossOptions({ entropyCoef: -0.1 }), true)).toEqual([0, 2]);
  const old = opposite.map(() => log(-1));
  expect(objectiveOf(lossOptions({}), {}, opposite).rows).toEqual([]);
  expect(objectiveOf(lossOptions({}), { old }, opposite).rows).toEqual(opposite.slice(0, 2));
  expect(counted(lossOptions({ skipBelow: 0.9 }), false)).toEqual([]);
});

test("statistics come by stream", () => {
  const { policy, classification } = policyStatistics([]);
  expect([policy.tokens, classification.tokens]).toEqual([0, 0]);
});

test("imitation: weights of answers' tokens divided by their sum, prompts by their own factor", () => {
  const shown = [
    { prompt: [1, 2, 3], answer: [4, 5] },
    // goes on from the first: of its prompt 6 alone is new
    { prompt: [1, 2, 3, 4, 5, 6], answer: [7], weight: [2] },
    { prompt: [8, 9], answer: [1] },
  ];
  const plain = imitationObjective(shown);
  expect([plain.rows, plain.temperature]).toEqual([shown, 1]);
  expect(lossOf(plain, 1, 3)).toEqual({
    op: "cross_entropy",
    inputs: { log_prob: "log_prob", weight: [0.4, 0.2].map(Math.fround), loss_scale: scale },
    params: undefined,
    seeds: [["log_prob", "d_log_prob"]],
    stats: "stats",
  });
  expect([
    answerTokens(shown),
    imitationLoss([
      [9, 1],
      [9, 2],
    ]),
  ]).toEqual([4, 3]);
  const whole = imitationObjective(shown, 0.5);
  expect(whole.rows).toEqual([
    { prompt: [1], answer: [2, 3, 4, 5] },
    { prompt: [1, 2, 3, 4, 5], answer: [6, 7] },
    { prompt: [8], answer: [9, 1] },
  ]);
  expect(lossOf(whole, 0, 2).inputs.weight).toEqual([0.1, 0.1, 0.2, 0.2, 0.1, 0.4].map(Math.fround));
});
