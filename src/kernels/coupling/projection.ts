/** Seeded projections of activations and gradients, in the plans of observers. */
import * as shader from "../../../shaders/coupling/projection.js";
import { ArgumentError } from "../../core/errors.js";
import type { ArrayView, KernelUnit } from "../engine/op.js";
import type { KernelRunner } from "../matmul/matmul_into.js";

const ceil = (count: number): number => Math.ceil(count / shader.WORKGROUP);

/** A projection of `columns` numbers to R: entries of mean 0 and variance 1 / R, or the unit matrix where nothing is saved. */
export interface Projection {
  readonly R: number;
  readonly columns: number;
  /** The same key gives the same entries. */
  readonly key: number;
}

const scalars = { key: "u32", is_unit: "u32", size: "f32", R: "u32" } as const;

function sizesOf({ R, columns, key }: Projection) {
  return { key, is_unit: Number(columns <= R), size: 1 / Math.sqrt(R), R };
}

const fillUnit: KernelUnit = {
  op: "coupling",
  scalars: { ...scalars, C: "u32", pitch: "u32", start: "u32", first: "u32" },
  kernel: {
    entry: "projection",
    shader: shader.fill,
    reads: [],
    writes: ["y"],
    workgroups: ({ R, C }) => ceil((R as number) * (C as number)),
  },
};

/** Columns `first` to `first + C` of a projection, at columns `start` and following of y [R, .]. */
export function projectionInto(
  runner: KernelRunner,
  projection: Projection,
  { first, C, start, y }: Readonly<Record<"first" | "C" | "start", number>> & { readonly y: ArrayView },
): void {
  const [rows, pitch] = y.shape as [number, number];
  if (rows !== projection.R)
    throw new ArgumentError(
      `[coupling] projection does not fit: got ${rows} rows, expected ${projection.R}.`,
    );
  runner.run(fillUnit, { y }, { ...sizesOf(projection), C, pitch, start, first });
}

const lookedUpUnit: KernelUnit = {
  op: "coupling",
  scalars: { ...scalars, N: "u32" },
  kernel: {
    entry: "projected_ids",
    shader: shader.lookedUp,
    reads: ["token"],
    writes: ["y"],
    workgroups: ({ N, R }) => ceil((N as number) * (R as number)),
  },
};

/** y[n] = the projection of the unit vector of token[n]. @param token u32 [N], below `columns` @param y [N, R] */
export function projectedIdsInto(
  runner: KernelRunner,
  projection: Projection,
  token: ArrayView,
  y: ArrayView,
): void {
  runner.run(lookedUpUnit, { token, y }, { ...sizesOf(projection), N: token.shape[0] as number });
}

/** Entry of a projection, as the kernels have it. */
export function projectionEntry({ R, columns, key }: Projection, row: number, column: number): number {
  if (columns <= R) return Number(row === column);
  const hash = mixed((column ^ mixed((row ^ key) >>> 0)) >>> 0);
  return (hash >= 0x80000000 ? -1 : 1) / Math.sqrt(R);
}

function mixed(value: number): number {
  let h = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
