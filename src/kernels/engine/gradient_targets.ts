/** Where the gradients of parameters belong, from the names that an op gives them. */
import { type ArrayView, byteLength } from "./op.js";
import type { GradientTarget, WeightGradient } from "./weight_gradient.js";

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
  const { bias, first, O, I } = factors;
  if (!target || first === undefined) return { target, biasTarget: named(bias) };
  const { range, dtype } = target.view;
  const offset = range.offset + byteLength([first, I], dtype);
  const rows = {
    range: { buffer: range.buffer, offset, bytes: byteLength([O, I], dtype) },
    shape: [O, I],
    dtype,
  };
  return { target: { ...target, view: rows }, biasTarget: named(bias) };
}
