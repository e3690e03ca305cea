/** Where the gradients of parameters belong, from the names that an op gives them. */
import { type ArrayView, rowsOf } from "./array_view.js";
import type { PlanContext } from "./op.js";
import type { GradientTarget, ObservedGradient, WeightGradient } from "./weight_gradient.js";

/**
 * How the launcher asks whether a gradient is to be computed: the tape knows the names.
 * @param context of the plan that computes it: for launches in its place, and their memory
 * @returns false: compute it
 */
export type GradientDoor = (
  factors: WeightGradient,
  targets: Pick<ObservedGradient, "target" | "biasTarget">,
  context: PlanContext,
) => boolean;

/** Where gradients go, as far as they are wanted; of a part of a weight's rows, these rows. */
export function targetsOf(
  factors: WeightGradient,
  views: Readonly<Record<string, ArrayView>>,
  accumulate: ReadonlySet<string>,
): { target?: GradientTarget; biasTarget?: GradientTarget } {
  const named = (name: string | undefined): GradientTarget | undefined => {
    const view = name === undefined ? undefined : views[`d_${name}`];
    return view && { view, accumulate: accumulate.has(`d_${name}`) };
  };
  const target = named(factors.weight);
  if (factors.kind !== "product") return { target };
  const { bias, first, O } = factors;
  if (!target || first === undefined) return { target, biasTarget: named(bias) };
  return { target: { ...target, view: rowsOf(target.view, first, O) }, biasTarget: named(bias) };
}
