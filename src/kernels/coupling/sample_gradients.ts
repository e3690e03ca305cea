/** Per-sample gradients of gains and of looked-up rows, in the plans of observers; those of matrices: matmul/matmul_segments.ts. */
import * as shader from "../../../shaders/coupling/sample_gradients.js";
import type { ArrayView, KernelUnit } from "../engine/op.js";
import type { GainGradient, LookupGradient } from "../engine/weight_gradient.js";
import type { KernelRunner } from "../matmul/matmul_into.js";

const ceil = (count: number): number => Math.ceil(count / shader.WORKGROUP);
const widthOf = (C: number): 1 | 4 => (C % 4 === 0 ? 4 : 1);
const typeOf = (width: number | undefined): string => (width === 4 ? "vec4<f32>" : "f32");

const gainUnit: KernelUnit = {
  op: "coupling",
  scalars: { S: "u32", N: "u32", C: "u32", P: "u32" },
  kernel: {
    entry: "gain",
    constants: ["width"],
    shader: ({ constants, has }) => shader.gain(typeOf(constants.width), has("input")),
    reads: ["gradient", "input", "factor", "offsets"],
    writes: ["sums"],
    elements: ({ constants }) =>
      Object.fromEntries(["gradient", "input", "sums"].map((name) => [name, typeOf(constants.width)])),
    workgroups: ({ S, C }) => ceil((S as number) * (C as number)),
  },
};

/** x[s] = gradient of a gain from the rows of sample s. @param offsets u32 [S + 1], rows of each sample @param x [S, C] */
export function gainBySampleInto(
  runner: KernelRunner,
  { gradient, input, rows: factor, N, C }: GainGradient,
  offsets: ArrayView,
  x: ArrayView,
): void {
  const width = widthOf(C);
  const P = gradient.shape.length === 3 ? (gradient.shape[0] as number) : 1;
  const views = { gradient, input, factor, offsets, sums: x };
  runner.run(gainUnit, views, { S: x.shape[0] as number, N, C: C / width, P, width });
}

/** x[s] = sum of the rows of sample s of gradient [N, C]: the gradient of a bias. @param x [S, C] */
export function biasBySampleInto(
  runner: KernelRunner,
  gradient: ArrayView,
  offsets: ArrayView,
  x: ArrayView,
): void {
  const [N, C] = gradient.shape as [number, number];
  const width = widthOf(C);
  const sizes = { S: x.shape[0] as number, N, C: C / width, P: 1, width };
  runner.run(gainUnit, { gradient, offsets, sums: x }, sizes);
}

const lookupUnit: KernelUnit = {
  op: "coupling",
  scalars: { S: "u32", U: "u32", C: "u32", R: "u32", first: "u32" },
  kernel: {
    entry: "lookup",
    constants: ["width", "adds"],
    shader: ({ constants, has }) =>
      shader.lookup(typeOf(constants.width), has("place"), constants.adds === 1),
    reads: ["gradient", "order", "pair_start", "place"],
    writes: ["sums"],
    elements: ({ constants }) =>
      Object.fromEntries(["gradient", "sums"].map((name) => [name, typeOf(constants.width)])),
    workgroups: ({ S, U, C }) => ceil((S as number) * (U as number) * (C as number)),
  },
};

export interface SampleLookup {
  /** u32 [U S + 1]: where the places in `order` of looked-up row u and sample s begin, all s of u = 0 first. */
  readonly pairStart: ArrayView;
  /** Looked-up rows `first` to `first + count`. */
  readonly first: number;
  readonly count: number;
  /** [S, R C]. Looked-up row u goes to row u - first, or to row place[u] where that is given. */
  readonly x: ArrayView;
  readonly place?: ArrayView | undefined;
  /** Add to x instead of overwriting it. */
  readonly adds: boolean;
}

/** Per-sample gradients of looked-up rows. */
export function lookupBySampleInto(
  runner: KernelRunner,
  { gradient, order, C }: LookupGradient,
  { pairStart: pair_start, first, count: U, x, place, adds }: SampleLookup,
): void {
  const width = widthOf(C);
  const [S, pitch] = x.shape as [number, number];
  const views = { gradient, order, pair_start, place, sums: x };
  const sizes = { S, U, C: C / width, R: pitch / C, first, adds: Number(adds) };
  runner.run(lookupUnit, views, { ...sizes, width });
}

const pickUnit: KernelUnit = {
  op: "coupling",
  scalars: { N: "u32", U: "u32", W: "u32", first: "u32" },
  kernel: {
    entry: "pick_columns",
    shader: shader.pickColumns,
    reads: ["z", "id"],
    writes: ["picked"],
    workgroups: ({ N, U }) => ceil((N as number) * (U as number)),
  },
};

/** picked [N, U]: columns id[u] of what is seen of it in z [N, W], whose columns begin at `first`; others stay as they are. */
export function pickColumnsInto(
  runner: KernelRunner,
  { z, id, picked }: Readonly<Record<"z" | "id" | "picked", ArrayView>>,
  first: number,
): void {
  const [N, W] = z.shape as [number, number];
  runner.run(pickUnit, { z, id, picked }, { N, U: id.shape[0] as number, W, first });
}

const maskUnit: KernelUnit = {
  op: "coupling",
  scalars: { N: "u32", W: "u32", first: "u32" },
  kernel: {
    entry: "mask_columns",
    shader: shader.maskColumns,
    reads: ["z", "used"],
    writes: ["masked"],
    workgroups: ({ N, W }) => ceil((N as number) * (W as number)),
  },
};

/** masked [N, W]: z with zeros in the columns w with used[first + w]. */
export function maskColumnsInto(
  runner: KernelRunner,
  { z, used, masked }: Readonly<Record<"z" | "used" | "masked", ArrayView>>,
  first: number,
): void {
  const [N, W] = z.shape as [number, number];
  runner.run(maskUnit, { z, used, masked }, { N, W, first });
}
