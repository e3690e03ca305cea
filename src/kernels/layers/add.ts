import * as shader from "../../../shaders/layers/add.js";
import {
  type ArrayView,
  defineOp,
  elementCount,
  type KernelUnit,
  type PlanContext,
  real,
} from "../engine/op.js";

/** Elements one workgroup adds. */
const ELEMENTS = 256;

/** Residual addition y = a + b. Both gradients are the upstream gradient itself, shared without a copy. */
export const add = defineOp({
  name: "add",
  inputs: { a: real("N C"), b: real("N C") },
  outputs: { y: real("N C") },
  derived: ["E"],
  derive: ({ N, C }) => ({ E: N * C }),
  forward: [
    {
      entry: "forward",
      shader: shader.forward,
      reads: ["a", "b"],
      writes: ["y"],
      workgroups: ({ E }) => Math.ceil(E / ELEMENTS),
    },
  ],
  backward: [],
  passes: { a: "y", b: "y" },
  reference: ({ a, b }) => ({ y: a.map((value, index) => value + b[index]) }),
  cost: ({ E }) => ({ forward: { flops: E, bytes: 12 * E }, backward: { flops: 0, bytes: 0 } }),
});

const accumulateUnit = (op: string, sign: "+" | "-"): KernelUnit => ({
  op,
  scalars: { E: "u32" },
  kernel: {
    entry: "accumulate",
    shader: () => shader.accumulate(sign),
    reads: ["source"],
    writes: ["sum"],
    workgroups: ({ E }) => Math.ceil(E / ELEMENTS),
  },
});
const addUnit = accumulateUnit("add_into", "+");
const subtractUnit = accumulateUnit("subtract_from", "-");

/** sum += source, elementwise over tensors of the same size. */
export function addInto(launcher: Pick<PlanContext, "run">, sum: ArrayView, source: ArrayView): void {
  launcher.run(addUnit, { sum, source }, { E: elementCount(sum.shape) });
}

/** sum -= source, elementwise over tensors of the same size. */
export function subtractFrom(launcher: Pick<PlanContext, "run">, sum: ArrayView, source: ArrayView): void {
  launcher.run(subtractUnit, { sum, source }, { E: elementCount(sum.shape) });
}
