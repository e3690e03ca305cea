/** Turns rows into optimiser steps: packed forward, loss with its gradient, backward, AdamW. */
import { Tape } from "../../autograd/tape.js";
import type { Tensor } from "../../autograd/tensor.js";
import { type Aggregation, aggregationWeights } from "../../core/aggregation.js";
import {
  crossEntropy,
  joinPolicyStatistics,
  type PolicyStatistics,
  policyLoss,
} from "../../kernels/index.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import type { AdamW } from "../../optim/adamw.js";
import { type SelectedRow, selectRows } from "../objective/row_selection.js";
import type { PolicyRow, TokenRow } from "../rows.js";
import { type MicroBatch, microBatches } from "./micro_batches.js";

export interface PolicyLossOptions {
  readonly clipLow: number;
  readonly clipHigh: number;
  /** 0 = off. */
  readonly dualClip: number;
  readonly beta: number;
  readonly klKind: 1 | 2 | 3;
  readonly entropyCoef: number;
  readonly aggregation: Aggregation;
  /** Divides `sequence_sum`. */
  readonly normaliser: number;
  readonly temperature: number;
  /** Rows with less gradient than this are not computed, see `selectRows`; 0 = those with none. */
  readonly skipBelow: number;
}

/** Log-probabilities per row that stay fixed during the updates of one rollout. */
export interface FixedLogProbs {
  /** Behaviour policy by the trainer's kernels; absent when there is one update: the current policy is the behaviour policy. */
  readonly old?: readonly Float32Array[];
  /** Reference policy, for the KL term. */
  readonly reference?: readonly Float32Array[];
}

/** What the optimiser says after a step. */
export interface StepStatistics {
  readonly gradNorm: number;
  readonly skipped: boolean;
  /** Steps skipped since the optimiser was made. */
  readonly skippedSteps: number;
  /** Factor of the loss in the next step; 1 without loss scaling. */
  readonly lossScale: number;
}

export interface ImitationStatistics extends StepStatistics {
  /** The loss that was descended, see `imitate`. */
  readonly loss: number;
  readonly tokens: number;
}

export interface PolicyUpdateStatistics extends PolicyStatistics, StepStatistics {
  /** Packed tokens that went through forward and backward. */
  readonly packedTokens: number;
  /** Rows that did, equal ones counted once. */
  readonly computedRows: number;
  /** Difference between sampled and trainer log-probabilities, over tokens: an invariant of one update per rollout. */
  readonly logProbDifferenceMean: number;
  readonly logProbDifferenceMax: number;
}

interface Forward {
  readonly log_prob: Tensor;
  readonly entropy: Tensor;
}

/** Trains one model with one optimiser. */
export class Learner {
  constructor(
    readonly model: Qwen2Model,
    readonly optimizer: AdamW,
    readonly tokensPerMicroBatch: number,
  ) {}

  /**
   * One step of cross-entropy, per answer token of the rows: the sum over answer tokens, plus `promptLossWeight` times the
   * sum over prompt tokens, divided by the number of answer tokens.
   */
  async imitate(
    rows: readonly TokenRow[],
    learningRate: number,
    promptLossWeight = 0,
  ): Promise<ImitationStatistics> {
    const tokens = rows.reduce((sum, { answer }) => sum + answer.length, 0);
    const answerWeight = 1 / tokens;
    const predicted = promptLossWeight > 0 ? rows.map(wholeRow) : rows;
    const statistics: Tensor[] = [];
    this.model.parameters.clearGradients();
    for (const batch of microBatches(predicted, this.tokensPerMicroBatch)) {
      const weights = predicted.slice(batch.first, batch.end).flatMap(({ answer }, index) => {
        const fromPrompt = answer.length - rows[batch.first + index].answer.length;
        return answer.map((_, t) => (t < fromPrompt ? promptLossWeight : 1) * answerWeight);
      });
      const tape = new Tape(this.model.launcher, { activations: this.model.activations });
      const { log_prob } = this.#forward(tape, batch, 1);
      const { d_log_prob, stats } = tape.apply(crossEntropy, {
        log_prob,
        weight: tape.input(Float32Array.from(weights)),
        loss_scale: this.optimizer.lossScale,
      });
      tape.backward([[log_prob, d_log_prob]]);
      statistics.push(keep(stats));
      tape.release();
    }
    this.optimizer.step(learningRate);
    const parts = await this.#readAll(statistics);
    return {
      ...(await this.#stepStatistics()),
      loss: parts.reduce((sum, part) => sum + part[1], 0),
      tokens,
    };
  }

  /**
   * One step of the clipped policy loss over all rows given. Rows that cannot move a parameter (no advantage, and neither
   * KL nor entropy terms) are not computed, but count in the normaliser; equal rows are computed once, see `selectRows`.
   */
  async improve(
    rows: readonly PolicyRow[],
    fixed: FixedLogProbs,
    options: PolicyLossOptions,
    learningRate: number,
  ): Promise<PolicyUpdateStatistics> {
    const weights = aggregationWeights(
      options.aggregation,
      rows.map(({ answer, counts }) => answer.map(() => Number(counts))),
      options.normaliser,
    );
    const used = selectRows(rows, weights, {
      everyRowMatters: options.beta > 0 || options.entropyCoef !== 0,
      linear: fixed.old === undefined,
      skipBelow: options.skipBelow,
    });
    const statistics: Tensor[] = [];
    const trainerLogProbs: Tensor[] = [];
    let packedTokens = 0;
    this.model.parameters.clearGradients();
    for (const batch of microBatches(
      used.map(({ index }) => rows[index]),
      this.tokensPerMicroBatch,
    )) {
      packedTokens += batch.packed.tokens.length;
      const part = used.slice(batch.first, batch.end);
      const tape = new Tape(this.model.launcher, { activations: this.model.activations });
      const { log_prob, entropy } = this.#forward(tape, batch, options.temperature);
      const perToken = (of: (row: SelectedRow) => ArrayLike<number>) =>
        tape.input(Float32Array.from(part.flatMap((row) => Array.from(of(row)))));
      const { old, reference } = fixed;
      const { d_log_prob, d_entropy, stats } = tape.apply(
        policyLoss,
        {
          log_prob,
          entropy,
          old_log_prob: old ? perToken(({ index }) => old[index]) : log_prob,
          reference_log_prob: reference ? perToken(({ index }) => reference[index]) : undefined,
          advantage: perToken(({ advantage, weights: { length } }) => Array(length).fill(advantage)),
          weight: perToken((row) => row.weights),
          loss_scale: this.optimizer.lossScale,
        },
        {
          clip_low: options.clipLow,
          clip_high: options.clipHigh,
          dual_clip: options.dualClip,
          beta: options.beta,
          kl_kind: options.klKind,
          entropy_coef: options.entropyCoef,
        },
      );
      // backward releases what the tape recorded
      statistics.push(keep(stats));
      trainerLogProbs.push(keep(log_prob));
      tape.backward(
        options.entropyCoef === 0
          ? [[log_prob, d_log_prob]]
          : [
              [log_prob, d_log_prob],
              [entropy, d_entropy],
            ],
      );
      tape.release();
    }
    if (used.length > 0) this.optimizer.step(learningRate);
    const parts = await this.#readAll(statistics);
    const differences = difference(
      await this.#readAll(trainerLogProbs),
      used.flatMap(({ index }) => [...rows[index].sampledLogProbs]),
    );
    const step = await this.#stepStatistics();
    return {
      ...joinPolicyStatistics(parts)[0],
      ...differences,
      ...(used.length > 0 ? step : { ...step, gradNorm: 0, skipped: false }),
      packedTokens,
      computedRows: used.length,
    };
  }

  /** Log-probabilities of every row's answer under the model as it is now. */
  async score(rows: readonly TokenRow[], temperature: number, model = this.model): Promise<Float32Array[]> {
    const results: Float32Array[] = [];
    for (const batch of microBatches(rows, this.tokensPerMicroBatch)) {
      const tape = new Tape(model.launcher, { record: false, activations: model.activations });
      const hidden = model.hidden(tape, model.batch(tape, batch.packed));
      const { log_prob } = model.score(tape, hidden, batch.index, batch.target, temperature);
      const values = (await log_prob.read()) as Float32Array;
      tape.release();
      let at = 0;
      for (const { answer } of rows.slice(batch.first, batch.end)) {
        results.push(values.slice(at, at + answer.length));
        at += answer.length;
      }
    }
    return results;
  }

  #forward(tape: Tape, batch: MicroBatch, temperature: number): Forward {
    const hidden = this.model.hidden(tape, this.model.batch(tape, batch.packed));
    return this.model.score(tape, hidden, batch.index, batch.target, temperature);
  }

  async #stepStatistics(): Promise<StepStatistics> {
    const { gradNorm, skipped, skippedSteps, lossScale } = await this.optimizer.stats();
    return { gradNorm, skipped, skippedSteps, lossScale };
  }

  async #readAll(tensors: readonly Tensor[]): Promise<Float32Array[]> {
    const bytes = await this.model.launcher.runtime.read(tensors.map(({ range }) => range));
    for (const tensor of tensors) tensor.release();
    return bytes.map((part) => new Float32Array(part));
  }
}

/** A row that predicts its prompt too, from its first token on. */
function wholeRow({ prompt, answer }: TokenRow): TokenRow {
  return { prompt: prompt.slice(0, 1), answer: [...prompt.slice(1), ...answer] };
}

/** A view that outlives the tape which made the tensor. */
function keep(tensor: Tensor): Tensor {
  return tensor.view(tensor.shape, 0, false);
}

function difference(
  trainer: readonly Float32Array[],
  sampled: readonly number[],
): { logProbDifferenceMean: number; logProbDifferenceMax: number } {
  let sum = 0;
  let most = 0;
  let at = 0;
  for (const part of trainer) {
    for (const value of part) {
      const gap = Math.abs(value - sampled[at++]);
      sum += gap;
      most = Math.max(most, gap);
    }
  }
  return { logProbDifferenceMean: at > 0 ? sum / at : 0, logProbDifferenceMax: most };
}
