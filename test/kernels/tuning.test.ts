/** Choices that may be measured: classes, look-up, what there is to measure; and that every variant computes the same. */
import { describe, expect, test } from "vitest";
import { Tape } from "../../src/autograd/tape.js";
import { Tensor } from "../../src/autograd/tensor.js";
import { Random } from "../../src/core/random.js";
import type { DeviceFacts, Tuning } from "../../src/gpu/runtime.js";
import { Launcher, matmul } from "../../src/kernels/index.js";
import { type MatmulShape, planMatmul, shippedTile } from "../../src/kernels/matmul_plan.js";
import { productClass, splitFactor, tileName, tileVariants } from "../../src/kernels/tuning.js";
import {
  fastest,
  splitProblem,
  tileProblem,
  tunedProducts,
  tuningOf,
  withChoice,
} from "../../src/kernels/tuning_search.js";
import { testRuntime } from "../support/runtime.js";

const software: Partial<DeviceFacts> = { isSoftware: true, subgroupMinSize: 8, subgroupMaxSize: 8 };
const gpu: Partial<DeviceFacts> = {
  isSoftware: false,
  subgroupMinSize: 32,
  subgroupMaxSize: 32,
  maxWorkgroupInvocations: 1024,
  maxWorkgroupBytes: 49_152,
};
const factsOf = (facts: Partial<DeviceFacts>, tuning: Tuning = {}) =>
  ({ matmulPrecision: "f32", matrixConfigs: [], features: new Set(), ...facts, tuning }) as DeviceFacts;
const shape = (layout: string, M: number, N: number, K: number, batch = 1): MatmulShape => ({
  M,
  N,
  K,
  batch,
  transposeA: layout[0] === "t",
  transposeB: layout[1] === "t",
});

test.each<[MatmulShape, Partial<DeviceFacts>, string | undefined]>([
  [shape("nt", 1, 896, 896), gpu, "nt skinny"],
  [shape("nt", 16, 896, 896), gpu, "nt skinny"],
  [shape("nn", 16, 896, 896), gpu, undefined],
  [shape("nt", 16, 896, 896), software, undefined],
  [shape("nt", 17, 896, 896), gpu, undefined],
  [shape("nt", 33, 33, 1023), gpu, "nt small"],
  [shape("tn", 33, 33, 1024), gpu, "tn small deep"],
  [shape("nn", 33, 32, 64), gpu, undefined],
  [shape("nn", 512, 512, 64), gpu, "nn medium"],
  [shape("nn", 64, 64, 64, 64), gpu, "nn medium"],
  [shape("nn", 2048, 1024, 64), gpu, "nn large"],
  [shape("nn", 2048, 1024, 64), software, "nn medium"],
  [shape("tt", 2048, 1024, 64), gpu, undefined],
])("%o belongs to its class", (sizes, facts, expected) => {
  expect(productClass(sizes, factsOf(facts))).toBe(expected);
});

test("a plan takes what won for its class, and what it does not know runs as shipped", () => {
  const sizes = shape("nt", 1024, 1024, 1024);
  const planned = (tuning: Tuning, facts = gpu, of = sizes) =>
    tileName(planMatmul(of, factsOf(facts, tuning), true).tile);
  expect(planned({})).toBe("64x64x16 4x4");
  expect(planned({ "tile nt medium": "128x128x8 8x8" })).toBe("128x128x8 8x8");
  expect(planned({ "tile nn medium": "128x128x8 8x8" })).toBe("64x64x16 4x4");
  expect(planned({ "tile nt medium": "999x1x1 1x1" })).toBe("64x64x16 4x4");
  expect(planned({ "tile nt medium": "constructor" })).toBe("64x64x16 4x4");
  expect(planned({ "tile nt medium": "32x32" }, software)).toBe("32x32");
  expect(planned({ "tile nt medium": "128x128x8 8x8" }, software)).toBe(planned({}, software));

  const long = shape("tn", 192, 64, 4096);
  const parts = (factor: string) =>
    planMatmul(long, factsOf(gpu, { "split tn small deep": factor }), true).parts;
  expect([parts("0"), parts("0.5"), parts("1"), parts("4")]).toEqual([1, 8, 16, 16]);
  expect(splitFactor(long, factsOf(gpu, { "split tn small deep": "1e9" }))).toBe(1);
});

test("products to measure are of different classes, the shipped variant comes first", () => {
  for (const facts of [factsOf(software), factsOf(gpu), factsOf({ ...gpu, maxWorkgroupInvocations: 128 })]) {
    const products = tunedProducts(facts);
    expect(new Set(products.map((one) => productClass(one, facts))).size).toBe(products.length);
    for (const one of products) {
      const tile = tileProblem(one, facts);
      expect(tile?.variants[0]).toBe(tileName(shippedTile(one, facts)));
      expect(new Set(tile?.variants).size).toBe(tile?.variants.length);
      // every name leads to the tile that it names
      for (const variant of tile?.variants ?? []) {
        const chosen = planMatmul(one, withChoice(facts, tile?.choice ?? "", variant), true);
        expect(tileName(chosen.tile)).toBe(variant);
      }
      const split = splitProblem(one, facts);
      expect(split?.variants[0]).toBe("1");
      const counts = split?.variants.map(
        (factor) => planMatmul(one, withChoice(facts, split.choice, factor), true).parts,
      );
      expect(new Set(counts).size).toBe(counts?.length);
    }
  }
});

test("small GPUs are offered no tile that they cannot run", () => {
  const one = shape("nn", 1024, 1024, 1024);
  const names = (facts: Partial<DeviceFacts>) => tileProblem(one, factsOf({ ...gpu, ...facts }))?.variants;
  expect(names({})).toContain("128x128x8 8x8");
  expect(names({ maxWorkgroupInvocations: 128 })).toEqual(["32x32x16 4x4"]);
  expect(names({ maxWorkgroupBytes: 8000 })).not.toContain("128x128x8 8x8");
});

test("a variant has to save a share of the shipped time", () => {
  expect(fastest([1, 0.96, 0.97])).toBe(0);
  expect(fastest([1, 0.96, 0.9])).toBe(2);
  expect(fastest([1, Number.POSITIVE_INFINITY])).toBe(0);
  const result = { shape: "", shippedMs: 1, chosenMs: 1, dropped: {} };
  expect(
    tuningOf([
      { ...result, choice: "tile nt small", shipped: "a", chosen: "b" },
      { ...result, choice: "tile nn small", shipped: "a", chosen: "a" },
    ]),
  ).toEqual({ "tile nt small": "b" });
});

/** Output and gradients of a product whose three matmuls all belong to tuned classes. */
async function product(facts: Partial<DeviceFacts>, sizes: MatmulShape): Promise<Float32Array[]> {
  const runtime = await testRuntime(facts);
  const tape = new Tape(new Launcher(runtime));
  const { M, N, K } = sizes;
  const random = Random.of(5, "tuning");
  const draw = (count: number, scale: number) =>
    Float32Array.from({ length: count }, () => scale * random.normal());
  const a = Tensor.from(runtime, draw(M * K, 1), [1, M, K], { requiresGrad: true });
  const b = Tensor.from(runtime, draw(K * N, K ** -0.5), [1, N, K], { requiresGrad: true });
  const { y } = tape.apply(matmul, { a, b }, { transpose_b: 1 });
  tape.backward([[y, Tensor.from(runtime, draw(M * N, M ** -0.5), [1, M, N])]]);
  const results = [];
  for (const tensor of [y, a.grad, b.grad]) results.push((await tensor?.read()) as Float32Array);
  await runtime.dispose();
  return results;
}

// unaligned, with the edges of every tile
const edges = shape("nt", 133, 67, 45);
// adapters without subgroups run other tiles than those with them
const own = (await testRuntime()).facts;

describe.each([
  ["for CPU adapters", { isSoftware: true }],
  ["for GPUs", { isSoftware: false }],
] as const)("variants %s", (_, family) => {
  const facts = { ...own, ...family } as DeviceFacts;
  const shipped = shippedTile(edges, facts);
  const names = new Set(
    ["nt small", "nt medium", "nt large", "nt skinny"].flatMap((name) =>
      tileVariants(shipped, name, facts).map(tileName),
    ),
  );

  test.each([...names])("%s computes what the shipped tile does", async (name) => {
    const tuning = Object.fromEntries(["nt", "nn", "tn"].map((layout) => [`tile ${layout} small`, name]));
    const expected = await product(family, edges);
    const got = await product({ ...family, tuning }, edges);
    for (const [i, values] of expected.entries())
      for (let j = 0; j < values.length; j++)
        if (!(Math.abs(got[i][j] - values[j]) <= 2e-4 * (1 + Math.abs(values[j]))))
          expect.fail(`result ${i} at ${j}: got ${got[i][j]}, expected ${values[j]}`);
  });

  test.each(["0", "4"])("%s times the parts of a long K add up to the same", async (factor) => {
    const sizes = shape("nt", 40, 36, 1100);
    const expected = await product(family, sizes);
    const got = await product({ ...family, tuning: { "split nt small deep": factor } }, sizes);
    expected[0].forEach((value, j) => {
      expect(Math.abs(got[0][j] - value)).toBeLessThanOrEqual(2e-4 * (1 + Math.abs(value)));
    });
  });
});
