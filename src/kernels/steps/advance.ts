import * as shader from "../../../shaders/steps/advance.js";
import type { ArrayView, KernelUnit, PlanContext } from "../engine/op.js";

const advanceUnit: KernelUnit = {
  op: "advance",
  scalars: { B: "u32", R: "u32", E: "u32", first: "u32" },
  kernel: {
    entry: "advance",
    shader: shader.advance,
    reads: ["sampled", "log_prob", "end_token"],
    writes: ["token", "position", "counter", "history_token", "history_log_prob"],
    workgroups: ({ B }) => Math.ceil(B / shader.WORKGROUP),
  },
};

/** Sequences being sampled, R of them; everything but the end tokens is advanced in place. */
export interface SampledSequences {
  /** u32 [R]: the last token of each. */
  readonly token: ArrayView;
  /** u32 [R]: its place in the sequence; 0 where an end token has been sampled. */
  readonly position: ArrayView;
  /** u32 [R]: tokens sampled so far. */
  readonly counter: ArrayView;
  /** u32 [E], at least one. */
  readonly end_token: ArrayView;
  /** u32 [M, R]: all sampled tokens, M the most of one sequence. What follows an end token is left as it was. */
  readonly history_token: ArrayView;
  /** f32 [M, R]. */
  readonly history_log_prob: ArrayView;
}

/** Takes u32 [B] `sampled` and f32 [B] `log_prob` as the next tokens of rows first .. first + B - 1 of the sequences. */
export function advanceSequences(
  runner: Pick<PlanContext, "run">,
  sequences: SampledSequences,
  draw: { readonly sampled: ArrayView; readonly log_prob: ArrayView },
  first: number,
): void {
  const [B = 0] = draw.sampled.shape;
  const [R = 0] = sequences.token.shape;
  const [E = 0] = sequences.end_token.shape;
  runner.run(advanceUnit, { ...sequences, ...draw }, { B, R, E, first });
}
