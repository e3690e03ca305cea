/**
 * Rows of an update with what they are about to do to each other, shown to a hook before the optimiser's step. The hook may
 * drop rows or change their weights. All of it is ours.
 */
import type { TrainConfig } from "../../config/schema.js";
import { aggregationWeights } from "../../core/aggregation.js";
import { ArgumentError } from "../../core/errors.js";
import { groupBy } from "../../core/group_by.js";
import { directions } from "../../coupling/directions.js";
import { backwardOf } from "../../coupling/ground_truth/passes.js";
import { type CouplingSample, passesOf, sampleOf } from "../../coupling/samples.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import { tokenFactor } from "../objective/selection.js";
import type { Row } from "../rows.js";
import type { Learner } from "../update/learner.js";

/**
 * A row with its parts: changes of its answer's log-probability by one step of plain gradient descent on the policy loss, to
 * first order, in nats per unit of learning rate. The importance ratio is taken as 1, the temperature as 1; terms of KL and
 * entropy are not in it.
 */
export interface InfluencedRow {
  readonly row: Row;
  /** Rows of equal prompt, answer and token weights are one sample: they have the same number. */
  readonly sample: number;
  /** By the row itself: w A |g|^2. */
  readonly self: number;
  /** By all other rows of the update, equal ones included. */
  readonly cross: number;
  /** self + cross */
  readonly total: number;
  /**
   * What the row alone does to punished samples, those whose rows together have an advantage below 0: the sum of the changes
   * of their log-probabilities. Above 0 it lifts them. Its own sample does not count.
   */
  readonly onPunished: number;
}

export interface InfluenceReport {
  /** Number of the update in the run's records, from 1 on. */
  readonly step: number;
  /** The rows of play that push: those with an advantage and a token that counts, in order of play. */
  readonly rows: readonly InfluencedRow[];
}

/**
 * Called in each update of the RL stage, before its first optimiser step.
 * @returns a factor for each of the report's rows, at least 0: its terms of the policy loss are multiplied by it, 0 drops the row.
 * The loss is divided by what it would be divided by without the hook. Nothing: all rows stay as they are
 */
export type OnInfluence = (
  report: InfluenceReport,
) => readonly number[] | undefined | Promise<readonly number[] | undefined>;

/**
 * A hook that drops the rewarded samples that lift punished ones most, all their rewarded rows together.
 * @param most how many samples at most; those that lift nothing stay
 * @source ours
 */
export function dropHarmful(most: number): OnInfluence {
  return ({ rows }) => {
    const rewarded = rows.filter(({ row: { advantage = 0 } }) => advantage > 0);
    const harms = [...groupBy(rewarded, ({ sample }) => sample)].map(([sample, members]) => ({
      sample,
      harm: members.reduce((sum, { onPunished }) => sum + onPunished, 0),
    }));
    const worst = harms.filter(({ harm }) => harm > 0).sort((a, b) => b.harm - a.harm || a.sample - b.sample);
    const dropped = new Set(worst.slice(0, most).map(({ sample }) => sample));
    return rows.map(({ row, sample }) => Number(!((row.advantage ?? 0) > 0 && dropped.has(sample))));
  };
}

/** Rows with one gradient. */
interface PushingSample extends CouplingSample {
  /** Sum of w_i A_i over its rows. */
  readonly coefficient: number;
}

/**
 * Measures all rows that push: about four more forward and backward passes over them, a micro-batch at a time.
 * @param rows of the policy stream, with advantages
 */
export async function influenceReport(
  { model, tokensPerMicroBatch }: Learner,
  { grpo }: Pick<TrainConfig, "grpo">,
  rows: readonly Row[],
  step: number,
): Promise<InfluenceReport> {
  const pushing = pushingRows(rows, grpo.loss_aggregation, grpo.max_completion_length);
  if (pushing.length === 0) return { step, rows: [] };
  const groups = groupBy(pushing, ({ key }) => key);
  const samples = [...groups.values()].map(
    (equal): PushingSample => ({
      ...sampleOf(equal[0].row),
      weights: equal[0].relative,
      coefficient: equal.reduce((sum, { push }) => sum + push, 0),
    }),
  );
  const numbers = new Map([...groups.keys()].map((key, number) => [key, number]));
  const batch = samples.map(({ coefficient }) => coefficient);
  const { dots: totals, squares } = await along(model, samples, batch, tokensPerMicroBatch);
  const isPunished = samples.map(({ coefficient }) => Number(coefficient < 0));
  const { dots: lifts } = await along(model, samples, isPunished, tokensPerMicroBatch);
  return {
    step,
    rows: pushing.map(({ row, key, push }) => {
      const sample = numbers.get(key) as number;
      const self = push * squares[sample];
      const total = totals[sample];
      const onPunished = push * (lifts[sample] - isPunished[sample] * squares[sample]);
      return { row, sample, self, total, cross: total - self, onPunished };
    }),
  };
}

interface PushingRow {
  readonly row: Row;
  /** w A, w the largest weight of its tokens in the loss. */
  readonly push: number;
  /** Weights of its tokens, the largest 1. */
  readonly relative: readonly number[];
  readonly key: string;
}

function pushingRows(
  rows: readonly Row[],
  aggregation: TrainConfig["grpo"]["loss_aggregation"],
  normaliser: number,
): PushingRow[] {
  const masks = rows.map(({ answer, mask }) => mask ?? answer.map(() => 1));
  const normalised = aggregationWeights(aggregation, masks, normaliser);
  return rows.flatMap((row, index) => {
    const { prompt, answer, advantage = 0 } = row;
    const weights = answer.map((_, t) => normalised[index][t] * tokenFactor(row, t));
    const most = Math.max(...weights);
    if (advantage === 0 || !(most > 0)) return [];
    const relative = weights.map((weight) => weight / most);
    const key = [prompt, answer, relative.map((value) => value.toPrecision(6))].join(" ");
    return [{ row, push: most * advantage, relative, key }];
  });
}

/** |g_i|^2 and <g_i, sum of coefficients_j g_j> of every sample, within the memory of a micro-batch. */
async function along(
  model: Qwen2Model,
  samples: readonly CouplingSample[],
  coefficients: readonly number[],
  tokensPerPass: number,
): Promise<{ readonly dots: number[]; readonly squares: number[] }> {
  backwardOf(model, samples, coefficients, tokensPerPass);
  const [dots, squares]: [number[], number[]] = [[], []];
  for (const part of passesOf(samples, tokensPerPass)) {
    const found = await directions(model, part, [(name) => model.trained.get(name).grad]);
    dots.push(...found.dots);
    squares.push(...found.squares);
  }
  return { dots, squares };
}

/** Rows after the hooks, and what became of them. */
export interface HookedRows<R extends Row> {
  readonly rows: readonly R[];
  readonly metrics: Readonly<Record<string, number>>;
}

/**
 * Shows the rows of an update to the hooks; factors of several hooks multiply.
 * @throws ArgumentError for factors of wrong number, below 0 or not finite
 */
export async function applyHooks<R extends Row>(
  hooks: readonly OnInfluence[],
  report: InfluenceReport,
  rows: readonly R[],
): Promise<HookedRows<R>> {
  const factors = report.rows.map(() => 1);
  for (const hook of hooks) {
    const given = await hook(report);
    if (given === undefined) continue;
    checkFactors(given, factors.length);
    given.forEach((factor, at) => {
      factors[at] *= factor;
    });
  }
  const factorOf = new Map(report.rows.map(({ row }, at) => [row, factors[at]]));
  return {
    rows: rows.map((row) => weighed(row, factorOf.get(row) ?? 1)),
    metrics: {
      "coupling/hook/rows": factors.length,
      "coupling/hook/dropped": factors.filter((factor) => factor === 0).length,
      "coupling/hook/reweighted": factors.filter((factor) => factor !== 0 && factor !== 1).length,
    },
  };
}

function weighed<R extends Row>(row: R, factor: number): R {
  if (factor === 1) return row;
  return { ...row, weight: row.answer.map((_, t) => factor * (row.weight?.[t] ?? 1)) };
}

function checkFactors(factors: readonly number[], count: number): void {
  const wrong = factors.findIndex((factor) => !(factor >= 0 && Number.isFinite(factor)));
  if (factors.length === count && wrong < 0) return;
  throw new ArgumentError(
    `[onInfluence] the hook's factors do not fit: got ${wrong < 0 ? `${factors.length} of them` : `${factors[wrong]} for row ${wrong}`}, ` +
      `expected ${count} numbers of 0 or more. Return one for each of the report's rows, or nothing.`,
  );
}
