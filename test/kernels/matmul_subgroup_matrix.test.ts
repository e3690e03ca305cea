/** Products by matrix hardware, as far as they can be tested without: choice, compilation, the arithmetic of split f16. */
import { f16round } from "@petamoriken/float16";
import { afterAll, describe, expect, test, vi } from "vitest";
import { LEAST_HIGH, SPLIT_SCALE } from "../../shaders/matmul/matmul_subgroup_matrix.js";
import { Tape } from "../../src/autograd/tape.js";
import { Tensor } from "../../src/autograd/tensor.js";
import { Random } from "../../src/core/random.js";
import type { MatrixConfig } from "../../src/gpu/device_facts.js";
import type { KernelFacts, MatmulPrecision } from "../../src/gpu/runtime.js";
import { findMatrixMistake, matrixProducts } from "../../src/host/gpu/matrix_self_test.js";
import { Launcher, matmul, matmulInto } from "../../src/kernels/index.js";
import { planMatmul } from "../../src/kernels/matmul/matmul_plan.js";
import { isMatrixTile } from "../../src/kernels/matmul/matmul_shape.js";
import { matrixTiles } from "../../src/kernels/matmul/matrix_plan.js";
import { type FusedProduct, fusedMistake } from "../support/fused_product.js";
import { withoutMatrixHardware } from "../support/matrix_shim.js";
import { halfPrecision, needing } from "../support/needs.js";
import { nullRuntime } from "../support/null_gpu.js";
import { testRuntime } from "../support/runtime.js";

// users of lavapipe never get these kernels: Mesa leaves out the passes that make machine code faster, which halves the time
process.env.GALLIVM_PERF = "nopt";

const config = (M: number, N: number, K: number, from = "f16", to = "f32"): MatrixConfig => ({
  componentType: from,
  resultComponentType: to,
  M,
  N,
  K,
});
const CONFIGS = [
  config(16, 8, 8),
  config(16, 16, 16),
  config(16, 16, 16, "f16", "f16"),
  config(16, 16, 32, "i8", "i32"),
];

/** What a large GPU says of itself. */
const gpuFacts = (precision: MatmulPrecision, more: Partial<KernelFacts> = {}): Partial<KernelFacts> => ({
  isSoftware: false,
  subgroupMinSize: 32,
  subgroupMaxSize: 32,
  features: new Set(["shader-f16", "subgroups", "chromium-experimental-subgroup-matrix"]),
  maxWorkgroupInvocations: 1024,
  maxWorkgroupBytes: 49_152,
  matrixConfigs: CONFIGS,
  matmulPrecision: precision,
  tuning: {},
  ...more,
});
const factsOf = (precision: MatmulPrecision, more?: Partial<KernelFacts>) =>
  gpuFacts(precision, more) as KernelFacts;
const shape = (M: number, N: number, K: number, batch = 1) => ({
  M,
  N,
  K,
  batch,
  transposeA: false,
  transposeB: false,
});

/** `rows x columns x depth of a matrix tile`, or undefined for another kernel. */
function chosen(sizes: ReturnType<typeof shape>, facts: KernelFacts): string | undefined {
  const { tile } = planMatmul(sizes, facts, "alone");
  return isMatrixTile(tile)
    ? `${tile.tileM}x${tile.tileN}x${tile.tileK}${tile.split ? " split" : ""}`
    : undefined;
}

test.each([
  // asked for, and worth it
  [shape(2048, 2048, 2048), factsOf("f16"), "128x128x32"],
  [shape(2048, 2048, 2048), factsOf("split_f16"), "128x128x16 split"],
  [shape(512, 512, 512), factsOf("f16"), "64x64x32"],
  [shape(512, 512, 512), factsOf("split_f16"), "64x64x32 split"],
  [shape(128, 128, 64, 128), factsOf("f16"), "128x128x32"],
  [shape(33, 65, 17), factsOf("f16"), "64x64x32"],
  [shape(2048, 2048, 2048), factsOf("f16", { maxWorkgroupBytes: 16_384 }), "64x64x32"],
  [shape(2048, 2048, 2048), factsOf("f16", { maxWorkgroupInvocations: 128 }), "64x64x32"],
  [shape(512, 512, 512), factsOf("f16", { matrixConfigs: [config(8, 8, 8)] }), "64x64x32"],
  [
    shape(512, 512, 512),
    factsOf("split_f16", { maxWorkgroupBytes: 24_576, matrixConfigs: [config(16, 16, 16)] }),
    "64x64x16 split",
  ],
  // not asked for
  [shape(2048, 2048, 2048), factsOf("f32"), undefined],
  // too small
  [shape(16, 2048, 2048), factsOf("f16"), undefined],
  [shape(2048, 31, 2048), factsOf("f16"), undefined],
  [shape(2048, 2048, 8), factsOf("f16"), undefined],
  // not on this adapter
  [shape(2048, 2048, 2048), factsOf("f16", { matrixConfigs: [] }), undefined],
  [shape(2048, 2048, 2048), factsOf("f16", { matrixConfigs: CONFIGS.slice(2) }), undefined],
  [shape(2048, 2048, 2048), factsOf("f16", { matrixConfigs: [config(16, 64, 16)] }), undefined],
  [shape(2048, 2048, 2048), factsOf("f16", { subgroupMinSize: 16 }), undefined],
  [shape(2048, 2048, 2048), factsOf("f16", { subgroupMinSize: 0, subgroupMaxSize: 0 }), undefined],
  [shape(2048, 2048, 2048), factsOf("f16", { features: new Set(["subgroups"]) }), undefined],
  [shape(2048, 2048, 2048), factsOf("f16", { maxWorkgroupBytes: 8192 }), undefined],
])("%o is computed by the tile that fits", (sizes, facts, expected) => {
  expect(chosen(sizes, facts)).toBe(expected);
});

test("the largest matrix shape is taken, and few tiles split a long K", () => {
  const plan = planMatmul(shape(64, 64, 4096), factsOf("f16"), "joined");
  expect(plan.tile).toMatchObject({ matrix: { M: 16, N: 16, K: 16 }, subgroupSize: 32 });
  expect(plan).toMatchObject({ tiles: 1, parts: 16, partK: 256 });
});

const runtime = await nullRuntime(gpuFacts("f32"));
const small = await nullRuntime({
  ...gpuFacts("f16", { maxWorkgroupBytes: 16_384, maxWorkgroupInvocations: 256 }),
});
afterAll(() => Promise.all([runtime.dispose(), small.dispose()]));

/** The WGSL of every tile and output, with and without bias. */
function generate(
  precision: MatmulPrecision,
  matrix: MatrixConfig,
  sizes: ReturnType<typeof shape>,
): string[] {
  const facts = factsOf(precision, { matrixConfigs: [matrix] });
  const { M, N, K, batch } = sizes;
  const get = vi.spyOn(runtime.pipelines, "get");
  const launcher = new Launcher(runtime);
  const tensors = [M * K, K * N, M * N, N, 16 * M * N].map((size) => Tensor.empty(runtime, [batch * size]));
  const [a, b, y, bias, parts] = tensors;
  for (const tile of matrixTiles(facts)) {
    const runner = { facts, run: launcher.run.bind(launcher) };
    matmulInto(runner, { ...sizes, a, b, y }, tile);
    matmulInto(runner, { ...sizes, a, b, y, bias, accumulate: true }, tile);
    matmulInto({ ...runner, scratch: () => parts }, { ...sizes, a, b, y, bias }, tile);
  }
  const codes = new Set(get.mock.calls.map(([, code]) => code));
  get.mockRestore();
  for (const tensor of tensors) tensor.release();
  return [...codes].filter((code) => code.includes("subgroupMatrixLoad"));
}

describe.each(["f16", "split_f16"] as const)("shaders of %s compile", (precision) => {
  test.each([config(16, 16, 16), config(16, 8, 16), config(16, 8, 8), config(8, 8, 8), config(8, 16, 16)])(
    "by matrices %o",
    async (matrix) => {
      for (const transposeA of [false, true])
        for (const transposeB of [false, true])
          for (const odd of [0, 1]) {
            const sizes = { ...shape(20 + odd, 24 + odd, 512 + odd), transposeA, transposeB };
            const codes = generate(precision, matrix, sizes);
            expect(codes).toHaveLength(6);
            for (const code of codes) {
              const module = runtime.device.createShaderModule({ code });
              const { messages } = await module.getCompilationInfo();
              expect(
                messages.map(({ lineNum, message }) => [message, code.split("\n")[lineNum - 1]]),
              ).toEqual([]);
            }
          }
    },
  );
});

/** All that can be fused. Sums over rows that are not aligned are left to other kernels, see `oddRowSums`. */
const FUSED: readonly FusedProduct[] = [
  { M: 68, N: 36, K: 44, transposeB: true, fused: ["norm", "gated", "bias"] },
  { M: 68, N: 36, K: 41, transposeA: true, fused: ["scaleB", "sumA"] },
  { M: 67, N: 35, K: 41, fused: ["gateBackward"] },
];

test("fused products are valid", async () => {
  const launcher = new Launcher(small);
  const get = vi.spyOn(small.pipelines, "get");
  for (const product of FUSED) {
    // computes nothing on the null backend
    expect(await fusedMistake(launcher, product)).toBeDefined();
  }
  const labels = get.mock.calls.filter(([, code]) => code.includes("subgroupMatrixLoad"));
  get.mockRestore();
  expect(labels.map(([label]) => label)).toEqual(["matmul.nt", "matmul.tn", "matmul.nn"]);
});

test("pipelines, bindings and launches of chosen tiles are valid", async () => {
  const launcher = new Launcher(small);
  const tape = new Tape(launcher);
  const a = Tensor.from(small, new Float32Array(2 * 70 * 36), [2, 70, 36], { requiresGrad: true });
  const b = Tensor.from(small, new Float32Array(2 * 36 * 44), [2, 36, 44], { requiresGrad: true });
  const get = vi.spyOn(small.pipelines, "get");
  const { y } = tape.apply(matmul, { a, b }, {});
  tape.backward([[y, Tensor.from(small, new Float32Array(2 * 70 * 44), [2, 70, 44])]]);
  await small.flush();
  const pipelines = get.mock.calls.filter(([, code]) => code.includes("subgroupMatrixLoad"));
  // both gradients share a dispatch
  expect(pipelines.map(([label]) => label)).toEqual(["matmul.nn", "matmul.nt + matmul.tn"]);
});

/** What the kernel does to one product: both factors split, three products, sums in f32 left out. */
function splitProduct(a: number, b: number): number {
  const split = (x: number) => {
    const bits = new Uint32Array(Float32Array.of(x).buffer)[0] + 0x1000;
    const rounded = new Float32Array(Uint32Array.of(bits & 0xffffe000).buffer)[0];
    const kept = Math.abs(rounded) >= LEAST_HIGH ? rounded : 0;
    return [f16round(kept), f16round((x - kept) * SPLIT_SCALE)];
  };
  const [aHigh, aLow] = split(a);
  const [bHigh, bLow] = split(b);
  return aHigh * bHigh + (aHigh * bLow + aLow * bHigh) / SPLIT_SCALE;
}

test.each([1, 2 ** -10, 1000])("split f16 keeps 21 bits of products of numbers around %f", (scale) => {
  const random = Random.of(3);
  let worst = 0;
  let worstHalf = 0;
  for (let i = 0; i < 20_000; i++) {
    const [a, b] = [0, 1].map(() => Math.fround(scale * (1 + random.uniform())));
    worst = Math.max(worst, Math.abs(splitProduct(a, b) / (a * b) - 1));
    worstHalf = Math.max(worstHalf, Math.abs((f16round(a) * f16round(b)) / (a * b) - 1));
  }
  expect(worst).toBeLessThan(2 ** -20.9);
  expect(worst).toBeGreaterThan(2 ** -24);
  expect(worstHalf).toBeGreaterThan(2 ** -11);
});

test("what is too large for f16 becomes not finite, what is too small keeps 11 bits", () => {
  expect(Number.isFinite(splitProduct(1e5, 1))).toBe(false);
  for (const x of [2 ** -14 - 2 ** -30, 2 ** -15, -3e-6, 1.234e-7]) {
    expect(Math.abs(splitProduct(x, 1) / x - 1)).toBeLessThanOrEqual(2 ** -12);
    expect(Math.abs(f16round(x) - x)).toBeLessThanOrEqual(2 ** -25);
  }
  expect(Math.abs(splitProduct(1e-9, 1) - 1e-9)).toBeLessThanOrEqual(2 ** -36);
});

const own = await testRuntime();
const hasHardware = (["f16", "split_f16"] as const).every(
  (matmulPrecision) => matrixTiles({ ...own.facts, matmulPrecision }).length > 0,
);

for (const matmulPrecision of ["f16", "split_f16"] as const) {
  // lavapipe has f16 but no matrices: its kernels get plain WGSL in their place. SwiftShader has not even f16
  needing(halfPrecision(own.facts.features)).test(
    `products of ${matmulPrecision} are right by emulated matrices`,
    async () => {
      const emulated = await testRuntime(
        gpuFacts(matmulPrecision, {
          features: own.facts.features,
          // too few for the larger tile
          maxWorkgroupInvocations: 128,
          maxWorkgroupBytes: own.facts.maxWorkgroupBytes,
          matrixConfigs: [config(16, 16, 16)],
        }),
      );
      const get = emulated.pipelines.get.bind(emulated.pipelines);
      vi.spyOn(emulated.pipelines, "get").mockImplementation((label, code, accesses) =>
        get(label, withoutMatrixHardware(code, 32), accesses),
      );
      // drivers for CPUs take many seconds to compile each
      const products = matrixProducts().filter(
        ({ M, transposeB, inParts }) => (M === 67 && transposeB) || (inParts && matmulPrecision === "f16"),
      );
      expect(products).toHaveLength(matmulPrecision === "f16" ? 2 : 1);
      expect(await findMatrixMistake(emulated, products)).toBeUndefined();
      const [norm, sum] = FUSED;
      const fused = matmulPrecision === "f16" ? norm : sum;
      const tolerance = matmulPrecision === "f16" ? 2e-3 : 2e-5;
      expect(await fusedMistake(new Launcher(emulated), fused, undefined, tolerance)).toBeUndefined();
    },
  );

  if (hasHardware)
    test(`products of ${matmulPrecision} are right by the adapter's matrices`, async () => {
      expect(await findMatrixMistake(await testRuntime({ matmulPrecision }))).toBeUndefined();
    });
}
