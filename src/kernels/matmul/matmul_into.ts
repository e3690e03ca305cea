/** Matrix products in the plans of ops, with what is fused into them. */
import { matmulLanes } from "../../../shaders/matmul/matmul_lanes.js";
import { matmulPanel } from "../../../shaders/matmul/matmul_panel.js";
import { matmulSubgroupMatrix, matrixInvocations } from "../../../shaders/matmul/matmul_subgroup_matrix.js";
import { matmulSum } from "../../../shaders/matmul/matmul_sum.js";
import type { MatmulLayout, MatmulText } from "../../../shaders/matmul/matmul_text.js";
import { matmulTiles, sharedInvocations } from "../../../shaders/matmul/matmul_tiles.js";
import { ArgumentError } from "../../core/errors.js";
import type { KernelFacts } from "../../gpu/runtime.js";
import type { ArrayView, Kernel, KernelUnit, OptionalViews, Scalars } from "../engine/op.js";
import { type MatmulPlan, type PartsAdded, planMatmul } from "./matmul_plan.js";
import { independentPieces, isInPieces, type Matmul, summandPieces } from "./matmul_product.js";
import { isLaneTile, isMatrixTile, isPanelTile, type MatmulTile } from "./matmul_shape.js";

/** Anything that launches kernels: a Launcher or the context of a plan. */
export interface KernelRunner {
  readonly facts: KernelFacts;
  run(unit: KernelUnit, views: OptionalViews, scalars: Scalars, accumulate?: ReadonlySet<string>): void;
  /** Like `run`, for what nothing needs soon. */
  runLate?(unit: KernelUnit, views: OptionalViews, scalars: Scalars, accumulate?: ReadonlySet<string>): void;
  /** Memory for partial sums; without it a product with few tiles and a long K runs on few workgroups. */
  scratch?(name: string, shape: readonly number[]): ArrayView;
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
const planned = new WeakMap<KernelFacts, Map<string, Planned>>();
/** Plans kept, so that batches of sizes without end do not fill the memory. */
const MOST_PLANS = 4096;

/**
 * Launches one matrix product with f32 sums, of f32 factors unless the runtime was opened with another `matmulPrecision`.
 * @param tile for tests of one kernel; default: the one that fits sizes and adapter
 * @throws ArgumentError when what is fused does not fit
 * @remarks the order of every sum depends on sizes and adapter only
 */
export function matmulInto(runner: KernelRunner, product: Matmul, tile?: MatmulTile): void {
  if (isInPieces(product)) {
    launchPieces(runner, product);
    return;
  }
  const { a, b, y, M, N, K, batch = 1, norm, scaleB, gated, gateBackward, sumA, piece } = product;
  const { plan, product: unit, sum } = plannedFor(runner, product, product.isLate ? "joined" : "alone", tile);
  const { parts: P, partK: R, tiles: T } = plan;
  const pitches = piece && { pitch_a: piece.pitchA, pitch_y: piece.pitchY, first_part: 0 };
  const scalars = { B: batch, M, N, K, P, R, T, eps: norm?.eps ?? 0, ...pitches };
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
  if (product.b.pieces) return launchSummands(runner, product);
  const { plan, product: unit } = plannedFor(runner, product, "joined");
  const { parts: P, partK: R, tiles: T } = plan;
  const { a, b, M, N, K } = product;
  const y = runner.scratch("parts", [P, M, N]);
  runner.run(unit, { a, b, y, partial: y }, { B: 1, M, N, K, P, R, T, eps: 0 });
  return y;
}

/** A product of which a factor, or the result, lies in pieces. @throws ArgumentError where no op asks for it */
function launchPieces(runner: KernelRunner, product: Matmul): void {
  const { a, b, y, transposeA, transposeB, batch = 1, scaleB, gateBackward } = product;
  const isOpen = transposeB
    ? gateBackward === undefined && scaleB === undefined
    : runner.scratch !== undefined;
  if (a.pieces || batch > 1 || (y.pieces ? b.pieces || !transposeA : transposeA || !isOpen)) {
    throw new ArgumentError(
      "[matmul] a matrix larger than what the adapter can bind stands where it cannot be split: expected a weight, or the gradient of one, in one batch. Use an adapter with a larger limit.",
    );
  }
  if (y.pieces || transposeB) {
    for (const part of independentPieces(product)) matmulInto(runner, part);
    return;
  }
  const partial = launchSummands(runner as Required<KernelRunner>, product);
  const [P = 0] = partial.shape;
  const { M, N, K } = product;
  const shape = { M, N, K, batch: 1, transposeA: false, transposeB: false };
  const { tile, layout } = planMatmul(shape, runner.facts, "never");
  const sum = sumUnit(textOf(product, layout), sumInvocations(tile));
  const { bias, residual } = product;
  const views = { partial, bias, residual, gate_up: gateBackward?.gate_up, n_scale: scaleB?.columns, y };
  runner.run(sum, views, { B: 1, M, N, K, P, R: 0, T: 0, eps: 0 });
}

/** The products with the pieces of b [K, N], each in one part or several. @returns all parts [P, M, N] in scratch memory */
function launchSummands(
  runner: KernelRunner & Required<Pick<KernelRunner, "scratch">>,
  product: PlainProduct & Pick<Matmul, "scaleB">,
): ArrayView {
  const { M, N } = product;
  const pieces = summandPieces(product).map((piece) => {
    const shape = { M, N, K: piece.K, batch: 1, transposeA: false, transposeB: false, pitchA: product.K };
    return { piece, plan: planMatmul(shape, runner.facts, "joined") };
  });
  const parts = pieces.reduce((sum, { plan }) => sum + plan.parts, 0);
  const partial = runner.scratch("partial", [parts, M, N]);
  let first_part = 0;
  for (const { piece, plan } of pieces) {
    const { a, b, K, scaleB } = piece;
    const text: MatmulText = { ...textOf(piece, plan.layout), output: "partial", isPiece: true };
    const scalars = { B: 1, M, N, K, P: plan.parts, R: plan.partK, T: plan.tiles, eps: 0 };
    const views = { a, b, k_scale: scaleB?.rows, partial };
    runner.run(productUnit(plan.tile, text), views, {
      ...scalars,
      pitch_a: product.K,
      pitch_y: N,
      first_part,
    });
    first_part += plan.parts;
  }
  return partial;
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
  const { bias, residual, norm, scaleB, gated, gateBackward, sumA, piece } = product;
  const fused = [bias, residual, norm, scaleB, gated, gateBackward, sumA];
  let key = `${M},${N},${K},${batch},${adding}`;
  for (const flag of [transposeA, transposeB, accumulate]) key += flag ? 1 : 0;
  for (const one of fused) key += one ? 1 : 0;
  if (piece) key += `,${piece.pitchA % 4},${piece.pitchY % 4}`;
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
  facts: KernelFacts,
  adding: PartsAdded,
  tile?: MatmulTile,
): Planned {
  checkFusion(product);
  const { M, N, K, batch = 1, transposeA = false, transposeB = false, norm, sumA, piece } = product;
  const rowSums = norm !== undefined || sumA !== undefined;
  const shape = { M, N, K, batch, transposeA, transposeB, rowSums, ...piece };
  const plan = planMatmul(shape, facts, adding, tile);
  const text = textOf(product, plan.layout);
  if (plan.parts === 1) return { plan, product: productUnit(plan.tile, text), sum: undefined };
  const sum = sumUnit(text, sumInvocations(plan.tile));
  return { plan, product: productUnit(plan.tile, { ...text, output: "partial" }), sum };
}

function textOf(product: Omit<Matmul, "y">, layout: MatmulLayout): MatmulText {
  const { norm, scaleB, gated, gateBackward, sumA } = product;
  return {
    ...layout,
    ...((norm || sumA) && { rowSum: norm ? "squares" : "values" }),
    ...((gated || gateBackward) && { gate: gated ? "forward" : "backward" }),
    kScale: norm !== undefined || scaleB !== undefined,
    nScale: scaleB !== undefined,
    bias: product.bias !== undefined,
    residual: product.residual !== undefined,
    output: product.accumulate ? "add" : "y",
    ...(product.piece && { isPiece: true }),
  };
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

/** What pieces of a product have beside. */
const PIECE_SCALARS = { ...SCALARS, pitch_a: "u32", pitch_y: "u32", first_part: "u32" } as const;

function unitOf(key: string, { isPiece }: MatmulText, kernel: () => Kernel): KernelUnit {
  let unit = units.get(key);
  if (!unit) {
    unit = { op: "matmul", scalars: isPiece ? PIECE_SCALARS : SCALARS, kernel: kernel() };
    units.set(key, unit);
  }
  return unit;
}

function productUnit(tile: MatmulTile, text: MatmulText): KernelUnit {
  const isPart = text.output === "partial";
  return unitOf(JSON.stringify([tile, text]), text, () => ({
    entry: `${text.transposeA ? "t" : "n"}${text.transposeB ? "t" : "n"}`,
    shader: () => {
      if (isPanelTile(tile)) return matmulPanel(tile, text);
      if (isLaneTile(tile)) return matmulLanes(tile, text);
      return isMatrixTile(tile) ? matmulSubgroupMatrix(tile, text) : matmulTiles(tile, text);
    },
    reads: ["a", "b", "k_scale", ...(isPart ? [] : EPILOGUE_READS)],
    writes: isPart ? ["partial", "row_sums"] : epilogueWrites(text),
    elements: () => elementsOf(text),
    workgroups: ({ T, P }) => T * P,
  }));
}

/** As many as the product's own on a GPU, so that the sum can share a dispatch with the next products. */
function sumInvocations(tile: MatmulTile): number {
  if (isLaneTile(tile) || isPanelTile(tile)) return 64;
  return isMatrixTile(tile) ? matrixInvocations(tile) : sharedInvocations(tile);
}

function sumUnit(text: MatmulText, invocations: number): KernelUnit {
  return unitOf(`sum ${invocations} ${JSON.stringify(text)}`, text, () => ({
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
