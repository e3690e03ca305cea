/** Matrix products in the plans of ops, with what is fused into them. */
import { matmulLanes } from "../../../shaders/matmul/matmul_lanes.js";
import { matmulMatrix, matrixInvocations } from "../../../shaders/matmul/matmul_matrix.js";
import { matmulSum } from "../../../shaders/matmul/matmul_sum.js";
import type { MatmulText } from "../../../shaders/matmul/matmul_text.js";
import { matmulTiles, sharedInvocations } from "../../../shaders/matmul/matmul_tiles.js";
import { ArgumentError } from "../../core/errors.js";
import type { DeviceFacts } from "../../gpu/runtime.js";
import type { ArrayView, Kernel, KernelUnit, OptionalViews, Scalars } from "../engine/op.js";
import { type MatmulPlan, type PartsAdded, planMatmul } from "./matmul_plan.js";
import { isLaneTile, isMatrixTile, type MatmulTile } from "./matmul_shape.js";

/** Anything that launches kernels: a Launcher or the context of a plan. */
export interface KernelRunner {
  readonly facts: DeviceFacts;
  run(unit: KernelUnit, views: OptionalViews, scalars: Scalars, accumulate?: ReadonlySet<string>): void;
  /** Like `run`, for what nothing needs soon. */
  runLate?(unit: KernelUnit, views: OptionalViews, scalars: Scalars, accumulate?: ReadonlySet<string>): void;
  /** Memory for partial sums; without it a product with few tiles and a long K runs on few workgroups. */
  scratch?(name: string, shape: readonly number[]): ArrayView;
}

/**
 * One product y = op(a) op(b), row-major, per batch, and what is fused into it. In order of application: `norm`, `scaleB`,
 * `bias`, `residual`, then `gated` or `gateBackward`.
 */
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
  /**
   * RMS norm of the rows of a: op(a)[m, k] is a[m, k] gain[k] rstd[m], with rstd = 1 / sqrt(mean of a^2 + eps).
   * gain [K]; rstd [M] is written. Not for transposed a, nor in batches.
   */
  readonly norm?: { readonly gain: ArrayView; readonly rstd: ArrayView; readonly eps: number };
  /** op(b)[k, n] is b[k, n] rows[k] columns[n]. Not for transposed b. */
  readonly scaleB?: { readonly rows: ArrayView; readonly columns: ArrayView };
  /** [B, M, N], added. */
  readonly residual?: ArrayView;
  /** Columns 2 f and 2 f + 1 of y are gate and up of f: h [M, N / 2] becomes silu(gate) up. N must be even. */
  readonly gated?: { readonly h: ArrayView };
  /** The product is the gradient of h [M, N]; y [M, 2 N] becomes the gradient of gate_up [M, 2 N], columns as in `gated`. */
  readonly gateBackward?: { readonly gate_up: ArrayView };
  /** Nothing reads y soon, as with gradients of weights: parts of a split K may be added late. */
  readonly isLate?: boolean;
  /** y [M] of its own: the sum over k of op(a)[m, k]. For transposed a only, not in batches. */
  readonly sumA?: { readonly y: ArrayView; readonly accumulate?: boolean };
}

const units = new Map<string, KernelUnit>();

/** How products of one kind and size are computed. */
interface Planned {
  readonly plan: MatmulPlan;
  /** Of the product, or of its parts. */
  readonly product: KernelUnit;
  /** Adds the parts, if there are several. */
  readonly sum: KernelUnit | undefined;
}

/** Plans are worked out once for each adapter: a training step asks for the same few dozen again and again. */
const planned = new WeakMap<DeviceFacts, Map<string, Planned>>();
/** Plans kept, so that batches of sizes without end do not fill the memory. */
const MOST_PLANS = 4096;

/**
 * Launches one matrix product with f32 sums, of f32 factors unless the runtime was opened with another `matmulPrecision`.
 * @param tile for tests of one kernel; default: the one that fits sizes and adapter
 * @throws ArgumentError when what is fused does not fit
 * @remarks the order of every sum depends on sizes and adapter only
 */
export function matmulInto(runner: KernelRunner, product: Matmul, tile?: MatmulTile): void {
  const { a, b, y, M, N, K, batch = 1, norm, scaleB, gated, gateBackward, sumA } = product;
  const { plan, product: unit, sum } = plannedFor(runner, product, product.isLate ? "joined" : "alone", tile);
  const { parts: P, partK: R, tiles: T } = plan;
  const scalars = { B: batch, M, N, K, P, R, T, eps: norm?.eps ?? 0 };
  const k_scale = norm?.gain ?? scaleB?.rows;
  // parts need scratch memory: without it nothing is planned in parts
  const partial = sum && runner.scratch?.("partial", [batch, P, M, N]);
  const row_sums = sum && (norm || sumA) ? runner.scratch?.("row_sums", [batch, P, M]) : undefined;
  // one literal, and absent tensors with it: spreading objects together is the larger part of a launch's host time
  const views = {
    a,
    b,
    k_scale,
    partial,
    row_sums,
    n_scale: scaleB?.columns,
    bias: product.bias,
    residual: product.residual,
    gate_up: gateBackward?.gate_up,
    y,
    h: gated?.h,
    rstd: norm?.rstd,
    d_sum: sumA?.y,
  };
  const accumulate = sumA?.accumulate ? SUM : undefined;
  runner.run(unit, views, scalars, sum ? undefined : accumulate);
  if (!sum) return;
  if (product.isLate && runner.runLate) runner.runLate(sum, views, scalars, accumulate);
  else runner.run(sum, views, scalars, accumulate);
}

/**
 * Launches one plain product for a kernel that adds the parts of a split K itself, in ascending order.
 * @returns y [P, M, N] in scratch memory
 */
export function matmulParts(
  runner: KernelRunner & Required<Pick<KernelRunner, "scratch">>,
  product: PlainProduct,
): ArrayView {
  const { plan, product: unit } = plannedFor(runner, product, "joined");
  const { parts: P, partK: R, tiles: T } = plan;
  const { a, b, M, N, K } = product;
  const y = runner.scratch("parts", [P, M, N]);
  runner.run(unit, { a, b, y, partial: y }, { B: 1, M, N, K, P, R, T, eps: 0 });
  return y;
}

/** A product with nothing fused into it. */
type PlainProduct = Pick<Matmul, "a" | "b" | "M" | "N" | "K" | "transposeA" | "transposeB">;
/** What a plan depends on. */
type PlannedProduct = Omit<Matmul, "y">;

const SUM: ReadonlySet<string> = new Set(["d_sum"]);

function plannedFor(
  runner: KernelRunner,
  product: PlannedProduct,
  added: Exclude<PartsAdded, "never">,
  tile?: MatmulTile,
): Planned {
  const adding = runner.scratch ? added : "never";
  if (tile) return planFor(product, runner.facts, adding, tile);
  let known = planned.get(runner.facts);
  if (!known) {
    known = new Map();
    planned.set(runner.facts, known);
  }
  const { M, N, K, batch = 1, transposeA, transposeB, accumulate } = product;
  const { bias, residual, norm, scaleB, gated, gateBackward, sumA } = product;
  const fused = [bias, residual, norm, scaleB, gated, gateBackward, sumA];
  let key = `${M},${N},${K},${batch},${adding}`;
  for (const flag of [transposeA, transposeB, accumulate]) key += flag ? 1 : 0;
  for (const one of fused) key += one ? 1 : 0;
  let plan = known.get(key);
  if (!plan) {
    plan = planFor(product, runner.facts, adding);
    if (known.size >= MOST_PLANS) known.clear();
    known.set(key, plan);
  }
  return plan;
}

function planFor(
  product: PlannedProduct,
  facts: DeviceFacts,
  adding: PartsAdded,
  tile?: MatmulTile,
): Planned {
  checkFusion(product);
  const { M, N, K, batch = 1, transposeA = false, transposeB = false } = product;
  const { norm, scaleB, gated, gateBackward, sumA } = product;
  const rowSums = norm !== undefined || sumA !== undefined;
  const plan = planMatmul({ M, N, K, batch, transposeA, transposeB, rowSums }, facts, adding, tile);
  const text: MatmulText = {
    ...plan.layout,
    ...(rowSums && { rowSum: norm ? "squares" : "values" }),
    ...((gated || gateBackward) && { gate: gated ? "forward" : "backward" }),
    kScale: norm !== undefined || scaleB !== undefined,
    nScale: scaleB !== undefined,
    bias: product.bias !== undefined,
    residual: product.residual !== undefined,
    output: product.accumulate ? "add" : "y",
  };
  if (plan.parts === 1) return { plan, product: productUnit(plan.tile, text), sum: undefined };
  const sum = sumUnit(text, sumInvocations(plan.tile));
  return { plan, product: productUnit(plan.tile, { ...text, output: "partial" }), sum };
}

function checkFusion({ N, batch = 1, transposeA, transposeB, ...fused }: PlannedProduct): void {
  const rules: readonly (readonly [boolean, string, string])[] = [
    [fused.norm !== undefined && transposeA === true, "norm with transposed a", "a [M, K]"],
    [fused.sumA !== undefined && transposeA !== true, "sumA with a [M, K]", "transposed a"],
    [fused.scaleB !== undefined && transposeB === true, "scaleB with transposed b", "b [K, N]"],
    [fused.scaleB !== undefined && fused.norm !== undefined, "scaleB and norm", "one of them"],
    [fused.gated !== undefined && fused.gateBackward !== undefined, "gated and gateBackward", "one of them"],
    [fused.gated !== undefined && N % 2 !== 0, `gated with N = ${N}`, "an even N: gate and up of each f"],
    [
      (fused.norm ?? fused.sumA) !== undefined && batch > 1,
      `norm or sumA with ${batch} batches`,
      "one batch",
    ],
  ];
  const broken = rules.find(([isBroken]) => isBroken);
  if (broken)
    throw new ArgumentError(
      `[matmul] what is fused does not fit: got ${broken[1]}, expected ${broken[2]}. Launch it by itself.`,
    );
}

const SCALARS = { B: "u32", M: "u32", N: "u32", K: "u32", P: "u32", R: "u32", T: "u32", eps: "f32" } as const;

function unitOf(key: string, kernel: () => Kernel): KernelUnit {
  let unit = units.get(key);
  if (!unit) {
    unit = { op: "matmul", scalars: SCALARS, kernel: kernel() };
    units.set(key, unit);
  }
  return unit;
}

function productUnit(tile: MatmulTile, text: MatmulText): KernelUnit {
  const isPart = text.output === "partial";
  return unitOf(JSON.stringify([tile, text]), () => ({
    entry: `${text.transposeA ? "t" : "n"}${text.transposeB ? "t" : "n"}`,
    shader: () => {
      if (isLaneTile(tile)) return matmulLanes(tile, text);
      return isMatrixTile(tile) ? matmulMatrix(tile, text) : matmulTiles(tile, text);
    },
    reads: ["a", "b", "k_scale", ...(isPart ? [] : EPILOGUE_READS)],
    writes: isPart ? ["partial", "row_sums"] : epilogueWrites(text),
    elements: () => elementsOf(text),
    workgroups: ({ T, P }) => T * P,
  }));
}

/** As many as the product's own on a GPU, so that the sum can share a dispatch with the next products. */
function sumInvocations(tile: MatmulTile): number {
  if (isLaneTile(tile)) return 64;
  return isMatrixTile(tile) ? matrixInvocations(tile) : sharedInvocations(tile);
}

function sumUnit(text: MatmulText, invocations: number): KernelUnit {
  return unitOf(`sum ${invocations} ${JSON.stringify(text)}`, () => ({
    entry: "sum",
    shader: () => matmulSum(text, invocations),
    reads: ["partial", "row_sums", ...EPILOGUE_READS],
    writes: epilogueWrites(text),
    elements: () => elementsOf(text),
    workgroups: ({ B, M, N }) => Math.ceil((B * M * Math.ceil(N / 4)) / invocations),
  }));
}

const EPILOGUE_READS = ["n_scale", "bias", "residual", "gate_up"] as const;

const epilogueWrites = ({ rowSum }: MatmulText): string[] => [
  "y",
  "h",
  ...(rowSum ? [rowSum === "squares" ? "rstd" : "d_sum"] : []),
];

function elementsOf({ vectorA, vectorB, vectorY, tail }: MatmulText): Record<string, string> {
  const of = (vector: boolean) => (vector ? "vec4<f32>" : "f32");
  const columns = ["n_scale", "bias", "residual", "gate_up", "partial", "y"];
  return {
    ...Object.fromEntries(columns.map((name) => [name, of(vectorY)])),
    a: of(vectorA),
    b: of(vectorB),
    k_scale: of(!tail),
  };
}
