/** Matrix products: `matmulInto` for the plans of other ops, and the op `matmul`. */
import { type MatmulText, matmulLanes } from "../../shaders/matmul_lanes.js";
import { matmulMatrix } from "../../shaders/matmul_matrix.js";
import { matmulSum } from "../../shaders/matmul_sum.js";
import { matmulTiles } from "../../shaders/matmul_tiles.js";
import { ArgumentError } from "../core/errors.js";
import type { DeviceFacts } from "../gpu/runtime.js";
import { columnSumInto } from "./column_sum.js";
import { isLaneTile, isMatrixTile, type MatmulPlan, type MatmulTile, planMatmul } from "./matmul_plan.js";
import {
  type ArrayView,
  defineOp,
  f32,
  type Kernel,
  type KernelUnit,
  optional,
  type Scalars,
  u32Param,
} from "./op.js";

/** Anything that launches kernels: a Launcher or the context of a plan. */
export interface KernelRunner {
  readonly facts: DeviceFacts;
  run(
    unit: KernelUnit,
    views: Readonly<Record<string, ArrayView>>,
    scalars: Scalars,
    accumulate?: ReadonlySet<string>,
  ): void;
  /** Memory for partial sums; without it a product with few tiles and a long K runs on few workgroups. */
  scratch?(name: string, shape: readonly number[]): ArrayView;
}

/** One product y = op(a) op(b) (+ bias), row-major, per batch. */
export interface Matmul {
  /** [B, M, K], or [B, K, M] when `transposeA`. */
  readonly a: ArrayView;
  /** [B, K, N], or [B, N, K] when `transposeB`. */
  readonly b: ArrayView;
  /** [B, M, N]. */
  readonly y: ArrayView;
  readonly M: number;
  readonly N: number;
  readonly K: number;
  /** Default 1. */
  readonly batch?: number;
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  /** [N], added to every row. */
  readonly bias?: ArrayView;
  /** Add to y instead of overwriting it. */
  readonly accumulate?: boolean;
}

const units = new Map<string, KernelUnit>();

/**
 * Launches one matrix product with f32 sums, of f32 factors unless the runtime was opened with another `matmulPrecision`.
 * @param tile for tests of one kernel; default: the one that fits sizes and adapter
 * @remarks the order of every sum depends on sizes and adapter only
 */
export function matmulInto(runner: KernelRunner, product: Matmul, tile?: MatmulTile): void {
  const { a, b, y, M, N, K, batch = 1, transposeA = false, transposeB = false, bias } = product;
  const plan = planMatmul(
    { M, N, K, batch, transposeA, transposeB },
    runner.facts,
    runner.scratch !== undefined,
    tile,
  );
  const { parts: P, partK: R, tiles } = plan;
  const scalars = { B: batch, M, N, K, P, R, T: tiles };
  const added: Record<string, ArrayView> = bias ? { bias } : {};
  const output = product.accumulate ? "add" : "y";
  const partial = P > 1 ? runner.scratch?.("partial", [batch, P, M, N]) : undefined;
  if (partial) {
    runner.run(productUnit(plan, "partial"), { a, b, partial }, scalars);
    runner.run(sumUnit(plan, output), { partial, ...added, y }, scalars);
  } else {
    runner.run(productUnit(plan, output), { a, b, ...added, y }, scalars);
  }
}

function unitOf(key: string, kernel: () => Kernel): KernelUnit {
  let unit = units.get(key);
  if (!unit) {
    const size = "u32" as const;
    const scalars = { B: size, M: size, N: size, K: size, P: size, R: size, T: size };
    unit = { op: "matmul", scalars, kernel: kernel() };
    units.set(key, unit);
  }
  return unit;
}

function productUnit({ tile, layout }: MatmulPlan, output: MatmulText["output"]): KernelUnit {
  return unitOf(JSON.stringify([tile, layout, output]), () => ({
    entry: `${layout.transposeA ? "t" : "n"}${layout.transposeB ? "t" : "n"}`,
    shader: ({ has }) => {
      const text = { ...layout, output, bias: has("bias") };
      if (isLaneTile(tile)) return matmulLanes(tile, text);
      return isMatrixTile(tile) ? matmulMatrix(tile, text) : matmulTiles(tile, text);
    },
    reads: ["a", "b", "bias"],
    writes: [output === "partial" ? "partial" : "y"],
    elements: () => {
      const y = element(layout.vectorY);
      return { a: element(layout.vectorA), b: element(layout.vectorB), bias: y, partial: y, y };
    },
    workgroups: ({ T, P }) => T * P,
  }));
}

function sumUnit({ layout: { vectorY } }: MatmulPlan, output: MatmulText["output"]): KernelUnit {
  const y = element(vectorY);
  return unitOf(`sum ${y} ${output}`, () => ({
    entry: "sum",
    shader: ({ has }) => matmulSum({ vectorY, output, bias: has("bias") }),
    reads: ["partial", "bias"],
    writes: ["y"],
    elements: () => ({ partial: y, bias: y, y }),
    workgroups: ({ B, M, N }) => Math.ceil((B * M * N) / (vectorY ? 256 : 64)),
  }));
}

const element = (vector: boolean): string => (vector ? "vec4<f32>" : "f32");

/**
 * Batched product y = op(a) op(b) + bias, where op transposes the last two axes when the param says so.
 * a is [B, M, K], or [B, K, M] with transpose_a = 1; b is [B, K, N], or [B, N, K] with transpose_b = 1.
 * @source ours
 */
export const matmul = defineOp({
  name: "matmul",
  inputs: { a: f32("B A1 A2"), b: f32("B B1 B2"), bias: optional(f32("N")) },
  outputs: { y: f32("B M N") },
  params: { transpose_a: u32Param(0), transpose_b: u32Param(0) },
  derived: ["M", "N", "K"],
  derive: ({ A1, A2, B1, B2, N: biasSize, transpose_a, transpose_b }) => {
    const [M, K] = transpose_a ? [A2, A1] : [A1, A2];
    const [N, rows] = transpose_b ? [B1, B2] : [B2, B1];
    if (rows !== K || (biasSize !== undefined && biasSize !== N)) {
      throw new ArgumentError(
        `[matmul] sizes do not fit: got a [${A1}, ${A2}], b [${B1}, ${B2}]${biasSize === undefined ? "" : `, bias [${biasSize}]`} with transpose_a = ${transpose_a}, transpose_b = ${transpose_b}, expected one K in a and b, and one N in b and bias. Check the shapes and the transpositions.`,
      );
    }
    return { M, N, K };
  },
  forward: (context) => {
    const { a, b, bias, y } = context.views;
    matmulInto(context, { a, b, bias, y, ...productOf(context.scalars) });
  },
  backward: (context) => {
    const { a, b, d_y, d_a, d_b, d_bias } = context.views;
    const { batch, M, N, K, transposeA, transposeB } = productOf(context.scalars);
    const add = (name: string) => context.accumulate.has(name);
    if (d_a) {
      const shared = { batch, y: d_a, accumulate: add("d_a") };
      matmulInto(
        context,
        transposeA
          ? { ...shared, a: b, b: d_y, transposeA: transposeB, transposeB: true, M: K, N: M, K: N }
          : { ...shared, a: d_y, b, transposeB: !transposeB, M, N: K, K: N },
      );
    }
    if (d_b) {
      const shared = { batch, y: d_b, accumulate: add("d_b") };
      matmulInto(
        context,
        transposeB
          ? { ...shared, a: d_y, b: a, transposeA: true, transposeB: transposeA, M: N, N: K, K: M }
          : { ...shared, a, b: d_y, transposeA: !transposeA, M: K, N, K: M },
      );
    }
    if (d_bias) columnSumInto(context, d_y, d_bias, batch * M, N, add("d_bias"));
  },
  reference: ({ a, b, bias }, scalars) => {
    const { batch, M, N, K, transposeA, transposeB } = productOf(scalars);
    const y = new Float64Array(batch * M * N);
    for (let i = 0; i < y.length; i++) {
      const n = i % N;
      const m = Math.floor(i / N) % M;
      const start = Math.floor(i / (N * M)) * K;
      let sum = bias ? bias[n] : 0;
      for (let k = 0; k < K; k++) {
        const left = transposeA ? a[(start + k) * M + m] : a[start * M + m * K + k];
        const right = transposeB ? b[start * N + n * K + k] : b[(start + k) * N + n];
        sum += left * right;
      }
      y[i] = sum;
    }
    return { y };
  },
  cost: ({ B, M, N, K }) => ({
    forward: { flops: 2 * B * M * N * K, bytes: 4 * B * (M * K + K * N + M * N) },
    backward: { flops: 4 * B * M * N * K, bytes: 8 * B * (M * K + K * N + M * N) },
  }),
});

function productOf({ B, M, N, K, transpose_a, transpose_b }: Scalars) {
  return { batch: B, M, N, K, transposeA: transpose_a === 1, transposeB: transpose_b === 1 };
}
