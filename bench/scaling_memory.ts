/** Memory of attention over the length of a sequence, and of the vocabulary head over the vocabulary. */

import type { Launcher } from "../src/kernels/engine/launch.js";
import { attention, linearLogProb, type OpDefinition } from "../src/kernels/index.js";
import type { BenchRow } from "../src/report/bench_rows.js";
import { peaksDuring } from "./memory.js";
import { backwardMismatch, checkedPart, forwardMismatch } from "./op_check.js";
import { type Dimensions, type OpShape, shapeLabel, shapesIn } from "./op_shapes.js";
import { drawInputs, type OpenOp, openOp } from "./open_op.js";

/** An op at one size. */
export interface MemoryPoint {
  readonly op: OpDefinition;
  readonly axis: "T" | "vocabulary";
  readonly size: number;
  readonly shape: OpShape;
  readonly label: string;
  /** Results are held against the reference where that takes no minutes: at the smallest size. */
  readonly isChecked: boolean;
}

const LENGTHS = {
  quick: [64, 128, 256],
  software: [256, 512, 1024, 2048, 4096],
  hardware: [1024, 2048, 4096, 8192, 16_384],
};
/** From 8,192 on, where the logits of 512 rows fill a tile. */
const VOCABULARIES = {
  quick: [8192, 16_384, 32_768],
  software: [8192, 16_384, 32_768, 65_536],
  hardware: [8192, 16_384, 32_768, 65_536, 131_072],
};

/** Points of both ops by ascending size: one sequence of T tokens, and 512 rows against V. */
export function memoryPoints(quick: boolean, isSoftware: boolean): MemoryPoint[] {
  const scale = quick ? "quick" : isSoftware ? "software" : "hardware";
  const [H, Kv, D] = isSoftware || quick ? [4, 2, 16] : [16, 8, 64];
  // narrow: neither memory beyond the inputs depends on it, and the vocabulary's weight is no smaller than V C
  const C = quick ? 4 : isSoftware ? 32 : 256;
  const model: Dimensions = { name: "", N: 512, T: 512, C: H * D, H, Kv, D, F: 3 * H * D, V: 512 };
  return [
    ...LENGTHS[scale].map((T, index) => pointOf(attention, "T", T, { ...model, N: T, T }, index)),
    ...VOCABULARIES[scale].map((V, index) =>
      pointOf(linearLogProb, "vocabulary", V, { ...model, C, V }, index),
    ),
  ];
}

function pointOf(
  op: unknown,
  axis: MemoryPoint["axis"],
  size: number,
  model: Dimensions,
  index: number,
): MemoryPoint {
  const definition = op as OpDefinition;
  const [shape] = shapesIn(definition, model);
  const label = `${definition.name}: ${shapeLabel(shape)}`;
  return { op: definition, axis, size, shape, label, isChecked: index === 0 };
}

/** The row of one point: forward and backward run once, in memory that is counted. */
export async function benchMemoryPoint(
  launcher: Launcher,
  adapter: string,
  { op, axis, size, shape, label, isChecked }: MemoryPoint,
): Promise<BenchRow> {
  const { buffers } = launcher.runtime;
  const inputs = drawInputs(op, shape);
  const given = new Set(Object.keys(inputs.arrays).flatMap((name) => [name, `d_${name}`]));
  let open: OpenOp | undefined;
  let error: string | undefined;
  const groups = { all: () => true, working: (name: string) => !given.has(name) };
  try {
    const { all, working } = await peaksDuring(buffers, groups, async () => {
      open = openOp(launcher, op, inputs);
      await open.forward.run(1);
      await open.backward?.run(1);
    });
    if (open && isChecked) {
      const part = checkedPart(op, shape, inputs);
      // backward may have overwritten what forward saved for it
      await open.forward.run(1);
      error = (await forwardMismatch(op, open, part)) ?? (await backwardMismatch(op, open, part));
    }
    const figures = error === undefined ? { bytesPeak: all, workingBytes: working } : { error };
    const head = {
      op: "scaling",
      direction: "step" as const,
      implementation: "uncouple",
      dtype: "f32",
      adapter,
    };
    return { ...head, shape: label, subject: op.name, axis, size, ...figures };
  } finally {
    open?.release();
    await launcher.runtime.trim();
  }
}
