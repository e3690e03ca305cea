/** Measures one declared op at all its shapes, after its results were held against its float64 reference. */
import type { Launcher } from "../src/kernels/engine/launch.js";
import type { OpDefinition, ReferenceArrays } from "../src/kernels/engine/op.js";
import type { BenchRow } from "../src/report/bench_rows.js";
import type { Effort, Work } from "./measure.js";
import { backwardMismatch, checkedPart, forwardMismatch } from "./op_check.js";
import { type OpShape, opShapes, type ShapeScale, shapeLabel } from "./op_shapes.js";
import { drawInputs, inputScalars, type OpenOp, openOp } from "./open_op.js";
import { type Contestant, type Entry, race } from "./race.js";

export interface OpBench {
  readonly launcher: Launcher;
  readonly adapter: string;
  readonly effort: Effort;
  readonly scale: ShapeScale;
  /** Whether rows of this shape are wanted. */
  readonly wants: (shape: string) => boolean;
}

/** Other libraries' entries for the forward rows of an op at one shape. */
export type OpRivals = (shape: OpShape, inputs: ReferenceArrays) => readonly Entry[];

/** Rows of one op at all its shapes: forward, with rivals where there are any, and backward where it has kernels. */
export async function benchOp(bench: OpBench, op: OpDefinition, rivals?: OpRivals): Promise<BenchRow[]> {
  const shapes = opShapes(op, bench.scale);
  if (shapes.length === 0) {
    const error = "no shape to measure it at: it has integer inputs, so add one to bench/op_shapes.ts";
    const row = { op: op.name, implementation: "uncouple", dtype: "f32", adapter: bench.adapter };
    return [{ ...row, direction: "forward", shape: "", error }];
  }
  const rows: BenchRow[] = [];
  for (const shape of shapes.filter((one) => bench.wants(shapeLabel(one)))) {
    rows.push(...(await benchShape(bench, op, shape, rivals)));
  }
  return rows;
}

async function benchShape(
  { launcher, adapter, effort }: OpBench,
  op: OpDefinition,
  shape: OpShape,
  rivals?: OpRivals,
): Promise<BenchRow[]> {
  const head = { op: op.name, shape: shapeLabel(shape), dtype: "f32", adapter };
  const inputs = drawInputs(op, shape);
  let open: OpenOp | undefined;
  const part = checkedPart(op, shape, inputs);
  // forward's contestant opens the op, backward's goes on with it: forward's saved tensors are there then
  const opened = () => (open ??= openOp(launcher, op, inputs));
  const cost = shape.cost ?? op.cost(inputScalars(op, inputs, launcher.facts));
  const forward = async (): Promise<Contestant> => {
    const own = opened();
    return {
      work: own.forward,
      check: async () => {
        await own.forward.run(1);
        return forwardMismatch(op, own, part);
      },
      figures: () => launchFigures(launcher, own.forward),
      release: () => {},
    };
  };
  const backward = async (): Promise<Contestant> => {
    const own = opened();
    const work = own.backward as Work;
    return {
      work,
      check: () => backwardMismatch(op, own, part),
      figures: () => launchFigures(launcher, work),
      release: () => {},
    };
  };
  try {
    const entries = [
      { implementation: "uncouple", open: forward },
      ...(rivals?.(shape, inputs.arrays) ?? []),
    ];
    const rows = await race({ ...head, direction: "forward" }, entries, cost.forward, effort);
    if (!open?.backward || !cost.backward || rows[0].error) return rows;
    const own = [{ implementation: "uncouple", open: backward }];
    rows.push(...(await race({ ...head, direction: "backward" }, own, cost.backward, effort)));
    return rows;
  } finally {
    open?.release();
  }
}

/** Kernel launches of one call. */
export async function launchFigures({ runtime }: Launcher, work: Work): Promise<Partial<BenchRow>> {
  const before = runtime.counters.dispatches;
  await work.run(1);
  return { dispatches: runtime.counters.dispatches - before };
}
