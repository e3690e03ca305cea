/** The sums that gradients of parameters are, when nobody wants them otherwise. */
import type { PlanContext } from "../engine/op.js";
import type { ObservedGradient, ProductGradient, WeightGradient } from "../engine/weight_gradient.js";
import { matmulInto } from "../matmul/matmul_into.js";
import { columnSumInto } from "./column_sum.js";
import { lookupGradientInto } from "./embedding.js";
import { gainGradientInto } from "./rms_norm.js";

type Targets = Pick<ObservedGradient, "target" | "biasTarget">;

/** Launches what computes a gradient at its targets; absent targets are not computed. */
export function launchWeightGradient(context: PlanContext, factors: WeightGradient, targets: Targets): void {
  if (factors.kind === "product") {
    launchProduct(context, factors, targets);
  } else if (targets.target) {
    if (factors.kind === "gain") gainGradientInto(context, factors, targets.target);
    else lookupGradientInto(context, factors, targets.target);
  }
}

function launchProduct(
  context: PlanContext,
  { gradient, input, scale, N, O, I, isLate }: ProductGradient,
  { target, biasTarget }: Targets,
): void {
  if (target) {
    const { view: y, accumulate } = target;
    const sumA = biasTarget && { y: biasTarget.view, accumulate: biasTarget.accumulate };
    matmulInto(context, {
      a: gradient,
      b: input,
      y,
      M: O,
      N: I,
      K: N,
      transposeA: true,
      accumulate,
      isLate,
      scaleB: scale,
      sumA,
    });
  } else if (biasTarget) {
    columnSumInto(context, gradient, biasTarget.view, N, O, biasTarget.accumulate);
  }
}
