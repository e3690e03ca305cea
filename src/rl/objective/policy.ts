/** The clipped policy loss over rows of two streams: acting, and judging actions. */
import type { Tape } from "../../autograd/tape.js";
import type { Tensor } from "../../autograd/tensor.js";
import { type Aggregation, aggregationWeights } from "../../core/aggregation.js";
import {
  joinPolicyStatistics,
  KL_KINDS,
  type PolicyStatistics,
  policyLoss,
  RATIO_LEVELS,
  type StreamParam,
  SURROGATES,
} from "../../kernels/index.js";
import type { Row } from "../rows.js";
import type { ForwardPass, Objective } from "./objective.js";
import { type SelectedRow, selectRows, tokenFactor } from "./selection.js";

/** A classifier that judges in the place of the policy's own words, see `ValueHead`. */
export interface ClassifierHead {
  loss(
    tape: Tape,
    hidden: Tensor,
    places: Uint32Array,
    labels: readonly ("good" | "bad")[],
    weight: number,
    lossScale: Tensor | undefined,
  ): readonly [Tensor, Tensor];
}

/** The loss of one stream. */
export interface StreamLoss {
  /** Factor of the whole stream, after its own normaliser. */
  readonly coefficient: number;
  readonly clipLow: number;
  readonly clipHigh: number;
  /** 0 = off. */
  readonly dualClip: number;
  readonly beta: number;
  readonly klKind: keyof typeof KL_KINDS;
  /** Default `clip`. */
  readonly surrogate?: keyof typeof SURROGATES;
  /** Whose importance ratio the surrogate has; default `token`. */
  readonly ratioLevel?: keyof typeof RATIO_LEVELS;
  readonly entropyCoef: number;
  readonly aggregation: Aggregation;
  /** Divides `sequence_sum`. */
  readonly normaliser: number;
  /** Rows with less gradient than this are not computed, see `selectRows`; 0 = those with none. */
  readonly skipBelow: number;
}

export interface PolicyLossOptions {
  readonly temperature: number;
  readonly policy: StreamLoss;
  /** Needed where rows of that stream are given. */
  readonly classification?: StreamLoss;
  /** Learns the labels of the classification rows in the place of the policy's tokens. */
  readonly head?: { readonly classifier: ClassifierHead; readonly labelOf: (row: Row) => "good" | "bad" };
}

/**
 * Log-probabilities that stay fixed during the updates of one rollout, each at the place of its row; needed for the rows that
 * are computed. Scored in the packing of the update (`selectPolicyRows`, then `Learner.score`), so that a policy that has not
 * moved has a difference of exactly 0: rounding of another packing would be a gradient, and AdamW would make full steps of it.
 */
export interface FixedLogProbs {
  /** Behaviour policy by the trainer's kernels; absent when there is one update: the current policy is the behaviour policy. */
  readonly old?: readonly Float32Array[];
  /** Reference policy, for the KL term. */
  readonly reference?: readonly Float32Array[];
}

/** A policy objective and the rows it was made of. */
export interface PolicyObjective extends Objective {
  /** The rows that are computed, by their places among those given. */
  readonly selected: readonly SelectedRow[];
}

const STREAMS = ["policy", "classification"] as const;

/**
 * The rows that an update computes, in their order.
 * @param rows of the kinds policy and classification
 * @param isLinear the update is the only one on its rollout: the importance ratio is 1 throughout
 */
export function selectPolicyRows(
  rows: readonly Row[],
  options: PolicyLossOptions,
  isLinear: boolean,
): SelectedRow[] {
  return STREAMS.flatMap((kind) =>
    kind === "classification" && options.head
      ? unweightedRows(rows, kind)
      : selectStream(rows, kind, options[kind], isLinear),
  );
}

/**
 * Weights are computed for each stream by itself, so rows of one never rescale the gradient of the other. Rows that cannot
 * move a parameter (no advantage, and neither KL nor entropy terms) are not computed, but count in the normaliser; equal
 * rows are computed once, see `selectRows`.
 * @param rows of the kinds policy and classification
 */
export function policyObjective(
  rows: readonly Row[],
  fixed: FixedLogProbs,
  options: PolicyLossOptions,
): PolicyObjective {
  const selected = selectPolicyRows(rows, options, fixed.old === undefined);
  const asked = selected.filter(({ index }) => isVerdict(rows[index])).length;
  const learn = headLoss(rows, options, asked);
  const streams = [options.policy, ...(options.classification ? [options.classification] : [])];
  const hasKl = streams.some(({ beta }) => beta > 0);
  const hasEntropy = streams.some(({ entropyCoef }) => entropyCoef !== 0);
  const hasSequences = streams.some(({ ratioLevel }) => ratioLevel === "sequence");
  return {
    rows: selected.map(({ index }) => rows[index]),
    selected,
    temperature: options.temperature,
    loss(tape, forward, first, end, lossScale) {
      const { log_prob, entropy } = forward;
      const part = selected.slice(first, end);
      const perToken = tokenInput(tape, part);
      const { old, reference } = fixed;
      const { d_log_prob, d_entropy, stats } = tape.apply(
        policyLoss,
        {
          log_prob,
          entropy,
          old_log_prob: old ? perToken(({ index }) => old[index]) : log_prob,
          reference_log_prob: reference && hasKl ? perToken(({ index }) => reference[index]) : undefined,
          advantage: perToken(({ advantages }) => advantages),
          weight: perToken(({ weights }) => weights),
          count: part.some(({ members }) => members.length > 1)
            ? perToken(({ counts }) => counts)
            : undefined,
          stream: asked > 0 ? tape.input(streamOfTokens(part, rows)) : undefined,
          sequence_start: hasSequences ? tape.input(sequenceStarts(part)) : undefined,
          loss_scale: lossScale,
        },
        kernelScalars(options),
      );
      const ofTokens: readonly [Tensor, Tensor] = [log_prob, d_log_prob];
      const ofEntropy: [Tensor, Tensor][] = hasEntropy ? [[entropy, d_entropy]] : [];
      return { seeds: [ofTokens, ...ofEntropy, ...(learn?.(tape, forward, part, lossScale) ?? [])], stats };
    },
  };
}

const isVerdict = ({ kind }: Row): boolean => kind === "classification";

/** The stream of each token: 0 policy, 1 classification. */
function streamOfTokens(part: readonly SelectedRow[], rows: readonly Row[]): Uint32Array {
  return Uint32Array.from(
    part.flatMap(({ index, weights }) => weights.map(() => Number(isVerdict(rows[index])))),
  );
}

/** The loss of a classifier in the place of the policy's words, on the questions of one micro-batch. */
function headLoss(rows: readonly Row[], { head, classification }: PolicyLossOptions, asked: number) {
  if (!head || !classification) return undefined;
  const weight = classification.coefficient / asked;
  return (
    tape: Tape,
    { hidden, index }: ForwardPass,
    part: readonly SelectedRow[],
    lossScale: Tensor | undefined,
  ): (readonly [Tensor, Tensor])[] => {
    const places: number[] = [];
    const labels: ("good" | "bad")[] = [];
    let at = 0;
    for (const { index: place, weights } of part) {
      if (isVerdict(rows[place])) {
        places.push(index[at]);
        labels.push(head.labelOf(rows[place]));
      }
      at += weights.length;
    }
    if (places.length === 0) return [];
    return [head.classifier.loss(tape, hidden, Uint32Array.from(places), labels, weight, lossScale)];
  };
}

function kernelScalars({ policy, classification }: PolicyLossOptions): Record<string, number> {
  const own = streamScalars(policy);
  const other = Object.entries(classification ? streamScalars(classification) : {});
  return { ...own, ...Object.fromEntries(other.map(([name, value]) => [`classification_${name}`, value])) };
}

function streamScalars(stream: StreamLoss): Record<StreamParam, number> {
  return {
    coef: stream.coefficient,
    surrogate: SURROGATES[stream.surrogate ?? "clip"],
    ratio_level: RATIO_LEVELS[stream.ratioLevel ?? "token"],
    clip_low: stream.clipLow,
    clip_high: stream.clipHigh,
    dual_clip: stream.dualClip,
    beta: stream.beta,
    kl_kind: KL_KINDS[stream.klKind],
    entropy_coef: stream.entropyCoef,
  };
}

/** Place of the first token of each token's row. */
function sequenceStarts(part: readonly SelectedRow[]): Uint32Array {
  let start = 0;
  const starts = part.flatMap(({ weights }) => {
    const first = start;
    start += weights.length;
    return weights.map(() => first);
  });
  return Uint32Array.from(starts);
}

/** One value a token of some rows, as a tensor. */
function tokenInput(tape: Tape, part: readonly SelectedRow[]) {
  return (of: (row: SelectedRow) => ArrayLike<number>) =>
    tape.input(Float32Array.from(part.flatMap((row) => Array.from(of(row)))));
}

function selectStream(
  rows: readonly Row[],
  kind: Row["kind"],
  options: StreamLoss | undefined,
  linear: boolean,
): SelectedRow[] {
  const places = [...rows.keys()].filter((index) => rows[index].kind === kind);
  if (places.length === 0 || !options) return [];
  const own = places.map((index) => rows[index]);
  const masks = own.map(({ answer, mask }) => mask ?? answer.map(() => 1));
  const normalised = aggregationWeights(options.aggregation, masks, options.normaliser);
  const weights = normalised.map((values, index) => {
    const { weight } = own[index];
    return weight ? values.map((value, t) => value * tokenFactor(own[index], t)) : values;
  });
  const selected = selectRows(own, weights, {
    everyRowMatters: options.beta > 0 || options.entropyCoef !== 0,
    linear,
    skipBelow: options.skipBelow,
  });
  return selected.map((row) => ({
    ...row,
    index: places[row.index],
    members: row.members.map((member) => places[member]),
  }));
}

/** Rows that are computed for their hidden states; their tokens have no loss. */
function unweightedRows(rows: readonly Row[], kind: Row["kind"]): SelectedRow[] {
  return [...rows.keys()]
    .filter((index) => rows[index].kind === kind)
    .map((index) => {
      const zeros = rows[index].answer.map(() => 0);
      return { index, advantages: zeros, weights: zeros, members: [index], counts: zeros };
    });
}

/** Statistics of a policy update by stream, from the `stats` of every micro-batch. */
export function policyStatistics(parts: readonly ArrayLike<number>[]): {
  readonly policy: PolicyStatistics;
  readonly classification: PolicyStatistics;
} {
  const [policy, classification] = joinPolicyStatistics(parts);
  return { policy, classification };
}
