/** The benchmark's own parts, without a GPU. */
import { expect, test } from "vitest";
import { attentionMismatch } from "../../bench/attention.js";
import { normals } from "../../bench/draws.js";
import { productMismatch, productsFor } from "../../bench/matmul.js";
import { checkedPart } from "../../bench/op_check.js";
import { opShapes, type ShapeScale, shapeLabel } from "../../bench/op_shapes.js";
import { drawInputs, inputScalars } from "../../bench/open_op.js";
import { type Contestant, race } from "../../bench/race.js";
import { lossMismatch } from "../../bench/training_step.js";
import { DeviceError } from "../../src/core/errors.js";
import type { KernelFacts } from "../../src/gpu/runtime.js";
import { allOps, attention, byteLength, linear, type OpDefinition } from "../../src/kernels/index.js";

const facts = (isSoftware: boolean, maxBindingBytes: number): KernelFacts => ({
  vendor: "v",
  architecture: "a",
  device: "d",
  description: "",
  isSoftware,
  subgroupMinSize: 0,
  subgroupMaxSize: 0,
  features: new Set(),
  maxBindingBytes,
  maxWorkgroupInvocations: 256,
  maxWorkgroupBytes: 16_384,
  maxStorageBuffers: 8,
  storageOffsetAlignment: 256,
  matrixConfigs: [],
  matmulPrecision: "f32",
  tuning: {},
});
const scales: [string, ShapeScale][] = [
  ["quick", { quick: true, facts: facts(true, 2 ** 27) }],
  ["software", { quick: false, facts: facts(true, 2 ** 27) }],
  ["GPU", { quick: false, facts: facts(false, 2 ** 31 - 4) }],
];
const ops = allOps().filter(({ name }) => name !== "matmul");

test.each(ops.map((op) => [op.name, op] as const))(
  "%s has shapes on every adapter, and they fit",
  (_, op) => {
    for (const [, scale] of scales) {
      const shapes = opShapes(op, scale);
      expect(shapes.length).toBeGreaterThan(0);
      expect(new Set(shapes.map(shapeLabel)).size).toBe(shapes.length);
      for (const { sizes, without } of shapes) {
        for (const [name, { axes }] of Object.entries(op.inputs)) {
          if (without?.includes(name)) continue;
          const shape = axes.map((axis) => sizes[axis] ?? Number(axis));
          expect(byteLength(shape)).toBeLessThanOrEqual(scale.facts.maxBindingBytes);
        }
      }
    }
  },
);

test.each(ops.map((op) => [op.name, op] as const))("inputs of %s can be drawn and bound", (_, op) => {
  const [[, scale]] = scales;
  for (const shape of opShapes(op, scale)) {
    const inputs = drawInputs(op, shape);
    const scalars = inputScalars(op, inputs, scale.facts);
    const costs = shape.cost ?? op.cost(scalars);
    expect(costs.forward.bytes).toBeGreaterThan(0);
    for (const values of Object.values(inputs.arrays)) expect(values.every(Number.isFinite)).toBe(true);
  }
});

test("an op without an entry is measured when it takes floats only", () => {
  const spec = (dtype: "f32" | "u32", axes: string) => ({ dtype, axes: axes.split(" "), optional: false });
  const float = { name: "new_op", inputs: { x: spec("f32", "N C"), table: spec("f32", "W 3") } };
  const [shape] = opShapes(float as unknown as OpDefinition, scales[0][1]);
  expect(shape.sizes).toEqual({ N: 128, C: 64, W: 64 });
  const integer = { name: "other_op", inputs: { x: spec("u32", "N") } };
  expect(opShapes(integer as unknown as OpDefinition, scales[0][1])).toEqual([]);
});

test("products of a GPU include those of the published models, and all fit", () => {
  for (const [name, scale] of scales) {
    const products = productsFor(scale);
    expect(products.some(({ K }) => K === 896)).toBe(name !== "quick");
    for (const { M, N, K } of products)
      expect(4 * Math.max(M * N, M * K, K * N)).toBeLessThanOrEqual(scale.facts.maxBindingBytes);
  }
});

test("rows that stand alone are cut out of every input of the token axis", () => {
  const sizes = { N: 9, I: 2, O: 3 };
  const shape = { sizes, rowsApart: true as const };
  const inputs = drawInputs(linear as unknown as OpDefinition, shape);
  const part = checkedPart(linear as unknown as OpDefinition, shape, inputs);
  expect(part.rows).toHaveLength(4);
  expect(part.rows?.at(0)).toBe(0);
  expect(part.rows?.at(-1)).toBe(8);
  expect([...part.arrays.x]).toEqual(
    part.rows?.flatMap((row) => [...inputs.arrays.x.slice(2 * row, 2 * row + 2)]),
  );
  expect(part.arrays.weight).toBe(inputs.arrays.weight);
  expect(part.sizes).toEqual({ ...sizes, N: 4 });
});

test("a sequence is cut out whole, and its places counted from its start", () => {
  const op = attention as unknown as OpDefinition;
  const [shape] = opShapes(op, scales[0][1]);
  const inputs = drawInputs(op, shape);
  const part = checkedPart(op, shape, inputs);
  expect(part.rows).toHaveLength(64);
  expect(new Set(part.arrays.sequence_start)).toEqual(new Set([0]));
  expect(new Set(part.arrays.sequence_end)).toEqual(new Set([64]));
});

test("long arrays repeat a prime stretch of what was drawn", () => {
  const values = normals("x", 140_000);
  expect(values[65_521]).toBe(values[0]);
  expect(values[65_522]).not.toBe(values[0]);
  expect(normals("x", 3)).toEqual(values.slice(0, 3));
});

const head = { op: "add", direction: "forward", shape: "N1", dtype: "f32", adapter: "A" } as const;
const effort = { repeats: 3, sampleMs: 1, budgetMs: 50 };
const contestant = (more: Partial<Contestant> = {}, run = async () => {}): Contestant => ({
  work: { run },
  check: async () => undefined,
  release: () => {},
  ...more,
});

test("contestants that cannot be opened, are wrong or fail become rows that say why; the others are timed", async () => {
  let calls = 0;
  let released = 0;
  const release = () => void released++;
  const entry = (implementation: string, open: () => Promise<Contestant>) => ({ implementation, open });
  const rows = await race(
    head,
    [
      entry("missing", () => Promise.reject(new Error("not installed\nat all"))),
      entry("wrong", async () => contestant({ release, check: async () => "wrong result" })),
      entry("late", async () =>
        contestant({ release }, async () => {
          if (++calls === 3) throw new Error("out of memory");
        }),
      ),
      entry("fine", async () => contestant({ release, figures: async () => ({ dispatches: 7 }) })),
    ],
    { flops: 10, bytes: 20 },
    effort,
  );
  expect(rows.map(({ error }) => error)).toEqual([
    "not installed",
    "wrong result",
    "out of memory",
    undefined,
  ]);
  expect(rows[3]).toMatchObject({
    implementation: "fine",
    repeats: 3,
    dispatches: 7,
    gflops: expect.any(Number),
  });
  expect(rows.slice(0, 3).filter(({ medianMs }) => medianMs !== undefined)).toEqual([]);
  expect(released).toBe(3);
});

test("a lost device ends the benchmark", async () => {
  const open = () => Promise.reject(new DeviceError("[device] lost"));
  await expect(race(head, [{ implementation: "uncouple", open }], undefined, effort)).rejects.toThrow(
    DeviceError,
  );
});

test("wrong products, attention and losses of peers are noticed", () => {
  const product = { M: 2, N: 2, K: 2, transposeA: false, transposeB: true };
  const [a, b] = [Float32Array.of(1, 2, 3, 4), Float32Array.of(5, 6, 7, 8)];
  expect(productMismatch(product, a, b, [17, 23, 39, 53])).toBeUndefined();
  expect(productMismatch(product, a, b, [17, 39, 23, 53])).toMatch(/wrong result at/);
  const one = { B: 1, T: 2, H: 2, Kv: 1, D: 1 };
  const q = new Float32Array(4);
  const [k, v] = [Float32Array.of(3, 5), Float32Array.of(2, 6)];
  expect(attentionMismatch({ ...one, q, k, v }, [2, 2, 4, 4])).toBeUndefined();
  expect(attentionMismatch({ ...one, q, k, v }, [2, 2, 4, 5])).toMatch(/at \[1, 1\]: got 5, expected 4/);
  expect(lossMismatch([6.24, 6.1], [6.2405, 6.105])).toBeUndefined();
  expect(lossMismatch([1.23, 1.2], [6.24, 6.1])).toMatch(/step 1: got 1\.23, expected 6\.24/);
  expect(lossMismatch([6.24, 6.2], [6.24, 6.1])).toMatch(/step 2/);
  expect(lossMismatch([Number.NaN], [6.24])).toMatch(/step 1/);
});
