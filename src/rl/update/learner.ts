/** Turns objectives into optimiser steps: micro-batches, forward, loss with its gradient, backward, AdamW. */
import { Tape } from "../../autograd/tape.js";
import type { Tensor } from "../../autograd/tensor.js";
import { hashText } from "../../core/hash.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import type { AdamW } from "../../optim/adamw.js";
import type { ForwardPass, Objective } from "../objective/objective.js";
import type { Row } from "../rows.js";
import { type MicroBatch, microBatches } from "./micro_batches.js";

/** What the optimiser says after a step. */
export interface StepStatistics {
  /** 0 where no row was computed and no step taken. */
  readonly gradNorm: number;
  readonly skipped: boolean;
  /** Steps skipped since the optimiser was made. */
  readonly skippedSteps: number;
  /** Factor of the loss in the next step; 1 without loss scaling. */
  readonly lossScale: number;
}

export interface UpdateResult extends StepStatistics {
  /** `stats` of the loss, a micro-batch each. */
  readonly stats: readonly Float32Array[];
  /** Log-probabilities of each row's answer tokens before the step, where they were asked for. */
  readonly logProbs: readonly Float32Array[];
  /** Packed tokens that went through forward and backward. */
  readonly packedTokens: number;
}

export interface LearnerOptions {
  /** Of masks of dropout. Default 0. */
  readonly dropoutSeed?: number;
}

export interface UpdateOptions {
  /** Bring the log-probabilities of the answers back to the host. */
  readonly keepLogProbs?: boolean;
}

/** Trains one model with one optimiser. */
export class Learner {
  /** What the masks of dropout are drawn by: the run's seed, the step, the update in it. */
  readonly #dropoutSeed: number;
  #step = 0;
  #updates = 0;

  constructor(
    readonly model: Qwen2Model,
    readonly optimizer: AdamW,
    readonly tokensPerMicroBatch: number,
    { dropoutSeed = 0 }: LearnerOptions = {},
  ) {
    this.#dropoutSeed = dropoutSeed;
  }

  /** Says which update of the run comes next, so that masks of dropout are those of a run that was never interrupted. */
  startStep(step: number): void {
    this.#step = step;
    this.#updates = 0;
  }

  /** One optimiser step down an objective; none where the objective has no rows. */
  async update(
    objective: Objective,
    learningRate: number,
    { keepLogProbs = false }: UpdateOptions = {},
  ): Promise<UpdateResult> {
    const { rows, temperature } = objective;
    const stats: Tensor[] = [];
    const scores: Tensor[] = [];
    let packedTokens = 0;
    this.#updates++;
    this.model.trained.clearGradients();
    for (const batch of microBatches(rows, this.tokensPerMicroBatch)) {
      packedTokens += batch.packed.tokens.length;
      const { launcher, activations, recompute } = this.model;
      const tape = new Tape(launcher, { activations, recompute });
      const forward = this.#forward(tape, batch, temperature);
      const loss = objective.loss(tape, forward, batch.first, batch.end, this.optimizer.lossScale);
      // backward releases what the tape recorded
      stats.push(keep(loss.stats));
      if (keepLogProbs) scores.push(keep(forward.log_prob));
      tape.backward(loss.seeds);
      tape.release();
    }
    if (rows.length > 0) this.optimizer.step(learningRate);
    const values = await this.#readAll([...stats, ...scores]);
    const step = await this.#stepStatistics();
    return {
      ...(rows.length > 0 ? step : { ...step, gradNorm: 0, skipped: false }),
      stats: values.slice(0, stats.length),
      logProbs: keepLogProbs ? byRow(rows, values.slice(stats.length)) : [],
      packedTokens,
    };
  }

  /** Log-probabilities of every row's answer under the model as it is now, or another one. */
  async score(
    rows: readonly Pick<Row, "prompt" | "answer">[],
    temperature: number,
    model = this.model,
  ): Promise<Float32Array[]> {
    const values: Float32Array[] = [];
    for (const batch of microBatches(rows, this.tokensPerMicroBatch)) {
      const tape = new Tape(model.launcher, { record: false, activations: model.activations });
      const { hidden, index } = model.predicting(tape, batch.packed, batch.index);
      const { log_prob } = model.score(tape, hidden, index, batch.target, temperature);
      values.push((await log_prob.read()) as Float32Array);
      tape.release();
    }
    return byRow(rows, values);
  }

  #forward(tape: Tape, batch: MicroBatch, temperature: number): ForwardPass {
    const place = ["dropout", this.#dropoutSeed, this.#step, this.#updates, batch.first];
    const { model } = this;
    const states = model.predicting(tape, batch.packed, batch.index, hashText(place.join(" ")));
    return { ...model.score(tape, states.hidden, states.index, batch.target, temperature), ...states };
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

/** A view that outlives the tape which made the tensor. */
function keep(tensor: Tensor): Tensor {
  return tensor.view(tensor.shape, 0, false);
}

/** Values of answer tokens, micro-batch after micro-batch, as one array a row. */
function byRow(rows: readonly Pick<Row, "answer">[], batches: readonly Float32Array[]): Float32Array[] {
  const results: Float32Array[] = [];
  let batch = 0;
  let at = 0;
  for (const { answer } of rows) {
    if (at === batches[batch].length) {
      batch++;
      at = 0;
    }
    results.push(batches[batch].slice(at, at + answer.length));
    at += answer.length;
  }
  return results;
}
