/** The tape by itself: gradients that are shared, added up and freed, on sums whose gradients are known by heart. */
import { expect, test } from "vitest";
import { Tape } from "../../src/autograd/tape.js";
import { Tensor } from "../../src/autograd/tensor.js";
import { add, Launcher } from "../../src/kernels/index.js";
import { testRuntime } from "../support/runtime.js";

const runtime = await testRuntime();
const launcher = new Launcher(runtime);
const SHAPE = [2, 3];

const filled = (value: number, requiresGrad = true): Tensor =>
  Tensor.from(runtime, new Float32Array(6).fill(value), SHAPE, { requiresGrad });
const gradientOf = async ({ grad }: Tensor): Promise<number[]> => [...((await grad?.read()) ?? [])];
const all = (value: number): number[] => Array(6).fill(value);

test("a sum shares its gradient, and whoever adds to its share leaves the others as they were", async () => {
  const [p, q, r] = [filled(1), filled(2), filled(3)];
  const seed = filled(10, false);
  const tape = new Tape(launcher);
  const inner = tape.apply(add, { a: p, b: q }).y;
  const middle = tape.apply(add, { a: inner, b: r }).y;
  // inner is used twice: 1 time here, 1 time in middle
  const outer = tape.apply(add, { a: middle, b: inner }).y;
  tape.backward([[outer, seed]]);
  expect(await gradientOf(r)).toEqual(all(10));
  expect(await gradientOf(p)).toEqual(all(20));
  expect(await gradientOf(q)).toEqual(all(20));
  expect([...(await seed.read())]).toEqual(all(10));
  tape.release();
});

test("a leaf that is used twice has the sum of both gradients, and others only theirs", async () => {
  const [p, q] = [filled(1), filled(2)];
  const seed = filled(10, false);
  const tape = new Tape(launcher);
  const inner = tape.apply(add, { a: p, b: q }).y;
  const outer = tape.apply(add, { a: inner, b: p }).y;
  tape.backward([[outer, seed]]);
  expect(await gradientOf(p)).toEqual(all(20));
  expect(await gradientOf(q)).toEqual(all(10));
  expect([...(await seed.read())]).toEqual(all(10));
  tape.release();
});

test("a view lies within its tensor", async () => {
  const tensor = Tensor.from(runtime, Float32Array.of(1, 2, 3, 4, 5, 6), SHAPE);
  expect([...(await tensor.view([3], 3).read())]).toEqual([4, 5, 6]);
  for (const [shape, offset] of [
    [[4], 3],
    [[7], 0],
    [[1], -1],
  ] as const)
    expect(() => tensor.view(shape, offset)).toThrow("does not fit in 6 elements");
});
