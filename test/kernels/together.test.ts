import { describe, expect, test } from "vitest";
import { Tensor } from "../../src/autograd/tensor.js";
import type { KernelUnit, OpDefinition } from "../../src/kernels/engine/op.js";
import { add, Launcher } from "../../src/kernels/index.js";
import { testRuntime } from "../support/runtime.js";

const runtime = await testRuntime();
const launcher = new Launcher(runtime);

const head = `fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let i = workgroup_index(group, groups) * 4u + local;
  if (i >= params.N) { return; }`;

/** y = x * factor + rank of the invocation in its workgroup, by way of workgroup memory. */
const scale: KernelUnit = {
  op: "scale",
  scalars: { N: "u32", factor: "f32" },
  kernel: {
    entry: "forward",
    shader: () => `
const OFFSET = 1u;
var<workgroup> ranks: array<u32, 4>;
fn ranked(y: u32) -> f32 { return f32(ranks[y * OFFSET]); }
@compute @workgroup_size(4)
${head.replace("if (i", "ranks[local] = local; workgroupBarrier(); if (i")}
  write_y(i, read_x(i) * params.factor + ranked(local));
}`,
    reads: ["x"],
    writes: ["y"],
    workgroups: ({ N }) => Math.ceil((N as number) / 4),
  },
};

/** y = x.yx by a swizzle whose letters are also names of tensors. */
const swap: KernelUnit = {
  op: "swap",
  scalars: { N: "u32" },
  kernel: {
    entry: "forward",
    shader: () => `
@compute @workgroup_size(4)
${head}
  let OFFSET = vec2<f32>(x[2u * i], x[2u * i + 1u]);
  y[2u * i] = OFFSET.y; y[2u * i + 1u] = OFFSET.x;
}`,
    reads: ["x"],
    writes: ["y"],
    workgroups: ({ N }) => Math.ceil((N as number) / 4),
  },
};

const tensor = (values: readonly number[]) => Tensor.from(runtime, Float32Array.from(values));

test("independent launches of one workgroup size share a dispatch", async () => {
  const x = tensor([1, 2, 3, 4, 5, 6]);
  const [a, b, c] = [6, 6, 6].map((size) => Tensor.empty(runtime, [size]));
  const before = runtime.counters.dispatches;
  launcher.together(() => {
    launcher.run(scale, { x, y: a }, { N: 6, factor: 10 });
    launcher.run(swap, { x, y: b }, { N: 3 });
    launcher.run(scale, { x, y: c }, { N: 5, factor: 100 });
  });
  expect([...(await a.read())]).toEqual([10, 21, 32, 43, 50, 61]);
  expect([...(await b.read())]).toEqual([2, 1, 4, 3, 6, 5]);
  expect([...(await c.read())].slice(0, 5)).toEqual([100, 201, 302, 403, 500]);
  expect(runtime.counters.dispatches - before).toBe(1);
  for (const one of [x, a, b, c]) one.release();
});

test("a launch that reads what another writes comes after it", async () => {
  const x = tensor([1, 2, 3, 4]);
  const [a, b, c] = [4, 4, 4].map((size) => Tensor.empty(runtime, [size]));
  const before = runtime.counters.dispatches;
  launcher.together(() => {
    launcher.run(swap, { x, y: a }, { N: 2 });
    launcher.run(swap, { x: a, y: b }, { N: 2 });
    launcher.run(scale, { x, y: c }, { N: 4, factor: 1 });
  });
  expect([...(await b.read())]).toEqual([1, 2, 3, 4]);
  expect([...(await c.read())]).toEqual([1, 3, 5, 7]);
  expect(runtime.counters.dispatches - before).toBe(2);
  for (const one of [x, a, b, c]) one.release();
});

test("launches that write parts of one tensor share its binding", async () => {
  const x = tensor([1, 2, 3, 4, 5, 6, 7, 8]);
  const y = Tensor.zeros(runtime, [8]);
  const upper: KernelUnit = {
    ...scale,
    kernel: {
      ...scale.kernel,
      shader: (input) => scale.kernel.shader(input).replace("if (i >=", "if (i < 4u || i >="),
    },
  };
  const before = runtime.counters.dispatches;
  launcher.together(() => {
    launcher.run(scale, { x, y }, { N: 4, factor: 10 });
    launcher.run(upper, { x, y }, { N: 8, factor: -10 });
  });
  expect([...(await y.read())]).toEqual([10, 21, 32, 43, -50, -59, -68, -77]);
  expect(runtime.counters.dispatches - before).toBe(1);
  x.release();
  y.release();
});

test.each([
  [true, 2],
  [false, 1],
])("long kernels share a dispatch on GPUs only, run by a CPU: %s", async (isSoftware, dispatches) => {
  const long: KernelUnit = {
    ...scale,
    kernel: {
      ...scale.kernel,
      shader: (input) => `${scale.kernel.shader(input)}\n// ${"long ".repeat(1000)}`,
    },
  };
  const own = new Launcher(runtime, { ...runtime.facts, isSoftware });
  const x = tensor([1, 2, 3, 4]);
  const [a, b] = [4, 4].map((size) => Tensor.empty(runtime, [size]));
  const before = runtime.counters.dispatches;
  own.together(() => {
    own.run(long, { x, y: a }, { N: 4, factor: 1 });
    own.run(long, { x, y: b }, { N: 4, factor: 10 });
  });
  expect([...(await a.read())]).toEqual([1, 3, 5, 7]);
  expect([...(await b.read())]).toEqual([10, 21, 32, 43]);
  expect(runtime.counters.dispatches - before).toBe(dispatches);
  for (const one of [x, a, b]) one.release();
});

test("the same launches again compile nothing and bind nothing new", async () => {
  const x = tensor([1, 2, 3, 4]);
  const [a, b] = [4, 4].map((size) => Tensor.empty(runtime, [size]));
  const run = async (factor: number) => {
    launcher.together(() => {
      launcher.run(scale, { x, y: a }, { N: 4, factor });
      launcher.run(swap, { x, y: b }, { N: 2 });
    });
    return [...(await a.read())];
  };
  expect(await run(1)).toEqual([1, 3, 5, 7]);
  const before = runtime.counters;
  expect(await run(2)).toEqual([2, 5, 8, 11]);
  const after = runtime.counters;
  expect(after.pipelines).toBe(before.pipelines);
  expect(after.bindGroupsCreated).toBe(before.bindGroupsCreated);
  for (const one of [x, a, b]) one.release();
});

/** CPU adapters let nothing wait. */
const joining = new Launcher(await testRuntime({ isSoftware: false }));

describe("late launches", () => {
  const on = (values: readonly number[]) => Tensor.from(joining.runtime, Float32Array.from(values));
  const counted = () => joining.runtime.counters.dispatches;

  test("join the next dispatch of their workgroup size", async () => {
    const x = on([1, 2, 3, 4]);
    const [a, b] = [4, 4].map((size) => Tensor.empty(joining.runtime, [size]));
    const before = counted();
    joining.joiningLate(() => {
      joining.runLate(swap, { x, y: a }, { N: 2 });
      joining.run(scale, { x, y: b }, { N: 4, factor: 1 });
    });
    expect([...(await a.read())]).toEqual([2, 1, 4, 3]);
    expect(counted() - before).toBe(1);
    expect([...(await b.read())]).toEqual([1, 3, 5, 7]);
    for (const one of [x, a, b]) one.release();
  });

  test("come before a launch that reads them, one that writes what they read, and one that adds to what they write", async () => {
    const x = on([1, 2, 3, 4]);
    const [a, b] = [4, 4].map((size) => Tensor.empty(joining.runtime, [size]));
    joining.joiningLate(() => {
      joining.runLate(swap, { x, y: a }, { N: 2 });
      joining.run(swap, { x: a, y: b }, { N: 2 });
      joining.runLate(swap, { x, y: a }, { N: 2 });
      joining.run(scale, { x: b, y: x }, { N: 4, factor: 0 });
      joining.runLate(scale, { x: a, y: b }, { N: 4, factor: 10 });
      joining.runLate(scale, { x: a, y: b }, { N: 4, factor: 1 });
    });
    expect([...(await a.read())]).toEqual([2, 1, 4, 3]);
    expect([...(await x.read())]).toEqual([0, 1, 2, 3]);
    expect([...(await b.read())]).toEqual([2, 2, 6, 6]);
    for (const one of [x, a, b]) one.release();
  });

  test("in a shared body come after what they read, and are not late where the body goes on with them", async () => {
    const x = on([1, 2, 3, 4]);
    const [a, b, c, d] = [4, 4, 4, 4].map((size) => Tensor.empty(joining.runtime, [size]));
    joining.joiningLate(() => {
      joining.together(() => {
        joining.run(swap, { x, y: a }, { N: 2 });
        joining.runLate(swap, { x: a, y: b }, { N: 2 });
        joining.runLate(swap, { x, y: c }, { N: 2 });
        joining.run(scale, { x: c, y: d }, { N: 4, factor: 1 });
      });
    });
    expect([...(await b.read())]).toEqual([1, 2, 3, 4]);
    expect([...(await d.read())]).toEqual([2, 2, 6, 6]);
    for (const one of [x, a, b, c, d]) one.release();
  });

  test("keep their scratch memory until they are dispatched, and no more wait than one module can hold", async () => {
    const x = on([1, 2, 3, 4]);
    const outputs = Array.from({ length: 9 }, () => Tensor.empty(joining.runtime, [4]));
    const before = counted();
    joining.joiningLate(() => {
      for (const y of outputs) {
        joining.runPlan(
          add as unknown as OpDefinition,
          ({ scratch, run, runLate }) => {
            const between = scratch("between", [4]);
            run(swap, { x, y: between }, { N: 2 });
            runLate(swap, { x: between, y }, { N: 2 });
          },
          {},
          {},
        );
      }
    });
    for (const y of outputs) expect([...(await y.read())]).toEqual([1, 2, 3, 4]);
    // each joins the first launch of the plan after it
    expect(counted() - before).toBe(10);
    const middle = counted();
    joining.joiningLate(() => {
      for (const y of outputs) joining.runLate(swap, { x, y }, { N: 2 });
    });
    for (const y of outputs) expect([...(await y.read())]).toEqual([2, 1, 4, 3]);
    expect(counted() - middle).toBe(3);
    for (const y of outputs) y.release();
    x.release();
  });
});
