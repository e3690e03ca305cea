import { expect, test } from "vitest";
import { Tape } from "../../src/autograd/tape.js";
import { Tensor } from "../../src/autograd/tensor.js";
import { addInto, Launcher } from "../../src/kernels/index.js";
import { testRuntime } from "../support/runtime.js";

const launcher = new Launcher(await testRuntime());
const { runtime } = launcher;

test("repeated work runs as often as asked, and costs the host one run", async () => {
  const sum = Tensor.zeros(runtime, [1, 3]);
  const one = Tensor.from(runtime, Float32Array.of(1, 2, 3), [1, 3]);
  let runs = 0;
  runtime.repeat(5, () => {
    runs++;
    addInto(launcher, sum, one);
  });
  expect(runs).toBe(1);
  expect([...(await sum.read())]).toEqual([5, 10, 15]);
  sum.release();
  one.release();
});

test("an upload inside of repeated work is refused, and allowed again after it", () => {
  const tape = new Tape(launcher, { record: false });
  expect(() => runtime.repeat(2, () => tape.input(Float32Array.of(1)))).toThrow("[upload]");
  expect(tape.input(Float32Array.of(1)).size).toBe(1);
  tape.release();
});
