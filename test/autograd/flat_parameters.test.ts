import { f16round } from "@petamoriken/float16";
import { expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { Tape } from "../../src/autograd/tape.js";
import { Tensor } from "../../src/autograd/tensor.js";
import { AdapterError } from "../../src/core/errors.js";
import { Launcher, linear } from "../../src/kernels/index.js";
import { halfPrecision, needing } from "../support/needs.js";
import { testRuntime } from "../support/runtime.js";

const runtime = await testRuntime();
const launcher = new Launcher(runtime);

test("matrices and vectors lie in separate buckets, at multiples of 64 floats", () => {
  const parameters = new FlatParameters(runtime, [
    { name: "a", shape: [3, 5] },
    { name: "gain", shape: [65] },
    { name: "b", shape: [64, 2] },
    { name: "bias", shape: [1] },
  ]);
  expect(parameters.buckets.map(({ decayed, elements }) => ({ decayed, elements }))).toEqual([
    { decayed: true, elements: 192 },
    { decayed: false, elements: 192 },
  ]);
  expect([...parameters.slots.values()].map(({ bucket, offset }) => [bucket, offset])).toEqual([
    [0, 0],
    [1, 0],
    [0, 64],
    [1, 128],
  ]);
  expect(parameters.count).toBe(15 + 65 + 128 + 1);
  parameters.release();
});

test("a full bucket is followed by another; one tensor may be larger than the wished size", () => {
  const names = ["a", "b", "c", "d"];
  const parameters = new FlatParameters(
    runtime,
    names.map((name, i) => ({ name, shape: [i === 3 ? 256 : 64, 2] })),
    { maxBucketBytes: 1024 },
  );
  expect(parameters.buckets.map(({ elements }) => elements)).toEqual([256, 128, 512]);
  parameters.release();
});

test("values come back as loaded, and fresh parameters are zero", async () => {
  const live = runtime.buffers.liveBytes;
  const parameters = new FlatParameters(runtime, [
    { name: "a", shape: [3, 5] },
    { name: "b", shape: [2, 2] },
  ]);
  expect(parameters.half).toBe(false);
  expect(await parameters.read("a")).toEqual(new Float32Array(15));
  parameters.load("b", Float32Array.of(1, 2, 3, 4));
  expect(await parameters.read("b")).toEqual(Float32Array.of(1, 2, 3, 4));
  expect(await parameters.read("a")).toEqual(new Float32Array(15));
  expect(() => parameters.load("a", new Float32Array(14))).toThrow("expected 15");
  expect(() => parameters.get("c")).toThrow('got "c", expected one of 2 names such as "a"');
  parameters.release();
  parameters.release();
  expect(runtime.buffers.liveBytes).toBe(live);
});

test("parts of a tensor are loaded and read under their own names", async () => {
  const live = runtime.buffers.liveBytes;
  const parameters = new FlatParameters(runtime, [
    {
      name: "stack",
      shape: [3, 2],
      parts: [
        { name: "top", shape: [1, 2], first: 0, stride: 1 },
        { name: "rest", shape: [2, 2], first: 1, stride: 1 },
      ],
    },
    {
      name: "comb",
      shape: [4, 2],
      parts: [
        { name: "even", shape: [2, 2], first: 0, stride: 2 },
        { name: "odd", shape: [2, 2], first: 1, stride: 2 },
      ],
    },
    { name: "bias", shape: [3], parts: [{ name: "end", shape: [2], first: 1, stride: 1 }] },
  ]);
  parameters.load("rest", Float32Array.of(3, 4, 5, 6));
  parameters.load("top", Float32Array.of(1, 2));
  parameters.load("even", Float32Array.of(1, 2, 5, 6));
  parameters.load("odd", Float32Array.of(3, 4, 7, 8));
  parameters.load("end", Float32Array.of(8, 9));
  expect(await parameters.read("stack")).toEqual(Float32Array.of(1, 2, 3, 4, 5, 6));
  expect(await parameters.read("rest")).toEqual(Float32Array.of(3, 4, 5, 6));
  expect(await parameters.read("comb")).toEqual(Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8));
  expect(await parameters.read("odd")).toEqual(Float32Array.of(3, 4, 7, 8));
  expect(await parameters.read("bias")).toEqual(Float32Array.of(0, 8, 9));
  parameters.get("comb").grad?.upload(Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8));
  expect(await parameters.readGradient("even")).toEqual(Float32Array.of(1, 2, 5, 6));
  expect(() => parameters.load("odd", new Float32Array(5))).toThrow("expected 4");
  parameters.release();
  expect(runtime.buffers.liveBytes).toBe(live);
});

test("backward adds into the flat gradient until it is cleared", async () => {
  const parameters = new FlatParameters(runtime, [
    { name: "weight", shape: [2, 3] },
    { name: "bias", shape: [2] },
  ]);
  parameters.load("weight", Float32Array.of(1, 2, 3, 4, 5, 6));
  const pass = () => {
    const tape = new Tape(launcher);
    const x = tape.input(Float32Array.of(1, 10, 100), [1, 3]);
    const { y } = tape.apply(linear, { x, weight: parameters.get("weight"), bias: parameters.get("bias") });
    const seed = Tensor.from(runtime, Float32Array.of(1, 2), [1, 2]);
    tape.backward([[y, seed]]);
    seed.release();
    tape.release();
  };
  pass();
  expect(await parameters.readGradient("weight")).toEqual(Float32Array.of(1, 10, 100, 2, 20, 200));
  pass();
  expect(await parameters.readGradient("bias")).toEqual(Float32Array.of(2, 4));
  parameters.clearGradients();
  pass();
  expect(await parameters.readGradient("weight")).toEqual(Float32Array.of(1, 10, 100, 2, 20, 200));
  parameters.release();
});

test("rows are overwritten where they belong; what are no rows of the tensor is refused", async () => {
  const parameters = new FlatParameters(runtime, [{ name: "a", shape: [3, 2] }]);
  const { version } = parameters;
  parameters.loadRows("a", 1, Float32Array.of(3, 4, 5, 6));
  expect(await parameters.read("a")).toEqual(Float32Array.of(0, 0, 3, 4, 5, 6));
  expect(parameters.version).toBe(version + 1);
  for (const [first, count] of [
    [0, 3],
    [2, 4],
    [-1, 2],
    [0, 0],
  ] as const)
    expect(() => parameters.loadRows("a", first, new Float32Array(count))).toThrow(
      `rows of a do not fit: got ${count} values from row ${first} on, as floats, expected rows of 2 values within shape [3,2] stored as f32`,
    );
  expect(() => parameters.loadRows("a", 0, new Uint16Array(2))).toThrow(/as bf16, expected rows of 2 values/);
  parameters.release();
});

test("arrays that lie as the parameters do are read and written by the names of parameters and parts", async () => {
  const live = runtime.buffers.liveBytes;
  const parameters = new FlatParameters(runtime, [
    { name: "gain", shape: [2] },
    { name: "first", shape: [1, 2] },
    {
      name: "comb",
      shape: [4, 2],
      parts: [
        { name: "even", shape: [2, 2], first: 0, stride: 2 },
        { name: "odd", shape: [2, 2], first: 1, stride: 2 },
      ],
    },
  ]);
  const flat = parameters.buckets.map(({ elements }) => Tensor.zeros(runtime, [elements]));
  parameters.loadLike(flat, "odd", Float32Array.of(3, 4, 7, 8));
  parameters.loadLike(flat, "first", Float32Array.of(1, 2));
  parameters.loadLike(flat, "gain", Float32Array.of(5, 6));
  expect(await parameters.readLike(flat, "comb")).toEqual(Float32Array.of(0, 0, 3, 4, 0, 0, 7, 8));
  expect(await parameters.readLike(flat, "odd")).toEqual(Float32Array.of(3, 4, 7, 8));
  expect(await parameters.readLike(flat, "first")).toEqual(Float32Array.of(1, 2));
  expect(await parameters.readLike(flat, "gain")).toEqual(Float32Array.of(5, 6));
  expect(await parameters.read("comb")).toEqual(new Float32Array(8));
  await expect(parameters.readLike(flat, "none")).rejects.toThrow('no parameter of this name: got "none"');
  expect(parameters.named.map(({ name }) => name)).toEqual(["gain", "first", "even", "odd"]);
  for (const one of [...flat, parameters]) one.release();
  expect(runtime.buffers.liveBytes).toBe(live);
});

test("frozen parameters take no gradient memory", async () => {
  const parameters = new FlatParameters(runtime, [{ name: "a", shape: [2, 2] }], { requiresGrad: false });
  expect(parameters.get("a").requiresGrad).toBe(false);
  expect(parameters.buckets[0].gradient).toBeUndefined();
  await expect(parameters.readGradient("a")).rejects.toThrow("requiresGrad");
  parameters.release();
});

needing(halfPrecision(runtime.facts.features)).describe("in half precision", () => {
  const shapes = [
    { name: "a", shape: [3, 5] },
    { name: "gain", shape: [3] },
    { name: "b", shape: [2, 2] },
  ];
  const values = Float32Array.of(0.1, 1e-6, -65_504.5, 2049);

  test("ops read matrices as f16, all else stays f32", async () => {
    const live = runtime.buffers.liveBytes;
    const parameters = new FlatParameters(runtime, shapes, { storage: "f16" });
    expect(parameters.buckets.map(({ decayed, elements }) => [decayed, elements])).toEqual([
      [true, 256],
      [false, 128],
    ]);
    expect(parameters.get("b").range.offset).toBe(256);
    expect(parameters.get("gain").dtype).toBe("f32");
    parameters.load("b", values);
    const leaf = parameters.get("b");
    expect([leaf.dtype, leaf.grad?.dtype]).toEqual(["f16", "f32"]);
    expect(await leaf.read()).toEqual(values.map(f16round));
    expect(await parameters.read("b")).toEqual(values);
    expect(await parameters.readGradient("b")).toEqual(new Float32Array(4));
    expect(await parameters.read("a")).toEqual(new Float32Array(15));
    // an odd number of halves: the last word holds one
    const odd = Float32Array.from({ length: 15 }, (_, i) => i + 0.5);
    parameters.load("a", odd);
    expect(await parameters.get("a").read()).toEqual(odd);
    expect(await parameters.get("b").read()).toEqual(values.map(f16round));
    expect(parameters.half).toBe(true);
    parameters.release();
    expect(runtime.buffers.liveBytes).toBe(live);
  });

  test("frozen matrices have no f32 values", async () => {
    const parameters = new FlatParameters(runtime, shapes, { storage: "f16", requiresGrad: false });
    expect(parameters.buckets.map(({ master }) => master?.dtype)).toEqual([undefined, "f32"]);
    parameters.load("b", values);
    expect(await parameters.read("b")).toEqual(values.map(f16round));
    parameters.release();
  });
});

test("half precision on an adapter without f16 is refused", () => {
  const facts = { ...runtime.facts, features: new Set<string>() };
  const plain = Object.create(runtime, { facts: { value: facts } });
  const make = () => new FlatParameters(plain, [{ name: "a", shape: [2, 2] }], { storage: "f16" });
  expect(make).toThrow(AdapterError);
  expect(make).toThrow("Use precision f32, or another adapter");
});

test("names that come twice, empty shapes and tensors beyond one binding are refused", () => {
  const make = (shapes: readonly (readonly number[])[], limit = 2 ** 30) => {
    const facts = { ...runtime.facts, maxBindingBytes: limit };
    const limited = Object.create(runtime, { facts: { value: facts } });
    return () =>
      new FlatParameters(
        limited,
        shapes.map((shape) => ({ name: "a", shape })),
      );
  };
  expect(make([[2, 2], [3]])).toThrow('"a"');
  expect(make([[0, 2]])).toThrow("holds nothing");
  expect(make([[256, 2]], 1024)).toThrow("maxStorageBufferBindingSize");
});

test("trainable by name: frozen tensors lie in buckets of their own, without gradients, and no kernel computes any", async () => {
  const shapes = ["a", "b", "c"].map((name) => ({ name, shape: [4, 4] }));
  const build = (requiresGrad: boolean | ((name: string) => boolean)) => {
    const parameters = new FlatParameters(runtime, shapes, { requiresGrad });
    for (const { name } of shapes)
      parameters.load(
        name,
        Float32Array.from({ length: 16 }, (_, i) => Math.sin(i + name.charCodeAt(0))),
      );
    return parameters;
  };
  const [all, some] = [build(true), build((name) => name !== "b")];
  expect(all.buckets).toHaveLength(1);
  expect(some.buckets.map(({ gradient }) => gradient !== undefined)).toEqual([true, false]);
  expect(["a", "b", "c"].map((name) => some.isTrainable(name))).toEqual([true, false, true]);
  for (const parameters of [all, some]) {
    const tape = new Tape(launcher);
    let x = tape.input(
      Float32Array.from({ length: 8 }, (_, i) => i - 3),
      [2, 4],
    );
    for (const { name } of shapes) x = tape.apply(linear, { x, weight: parameters.get(name) }).y;
    tape.backward([[x, tape.input(new Float32Array(8).fill(1), [2, 4])]]);
    tape.release();
  }
  for (const name of ["a", "c"]) expect(await some.readGradient(name)).toEqual(await all.readGradient(name));
  await expect(some.readGradient("b")).rejects.toThrow("b has no gradient");
});
