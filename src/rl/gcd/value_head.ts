/**
 * Control for GCD: a linear classifier of good and bad on the policy's last hidden state, in the place of its own words. Its
 * loss shapes the hidden states as GCD's does, but no token is trained to say a verdict.
 */
import { FlatParameters } from "../../autograd/flat_parameters.js";
import { Tape } from "../../autograd/tape.js";
import type { Tensor } from "../../autograd/tensor.js";
import { DataError } from "../../core/errors.js";
import { Random } from "../../core/random.js";
import type { Json } from "../../core/run_record.js";
import { crossEntropy, gatherRows, linearLogProb } from "../../kernels/index.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import { AdamW } from "../../optim/adamw.js";
import { microBatches } from "../update/micro_batches.js";
import type { Verdict } from "./labels.js";
import type { VerdictProbabilities } from "./verdicts.js";

const WEIGHT = "value_head.weight";
const CLASSES: readonly Verdict[] = ["good", "bad"];
const STD = 0.02;

/** Owns the classifier's weight [2, C] and its optimiser. */
export class ValueHead {
  readonly #parameters: FlatParameters;
  readonly #optimizer: AdamW;

  constructor(
    readonly model: Qwen2Model,
    options: { readonly seed: number; readonly learningRate: number; readonly maxGradNorm: number },
  ) {
    const { launcher, config } = model;
    const shape = [CLASSES.length, config.hidden_size];
    this.#parameters = new FlatParameters(launcher.runtime, [{ name: WEIGHT, shape }]);
    const random = Random.of(options.seed, WEIGHT);
    this.#parameters.load(
      WEIGHT,
      Float32Array.from({ length: 2 * config.hidden_size }, () => STD * random.normal()),
    );
    const { learningRate: lr, maxGradNorm } = options;
    this.#optimizer = new AdamW({ parameters: this.#parameters, launcher, lr, maxGradNorm });
  }

  /** Appends clearing the classifier's gradient: before the micro-batches of an update. */
  clearGradient(): void {
    this.#parameters.clearGradients();
  }

  /** Appends one optimiser step. */
  step(learningRate: number): void {
    this.#optimizer.step(learningRate);
  }

  /**
   * Cross entropy of the classifier at some places, as a pair that backward starts from.
   * @param hidden final hidden states [N, C]
   * @param places rows of `hidden`, all different
   * @param weight of each question in the loss
   */
  loss(
    tape: Tape,
    hidden: Tensor,
    places: Uint32Array,
    labels: readonly Verdict[],
    weight: number,
    lossScale: Tensor | undefined,
  ): readonly [Tensor, Tensor] {
    const { log_prob } = this.#score(tape, hidden, places, labels);
    const { d_log_prob } = tape.apply(crossEntropy, {
      log_prob,
      weight: tape.input(new Float32Array(places.length).fill(weight)),
      loss_scale: lossScale,
    });
    return [log_prob, d_log_prob];
  }

  /** What the classifier thinks after each prompt. */
  async probabilities(
    prompts: readonly (readonly number[])[],
    tokensPerMicroBatch: number,
  ): Promise<VerdictProbabilities[]> {
    const results: VerdictProbabilities[] = [];
    const rows = prompts.map((prompt) => ({ prompt, answer: [0] }));
    const { model } = this;
    for (const { packed, index } of microBatches(rows, tokensPerMicroBatch)) {
      const tape = new Tape(model.launcher, { record: false, activations: model.activations });
      const hidden = model.hidden(tape, model.batch(tape, packed));
      const { log_prob } = this.#score(
        tape,
        hidden,
        index,
        Array.from(index, () => "good" as const),
      );
      const values = (await log_prob.read()) as Float32Array;
      tape.release();
      for (const value of values) results.push({ good: Math.exp(value), bad: -Math.expm1(value) });
    }
    return results;
  }

  #score(tape: Tape, hidden: Tensor, places: Uint32Array, labels: readonly Verdict[]) {
    const rows = tape.apply(gatherRows, { x: hidden, index: tape.input(places) }).y;
    const target = tape.input(Uint32Array.from(labels, (label) => CLASSES.indexOf(label)));
    return tape.apply(linearLogProb, { hidden: rows, weight: this.#parameters.get(WEIGHT), target });
  }

  /** Plain data for a checkpoint: float32 values as numbers keep all their bits. */
  async save(): Promise<Json> {
    const tensors: Record<string, readonly number[]> = {
      [WEIGHT]: [...(await this.#parameters.read(WEIGHT))],
    };
    for (const { name, read } of this.#optimizer.state()) tensors[name] = [...(await read())];
    return tensors;
  }

  restore(saved: Json): void {
    const tensors = saved as Readonly<Record<string, readonly number[]>>;
    if (!tensors?.[WEIGHT]) {
      throw new DataError(`[gcd] ${WEIGHT} is missing from the checkpoint. Resume from one of the same run.`);
    }
    this.#parameters.load(WEIGHT, Float32Array.from(tensors[WEIGHT]));
    this.#optimizer.load(
      new Map(
        this.#optimizer
          .state()
          .map(({ name, dtype }) => [
            name,
            dtype === "u32" ? Uint32Array.from(tensors[name] ?? []) : Float32Array.from(tensors[name] ?? []),
          ]),
      ),
    );
  }

  release(): void {
    this.#optimizer.release();
    this.#parameters.release();
  }
}
