/** The kernels of declared ops as units that any plan can launch. */
import type { Kernel, KernelUnit, OpDefinition, PlanContext, Scalars, TensorSpec } from "./op.js";

const units = new WeakMap<Kernel, KernelUnit>();

/** One kernel of an op, with the scalars that its axes, params and derived sizes are. */
export function unitOf(op: OpDefinition, kernel: Kernel): KernelUnit {
  const known = units.get(kernel);
  if (known) return known;
  const scalars: Record<string, "f32" | "u32"> = {};
  for (const tensor of [...Object.values(op.inputs), ...Object.values(op.outputs)]) {
    for (const axis of tensor.axes) if (Number.isNaN(Number(axis))) scalars[axis] = "u32";
  }
  for (const name of op.derived ?? []) scalars[name] = "u32";
  for (const [name, param] of Object.entries(op.params ?? {})) scalars[name] = param.type;
  const unit: KernelUnit = { op: op.name, scalars, kernel };
  units.set(kernel, unit);
  return unit;
}

type Specs = Readonly<Record<string, TensorSpec>>;

/** Launches the forward kernels of an op of plain kernels. @param scalars all of them, derived sizes too */
export function runForward<I extends Specs, O extends Specs>(
  context: Pick<PlanContext, "run">,
  op: OpDefinition<I, O>,
  views: Parameters<PlanContext["run"]>[1],
  scalars: Scalars,
): void {
  const plain = op as unknown as OpDefinition;
  for (const kernel of plain.forward as readonly Kernel[]) context.run(unitOf(plain, kernel), views, scalars);
}
