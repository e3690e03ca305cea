/** What an update descends, apart from how it is computed: rows, and the loss of their scored answer tokens. */
import type { Tape } from "../../autograd/tape.js";
import type { Tensor } from "../../autograd/tensor.js";
import type { ScoredTokens } from "../../model/qwen2.js";
import type { Row } from "../rows.js";

/** What a loss is made of: the answer tokens of some rows, row after row. */
export interface ForwardPass extends ScoredTokens {
  /** Final hidden states of the packed tokens, or of those that predict answer tokens alone. */
  readonly hidden: Tensor;
  /** Row of `hidden` that predicts each answer token. */
  readonly index: Uint32Array;
}

/** Gradients that backward starts from, and numbers of the loss for the host. */
export interface LossGradients {
  /** Pairs of a scored tensor and its gradient. */
  readonly seeds: readonly (readonly [Tensor, Tensor])[];
  /** f32, any shape; read after the optimiser step. */
  readonly stats: Tensor;
}

/**
 * A loss that is a sum over answer tokens of rows, so that any split into micro-batches has the same gradient.
 * Normalisers are those of the whole update.
 */
export interface Objective {
  /** Rows to compute, tokens only. */
  readonly rows: readonly Pick<Row, "prompt" | "answer">[];
  /** Divides the logits. */
  readonly temperature: number;
  /**
   * Appends the loss of some rows to the tape's work.
   * @param forward of `rows[first .. end - 1]`
   * @param lossScale f32 [1], factor of the gradients (mixed precision)
   */
  loss(
    tape: Tape,
    forward: ForwardPass,
    first: number,
    end: number,
    lossScale: Tensor | undefined,
  ): LossGradients;
}
