import { matmul as matmulText } from "../../shaders/matmul.js";
import type { ArrayView, KernelUnit, Scalars } from "./op.js";

/** Anything that launches kernels: a Launcher or the context of a plan. */
export interface KernelRunner {
  run(
    unit: KernelUnit,
    views: Readonly<Record<string, ArrayView>>,
    scalars: Scalars,
    accumulate?: ReadonlySet<string>,
  ): void;
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
const ACCUMULATE: ReadonlySet<string> = new Set(["d_y"]);

/** Launches one matrix product. The output is bound as `d_y` to get the accumulating store. */
export function matmulInto(runner: KernelRunner, product: Matmul): void {
  const { a, b, y, M, N, K, batch = 1, transposeA = false, transposeB = false, bias } = product;
  const key = `${transposeA},${transposeB}`;
  let unit = units.get(key);
  if (!unit) {
    unit = {
      op: "matmul",
      scalars: { B: "u32", M: "u32", N: "u32", K: "u32" },
      kernel: {
        entry: `${transposeA ? "t" : "n"}${transposeB ? "t" : "n"}`,
        shader: ({ has }) => matmulText({ transposeA, transposeB, bias: has("bias") }),
        reads: ["a", "b", "bias"],
        writes: ["d_y"],
        workgroups: ({ B, M, N }) => Math.ceil((B * M * N) / 64),
      },
    };
    units.set(key, unit);
  }
  const views: Record<string, ArrayView> = { a, b, d_y: y };
  if (bias) views.bias = bias;
  runner.run(unit, views, { B: batch, M, N, K }, product.accumulate ? ACCUMULATE : undefined);
}
