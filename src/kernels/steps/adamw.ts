/** Launches of the AdamW step over flat buckets. The optimiser class is in src/optim/adamw.ts. */
import * as shader from "../../../shaders/steps/adamw.js";
import type { KernelFacts } from "../../gpu/runtime.js";
import type { ArrayView, KernelUnit, PlanContext } from "../engine/op.js";

/** Words of the optimiser's state buffer, see shaders/adamw.ts. */
export const ADAMW_STATE_WORDS = 8;
/** Floats of the loss scale's buffer, see there. */
export const LOSS_SCALE_FLOATS = 3;

const sumSquaresUnit: KernelUnit = {
  op: "adamw",
  scalars: { E: "u32", L: "u32", first: "u32" },
  kernel: {
    entry: "sum_squares",
    shader: ({ facts }) => shader.sumSquares(facts.isSoftware),
    reads: ["gradient", "state", "loss_scale"],
    writes: ["sums"],
    elements: () => ({ gradient: "vec4<u32>" }),
    workgroups: ({ E, L }) => Math.ceil(E / L),
  },
};
const updateUnit: KernelUnit = {
  op: "adamw",
  scalars: {
    E: "u32",
    L: "u32",
    P: "u32",
    leads: "u32",
    lr: "f32",
    keep: "f32",
    beta1: "f32",
    rest1: "f32",
    log_beta1: "f32",
    beta2: "f32",
    rest2: "f32",
    log_beta2: "f32",
    eps: "f32",
    max_norm: "f32",
    growth_interval: "f32",
    max_scale: "f32",
    bucket: "u32",
  },
  kernel: {
    entry: "update",
    constants: ["half_moments"],
    shader: ({ facts, has, constants }) =>
      shader.update(facts.isSoftware, has("half"), constants.half_moments === 1),
    reads: ["sums", "gradient"],
    writes: ["value", "first_moment", "second_moment", "half", "state", "loss_scale"],
    elements: ({ constants }) => ({
      sums: "vec4<u32>",
      gradient: "vec4<f32>",
      value: "vec4<f32>",
      first_moment: constants.half_moments === 1 ? "vec2<u32>" : "vec4<f32>",
      second_moment: constants.half_moments === 1 ? "vec2<u32>" : "vec4<f32>",
      half: "vec2<u32>",
    }),
    workgroups: ({ E, L }) => Math.ceil(E / L),
  },
};

/** Words of `AdamwStep.sums` for gradients of buckets with these element counts, a multiple of 4. */
export function adamwSumWords(elements: readonly number[], { isSoftware }: KernelFacts): number {
  const words = elements.reduce((sum, count) => sum + bucketSums(count / 4, isSoftware), shader.SUMS_START);
  return 4 * Math.ceil(words / 4);
}

/** Sums of a bucket of `E` vec4s: one a workgroup, or one a lane. */
function bucketSums(E: number, isSoftware: boolean): number {
  const layout = shader.sumLayout(isSoftware);
  return Math.ceil(E / shader.partLength(layout, E)) * (isSoftware ? layout.lanes : 1);
}

/**
 * Moments in f16: 2^12 m, and 2^12 sqrt(v). Each step rounds them up or down at random without bias, by at most a part in 2^10 of
 * the stored number, or 2^-24 of its unit below 2^-14.
 */
export const HALF_MOMENTS = { scale: 2 ** 12 } as const;

/** One bucket of a step. All views hold the same number of values, a multiple of 4. */
export interface AdamwBucket {
  readonly value: ArrayView;
  /** f16 copy of the values, written with them. */
  readonly half?: ArrayView;
  readonly gradient: ArrayView;
  /** m, and v: f32, or f16 in the form that `HALF_MOMENTS` says. */
  readonly firstMoment: ArrayView;
  readonly secondMoment: ArrayView;
  /** lr * weight decay; 0 where parameters are not decayed. */
  readonly decay: number;
}

export interface AdamwStep {
  readonly buckets: readonly AdamwBucket[];
  /** u32 [ADAMW_STATE_WORDS], kept from step to step; starts as zeros. */
  readonly state: ArrayView;
  /** f32 [LOSS_SCALE_FLOATS], kept from step to step: scale, its inverse, 0. Gradients are multiples of the scale. */
  readonly lossScale: ArrayView;
  /** Good steps in a row before the loss scale doubles; 0 = it never changes. */
  readonly growthInterval: number;
  readonly maxScale: number;
  /** u32 [adamwSumWords(...)], working memory; starts as zeros. */
  readonly sums: ArrayView;
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  /** Largest global gradient norm; 0 turns clipping off. */
  readonly maxNorm: number;
}

/**
 * Appends one AdamW step with decoupled weight decay over all buckets: two dispatches for the usual two buckets.
 * When any gradient or their norm is not finite, nothing but the skip flag, the skip count and the loss scale changes.
 * @source Loshchilov & Hutter 2019, algorithm 2
 */
export function adamwInto(
  runner: Pick<PlanContext, "run" | "together">,
  { isSoftware }: KernelFacts,
  step: AdamwStep,
): void {
  const { buckets, state, lossScale: loss_scale, sums, lr, beta1, beta2, eps } = step;
  runner.together(() => {
    let first = shader.SUMS_START;
    for (const { gradient } of buckets) {
      const E = gradient.range.bytes / 16;
      const L = shader.partLength(shader.sumLayout(isSoftware), E);
      runner.run(sumSquaresUnit, { gradient, state, loss_scale, sums }, { E, L, first });
      first += bucketSums(E, isSoftware);
    }
  });
  const scalars = {
    P: sums.range.bytes / 16,
    lr,
    beta1,
    rest1: 1 - beta1,
    log_beta1: finiteLog(beta1),
    beta2,
    rest2: 1 - beta2,
    log_beta2: finiteLog(beta2),
    eps,
    max_norm: step.maxNorm,
    growth_interval: step.growthInterval,
    max_scale: step.maxScale,
  };
  runner.together(() => {
    for (const [index, bucket] of buckets.entries()) {
      const { value, half, gradient, firstMoment: first_moment, secondMoment: second_moment } = bucket;
      // the shader packs pairs of halves into words itself
      const asWords = ({ range, shape }: ArrayView): ArrayView => ({ range, shape, dtype: "u32" });
      const halfMoments = first_moment.dtype === "f16";
      const E = gradient.range.bytes / 16;
      const L = shader.partLength(shader.updateLayout(isSoftware), E);
      runner.run(
        updateUnit,
        {
          sums,
          gradient,
          value,
          first_moment: halfMoments ? asWords(first_moment) : first_moment,
          second_moment: halfMoments ? asWords(second_moment) : second_moment,
          half: half && asWords(half),
          state,
          loss_scale,
        },
        {
          ...scalars,
          E,
          L,
          bucket: index,
          half_moments: halfMoments ? 1 : 0,
          leads: index === 0 ? 1 : 0,
          keep: 1 - bucket.decay,
        },
      );
    }
  });
}

/** exp(-100) is far below float32's resolution of 1 - beta^t, so a beta of 0 needs no infinity. */
function finiteLog(beta: number): number {
  return Math.max(Math.log(beta), -100);
}
