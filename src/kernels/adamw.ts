/** Launches of the AdamW step over flat buckets. The optimiser class is in src/optim/adamw.ts. */
import * as shader from "../../shaders/adamw.js";
import type { DeviceFacts } from "../gpu/runtime.js";
import type { ArrayView, KernelUnit, PlanContext } from "./op.js";

/** Words of the optimiser's state buffer, see shaders/adamw.ts. */
export const ADAMW_STATE_WORDS = 8;
/** Floats of the loss scale's buffer, see there. */
export const LOSS_SCALE_FLOATS = 3;

const vec4Bits = () => ({ gradient: "vec4<u32>" });
const finishLanes = (isSoftware: boolean) => (isSoftware ? 1 : 256);

const sumSquaresUnit: KernelUnit = {
  op: "adamw",
  scalars: { E: "u32", first: "u32" },
  kernel: {
    entry: "sum_squares",
    shader: ({ facts }) => shader.sumSquares(shader.normLayout(facts.isSoftware)),
    reads: ["gradient", "loss_scale"],
    writes: ["partial", "flag"],
    elements: vec4Bits,
    workgroups: ({ E }, { isSoftware }) =>
      Math.ceil((4 * E) / shader.normElements(shader.normLayout(isSoftware))),
  },
};
const finishUnit: KernelUnit = {
  op: "adamw",
  scalars: {
    P: "u32",
    max_norm: "f32",
    log_beta1: "f32",
    log_beta2: "f32",
    growth_interval: "f32",
    max_scale: "f32",
  },
  kernel: {
    entry: "finish",
    shader: ({ facts }) => shader.finish(finishLanes(facts.isSoftware)),
    reads: ["partial", "flag"],
    writes: ["state", "loss_scale"],
    workgroups: () => 1,
  },
};
const updateUnit: KernelUnit = {
  op: "adamw",
  scalars: {
    E: "u32",
    lr: "f32",
    keep: "f32",
    beta1: "f32",
    rest1: "f32",
    beta2: "f32",
    rest2: "f32",
    eps: "f32",
  },
  kernel: {
    entry: "update",
    shader: ({ facts, has }) => shader.update(shader.updateLayout(facts.isSoftware), has("half")),
    reads: ["state", "gradient"],
    writes: ["value", "first_moment", "second_moment", "half"],
    elements: () => ({
      gradient: "vec4<f32>",
      value: "vec4<f32>",
      first_moment: "vec4<f32>",
      second_moment: "vec4<f32>",
      half: "vec2<u32>",
    }),
    workgroups: ({ E }, { isSoftware }) => {
      const { lanes, steps } = shader.updateLayout(isSoftware);
      return Math.ceil(E / (lanes * steps));
    },
  },
};

/** Partials that the gradients of buckets with these element counts reduce to. */
export function adamwPartials(elements: readonly number[], facts: DeviceFacts): number {
  return elements.reduce((sum, count) => sum + bucketPartials(count, facts), 0);
}

function bucketPartials(elements: number, facts: DeviceFacts): number {
  const layout = shader.normLayout(facts.isSoftware);
  return Math.ceil(elements / shader.normElements(layout)) * shader.normPartials(layout);
}

/** One bucket of a step. All views hold the same number of values, a multiple of 4. */
export interface AdamwBucket {
  readonly value: ArrayView;
  /** f16 copy of the values, written with them. */
  readonly half?: ArrayView;
  readonly gradient: ArrayView;
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
  /** f32 and u32 [adamwPartials(...)], working memory. */
  readonly partial: ArrayView;
  readonly flag: ArrayView;
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  /** Largest global gradient norm; 0 turns clipping off. */
  readonly maxNorm: number;
}

/**
 * Appends one AdamW step with decoupled weight decay over all buckets: three dispatches for the usual two buckets.
 * When any gradient or their norm is not finite, nothing but the skip flag, the skip count and the loss scale changes.
 * @source Loshchilov & Hutter 2019, algorithm 2
 */
export function adamwInto(
  runner: Pick<PlanContext, "run" | "together">,
  facts: DeviceFacts,
  step: AdamwStep,
): void {
  const { buckets, state, lossScale: loss_scale, partial, flag, lr, beta1, beta2, eps } = step;
  let partials = 0;
  runner.together(() => {
    for (const { gradient } of buckets) {
      const elements = gradient.range.bytes / 4;
      runner.run(
        sumSquaresUnit,
        { gradient, loss_scale, partial, flag },
        { E: elements / 4, first: partials },
      );
      partials += bucketPartials(elements, facts);
    }
  });
  runner.run(
    finishUnit,
    { partial, flag, state, loss_scale },
    {
      P: partials,
      max_norm: step.maxNorm,
      log_beta1: finiteLog(beta1),
      log_beta2: finiteLog(beta2),
      growth_interval: step.growthInterval,
      max_scale: step.maxScale,
    },
  );
  const rates = { lr, beta1, rest1: 1 - beta1, beta2, rest2: 1 - beta2, eps };
  runner.together(() => {
    for (const bucket of buckets) {
      const { value, half, gradient, firstMoment: first_moment, secondMoment: second_moment } = bucket;
      // the shader packs pairs of halves into words itself
      const words: ArrayView | undefined = half && { range: half.range, shape: half.shape, dtype: "u32" };
      runner.run(
        updateUnit,
        { state, gradient, value, first_moment, second_moment, ...(words && { half: words }) },
        { ...rates, E: gradient.range.bytes / 16, keep: 1 - bucket.decay },
      );
    }
  });
}

/** exp(-100) is far below float32's resolution of 1 - beta^t, so a beta of 0 needs no infinity. */
function finiteLog(beta: number): number {
  return Math.max(Math.log(beta), -100);
}
