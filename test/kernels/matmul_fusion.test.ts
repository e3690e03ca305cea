/** What is fused into matrix products, beyond what the ops that use it reach: parts of a split K, addition, tiles of GPUs. */
import { describe, expect, test } from "vitest";
import type { SharedTile } from "../../shaders/matmul/matmul_tiles.js";
import { Tensor } from "../../src/autograd/tensor.js";
import type { KernelFacts } from "../../src/gpu/runtime.js";
import { Launcher, matmulInto } from "../../src/kernels/index.js";
import { planMatmul } from "../../src/kernels/matmul/matmul_plan.js";
import { isPanelTile } from "../../src/kernels/matmul/matmul_shape.js";
import { type FusedProduct, fusedMistake } from "../support/fused_product.js";
import { testRuntime } from "../support/runtime.js";

const own = new Launcher(await testRuntime());
const gpu = new Launcher(await testRuntime({ isSoftware: false }));

const nt = { transposeB: true };
const tn = { transposeA: true };

/** The edges of vec4 and of tiles; K of 516 is split. */
const PRODUCTS: readonly FusedProduct[] = [
  { M: 5, N: 12, K: 516, ...nt, fused: ["norm", "bias", "residual"] },
  { M: 3, N: 6, K: 517, ...nt, accumulate: true, fused: ["norm", "gated"] },
  { M: 33, N: 34, K: 35, fused: ["norm", "gated", "residual"] },
  { M: 7, N: 8, K: 516, accumulate: true, fused: ["gateBackward"] },
  { M: 17, N: 5, K: 7, fused: ["gateBackward", "bias"] },
  { M: 9, N: 12, K: 515, ...tn, fused: ["scaleB", "sumAadded"] },
  { M: 12, N: 13, K: 516, ...tn, accumulate: true, fused: ["scaleB", "sumA"] },
  { M: 19, N: 33, K: 36, ...tn, ...nt, fused: ["sumA", "residual"] },
  // enough tiles for the tall ones of CPU adapters
  { M: 67, N: 165, K: 129, accumulate: true, fused: ["scaleB", "bias"] },
  { M: 68, N: 164, K: 132, ...nt, fused: ["norm", "gated"] },
  { M: 68, N: 164, K: 132, ...tn, fused: ["scaleB", "sumA"] },
];

/** K may be all of a panel, end within one, and be cut into parts. */
const PANELS: readonly FusedProduct[] = [
  { M: 64, N: 36, K: 64, ...nt, fused: ["norm", "bias", "gated"] },
  { M: 70, N: 33, K: 61, ...nt, accumulate: true, fused: ["norm", "residual"] },
  { M: 70, N: 33, K: 61, ...tn, accumulate: true, fused: ["scaleB", "sumA"] },
  { M: 5, N: 8, K: 63, fused: ["gateBackward"] },
  { M: 65, N: 34, K: 65, ...nt, fused: ["norm", "gated"] },
  { M: 66, N: 31, K: 66, accumulate: true, fused: ["scaleB"] },
  { M: 130, N: 9, K: 196, ...tn, fused: ["sumAadded", "bias"] },
  { M: 77, N: 12, K: 1030, ...tn, fused: ["scaleB", "sumA"] },
  { M: 77, N: 12, K: 1028, ...nt, fused: ["norm", "gated", "residual"] },
  { M: 300, N: 5, K: 9, ...tn, ...nt, fused: ["residual"] },
  // rows of A whose distance in memory lets four of them be loaded at once
  { M: 512, N: 9, K: 71, ...tn, accumulate: true, fused: ["scaleB", "sumA"] },
];

const panelsOf = (M: number, N: number, facts: Partial<KernelFacts> = {}) => {
  const shape = { M, N, K: 64, batch: 1, transposeA: false, transposeB: true };
  return isPanelTile(planMatmul(shape, { ...own.runtime.facts, ...facts }, "never").tile);
};

test("CPU adapters take panels where rows pay for loading them and all cores have work", () => {
  const cpu = { isSoftware: true, subgroupMinSize: 8, subgroupMaxSize: 8 };
  expect(panelsOf(64, 128, cpu)).toBe(true);
  expect(panelsOf(256, 32, cpu)).toBe(true);
  expect(panelsOf(64, 96, cpu)).toBe(false);
  expect(panelsOf(63, 2048, cpu)).toBe(false);
  expect(panelsOf(256, 256, { ...cpu, subgroupMinSize: 4 })).toBe(false);
  expect(panelsOf(256, 256, { ...cpu, isSoftware: false })).toBe(false);
});

test.runIf(panelsOf(256, 256)).each(PANELS)("in panels: %o", async (product) => {
  // rows of one workgroup, and of several
  for (const mostRows of [192, 24]) {
    const tile = { lanes: own.runtime.facts.subgroupMinSize, depth: 64, isWhole: product.K <= 64, mostRows };
    expect(await fusedMistake(own, product, tile)).toBeUndefined();
  }
});

describe.each([
  ["the adapter's own", own],
  ["the GPU", gpu],
] as const)("by kernels of %s family", (_family, launcher) => {
  test.each(PRODUCTS)("%o", async (product) => {
    expect(await fusedMistake(launcher, product)).toBeUndefined();
  });
});

/** Shapes that the choice for a size, or an autotuner, may take. */
const TILES: readonly SharedTile[] = [
  { tileM: 64, tileN: 128, tileK: 16, ownM: 8, ownN: 4, unroll: 1 },
  { tileM: 64, tileN: 64, tileK: 8, ownM: 4, ownN: 4, unroll: 2 },
  { tileM: 128, tileN: 128, tileK: 8, ownM: 8, ownN: 8, unroll: 1 },
  { tileM: 16, tileN: 64, tileK: 8, ownM: 4, ownN: 4, unroll: 1 },
  { tileM: 32, tileN: 32, tileK: 8, ownM: 4, ownN: 4, unroll: 4 },
];

test.each(TILES)("a tile of %o computes norms and sums", async (tile) => {
  const norm: FusedProduct = { M: 130, N: 132, K: 36, ...nt, fused: ["norm"] };
  const sum: FusedProduct = { M: 132, N: 130, K: 37, ...tn, fused: ["scaleB", "sumA"] };
  expect(await fusedMistake(gpu, norm, tile)).toBeUndefined();
  expect(await fusedMistake(gpu, sum, tile)).toBeUndefined();
});

test("what cannot be fused is refused", () => {
  const view = Tensor.empty(own.runtime, [64]);
  const plain = { a: view, b: view, y: view, M: 4, N: 4, K: 4 };
  const norm = { gain: view, rstd: view, eps: 0 };
  const scaleB = { rows: view, columns: view };
  for (const [fused, message] of [
    [{ gated: { h: view }, N: 3 }, "gated with N = 3, expected an even N"],
    [{ norm, ...tn }, "norm with transposed a"],
    [{ norm, batch: 2 }, "2 batches"],
    [{ norm, scaleB }, "scaleB and norm"],
    [{ scaleB, ...nt }, "scaleB with transposed b"],
    [{ sumA: { y: view } }, "expected transposed a"],
    [{ gated: { h: view }, gateBackward: { gate_up: view } }, "gated and gateBackward"],
  ] as const)
    expect(() => matmulInto(own, { ...plain, ...fused })).toThrow(message);
  view.release();
});
