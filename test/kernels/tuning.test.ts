/** Choices that may be measured: classes, look-up, what there is to measure; and that every variant computes the same. */
import { expect, test } from "vitest";
import { Tensor } from "../../src/autograd/tensor.js";
import { Random } from "../../src/core/random.js";
import type { KernelFacts, Tuning } from "../../src/gpu/runtime.js";
import { Launcher, matmul, matmulInto, type OpDefinition } from "../../src/kernels/index.js";
import { planMatmul, shippedTile } from "../../src/kernels/matmul/matmul_plan.js";
import type { MatmulShape } from "../../src/kernels/matmul/matmul_shape.js";
import { productClass, splitFactor, tileName, tileVariants } from "../../src/kernels/tuning/tuning.js";
import {
  fastest,
  partsAdded,
  splitProblem,
  tileProblem,
  tunedWork,
  tuningOf,
  withChoice,
} from "../../src/kernels/tuning/tuning_search.js";
import { factsOf, LARGE_GPU as gpu } from "../support/facts.js";
import { nullRuntime } from "../support/null_gpu.js";
import { testRuntime } from "../support/runtime.js";

const software: Partial<KernelFacts> = { isSoftware: true, subgroupMinSize: 8, subgroupMaxSize: 8 };
const shape = (layout: string, M: number, N: number, K: number, batch = 1): MatmulShape => ({
  M,
  N,
  K,
  batch,
  transposeA: layout[0] === "t",
  transposeB: layout[1] === "t",
});

test.each<[MatmulShape, Partial<KernelFacts>, string | undefined]>([
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
    tileName(planMatmul(of, factsOf(facts, tuning), "alone").tile);
  expect(planned({})).toBe("64x64x16 4x4");
  expect(planned({ "tile nt medium": "128x128x8 8x8" })).toBe("128x128x8 8x8");
  expect(planned({ "tile nn medium": "128x128x8 8x8" })).toBe("64x64x16 4x4");
  expect(planned({ "tile nt medium": "999x1x1 1x1" })).toBe("64x64x16 4x4");
  expect(planned({ "tile nt medium": "constructor" })).toBe("64x64x16 4x4");
  expect(planned({ "tile nt medium": "32x32" }, software)).toBe("32x32");
  expect(planned({ "tile nt medium": "128x128x8 8x8" }, software)).toBe(planned({}, software));

  const long = shape("tn", 192, 64, 4096);
  const parts = (factor: string) =>
    planMatmul(long, factsOf(gpu, { "split tn small deep": factor }), "joined").parts;
  expect([parts("0"), parts("0.5"), parts("1"), parts("4")]).toEqual([1, 8, 16, 16]);
  expect(splitFactor(long, factsOf(gpu, { "split tn small deep": "1e9" }))).toBe(1);
});

test("products to measure are of different classes, the shipped variant comes first", () => {
  for (const facts of [factsOf(software), factsOf(gpu), factsOf({ ...gpu, maxWorkgroupInvocations: 128 })]) {
    const products = tunedWork(facts).flatMap((work) => ("product" in work ? [work.product] : []));
    expect(new Set(products.map((one) => productClass(one, facts))).size).toBe(products.length);
    for (const one of products) {
      const tile = tileProblem(one, facts);
      expect(tile?.variants[0]).toBe(tileName(shippedTile(one, facts)));
      expect(new Set(tile?.variants).size).toBe(tile?.variants.length);
      // every name leads to the tile that it names
      for (const variant of tile?.variants ?? []) {
        const chosen = planMatmul(one, withChoice(facts, tile?.choice ?? "", variant), "alone");
        expect(tileName(chosen.tile)).toBe(variant);
      }
      const split = splitProblem(one, facts);
      expect(split?.variants[0]).toBe("1");
      const counts = split?.variants.map(
        (factor) => planMatmul(one, withChoice(facts, split.choice, factor), partsAdded(one)).parts,
      );
      expect(new Set(counts).size).toBe(counts?.length);
    }
  }
});

test("small GPUs are offered no tile that they cannot run", () => {
  const one = shape("nn", 1024, 1024, 1024);
  const names = (facts: Partial<KernelFacts>) => tileProblem(one, factsOf({ ...gpu, ...facts }))?.variants;
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

/** A product under some choices. */
async function product(facts: Partial<KernelFacts>, sizes: MatmulShape): Promise<Float32Array> {
  const runtime = await testRuntime(facts);
  const { M, N, K } = sizes;
  const random = Random.of(5, "tuning");
  const draw = (count: number, scale: number) =>
    Float32Array.from({ length: count }, () => scale * random.normal());
  const a = Tensor.from(runtime, draw(M * K, 1));
  const b = Tensor.from(runtime, draw(K * N, K ** -0.5));
  const y = Tensor.empty(runtime, [M, N]);
  const launcher = new Launcher(runtime);
  launcher.runPlan(
    matmul as unknown as OpDefinition,
    (context) => matmulInto(context, { ...sizes, a, b, y }),
    {},
    {},
  );
  const result = (await y.read()) as Float32Array;
  await runtime.dispose();
  return result;
}

function expectAlike(got: Float32Array, expected: Float32Array): void {
  expected.forEach((value, i) => {
    if (!(Math.abs(got[i] - value) <= 2e-4 * (1 + Math.abs(value))))
      expect.fail(`at ${i}: got ${got[i]}, expected ${value}`);
  });
}

// adapters without subgroups run other tiles than those with them
const own = (await testRuntime()).facts;
const lanes = tileVariants(
  shippedTile(shape("nt", 133, 67, 45), { ...own, isSoftware: true }),
  "nt small",
  own,
).map(tileName);
// with the edges of every tile
const VARIANTS: [string, string, boolean][] = [
  ...lanes.flatMap((name) =>
    ["nt", "nn", "tn"].map((layout): [string, string, boolean] => [layout, name, true]),
  ),
  ["nt", "8x64x32 2x4", false],
  ["nn", "128x128x8 8x8", false],
  ["tn", "64x64x8 4x4", false],
];

test.each(VARIANTS)("%s by %s is what the shipped tile computes", async (layout, name, isSoftware) => {
  // SwiftShader is not done within two minutes with the unaligned loads of 8x64x32, 36 in a row
  const sizes = isSoftware ? shape(layout, 133, 67, 45) : shape(layout, 132, 68, 44);
  const tuning = { [`tile ${layout} small`]: name };
  expectAlike(await product({ isSoftware, tuning }, sizes), await product({ isSoftware }, sizes));
});

test.each([
  ["0", true],
  ["4", true],
  ["0.5", false],
])("%s times the parts of a long K add up to the same", async (factor, isSoftware) => {
  const sizes = shape("nt", 40, 36, 1100);
  const tuning = { "split nt small deep": factor };
  expectAlike(await product({ isSoftware, tuning }, sizes), await product({ isSoftware }, sizes));
});

test("shaders of all variants for GPUs compile", async () => {
  const runtime = await nullRuntime({ ...gpu, features: new Set() });
  const tensors = [133 * 67, 133 * 67, 133 * 67].map((size) => Tensor.empty(runtime, [size]));
  const [a, b, y] = tensors;
  const facts = factsOf(gpu);
  const names = ["nt skinny", "nt small", "nt medium", "nt large"].flatMap((name) =>
    tileVariants(shippedTile(shape("nt", 133, 67, 45), facts), name, facts).map(tileName),
  );
  expect(names.length).toBeGreaterThan(15);
  const launcher = new Launcher(runtime);
  for (const name of names)
    for (const layout of ["nt", "nn", "tn"])
      for (const odd of [0, 1]) {
        const chosen = withChoice(facts, `tile ${layout} small`, name);
        const runner = { facts: chosen, run: launcher.run.bind(launcher) };
        matmulInto(runner, { ...shape(layout, 64 + odd, 64 + odd, 44 + odd), a, b, y });
      }
  await runtime.flush();
  expect(runtime.counters.pipelines).toBe(new Set(names).size * 6);
  await runtime.dispose();
});
