/** The tape by itself: gradients that are shared, added up and freed, on sums whose gradients are known by heart. */
import { expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { Tape } from "../../src/autograd/tape.js";
import { Tensor } from "../../src/autograd/tensor.js";
import type { ObservedGradient } from "../../src/kernels/engine/weight_gradient.js";
import { add, Launcher, linear, matmul } from "../../src/kernels/index.js";
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

test("one tensor for two inputs: of a sum it has both gradients, elsewhere it is refused", async () => {
  const p = filled(1);
  const seed = filled(10, false);
  const tape = new Tape(launcher);
  tape.backward([[tape.apply(add, { a: p, b: p }).y, seed]]);
  expect(await gradientOf(p)).toEqual(all(20));
  const stack = p.view([1, 2, 3]);
  expect(() => tape.apply(matmul, { a: stack, b: stack }, { transpose_b: 1 })).toThrow(
    "[matmul] one tensor was passed for two inputs",
  );
  tape.release();
});

test("data that does not fill its shape is refused", () => {
  expect(() => Tensor.from(runtime, new Float32Array(5), SHAPE)).toThrow(
    "[tensor] data does not fit: got 5 values, expected 6 for shape [2,3].",
  );
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

/** A product of one row by a [2, 3] weight, observed; either of weight and bias may be no parameter. */
async function observedProduct(trains: (name: string) => boolean, own: { readonly bias?: Tensor } = {}) {
  const shapes = [
    { name: "w", shape: [2, 3] },
    { name: "b", shape: [2] },
  ];
  const parameters = new FlatParameters(runtime, shapes, { requiresGrad: trains });
  const seen: Pick<ObservedGradient, "parameter" | "bias" | "rows">[] = [];
  const finals: string[] = [];
  const observer = {
    factors: ({ parameter, bias, rows }: ObservedGradient) => {
      seen.push({ parameter, bias, rows });
      return false;
    },
    final: (parameter: string) => void finals.push(parameter),
  };
  const tape = new Tape(launcher, { observer });
  const x = tape.nameRows(tape.input(Float32Array.of(1, 10, 100), [1, 3]), "tokens");
  const bias = own.bias ?? parameters.get("b");
  const { y } = tape.apply(linear, { x, weight: parameters.get("w"), bias });
  try {
    tape.backward([[y, tape.input(Float32Array.of(1, 2), [1, 2])]]);
    const gradients: Record<string, number[]> = {};
    for (const name of ["w", "b"].filter(trains))
      gradients[name] = [...(await parameters.readGradient(name))];
    return { seen, finals, gradients };
  } finally {
    tape.release();
    parameters.release();
  }
}

test("an observer is told the names of what is trained, and of the rows; the rest is computed as ever", async () => {
  const [w, b] = [
    [1, 10, 100, 2, 20, 200],
    [1, 2],
  ];
  const both = await observedProduct(() => true);
  expect(both.seen).toEqual([{ parameter: "w", bias: "b", rows: "tokens" }]);
  expect(both.finals.sort()).toEqual(["b", "w"]);
  expect(both.gradients).toEqual({ w, b });
  const bias = await observedProduct((name) => name === "b");
  expect(bias.seen).toEqual([{ parameter: undefined, bias: "b", rows: "tokens" }]);
  expect([bias.finals, bias.gradients]).toEqual([["b"], { b }]);
  const weight = await observedProduct((name) => name === "w");
  expect(weight.seen).toEqual([{ parameter: "w", bias: undefined, rows: "tokens" }]);
  expect([weight.finals, weight.gradients]).toEqual([["w"], { w }]);
  const plain = Tensor.from(runtime, Float32Array.of(0, 0), [2], { requiresGrad: true });
  await expect(observedProduct(() => true, { bias: plain })).rejects.toThrow(
    "[linear] weight and bias together are observed only where both are parameters: got w beside a tensor without a name.",
  );
  // alone it is nobody's parameter, and not told
  const unnamed = await observedProduct((name) => name === "b", { bias: plain });
  expect([unnamed.seen, unnamed.finals, await gradientOf(plain)]).toEqual([[], [], b]);
});

test("rows have the names of those that they are said to be", () => {
  const parameters = new FlatParameters(runtime, [{ name: "w", shape: [2, 3] }]);
  const rows: (string | undefined)[] = [];
  const tape = new Tape(launcher, { observer: { factors: (seen) => rows.push(seen.rows) > 0 } });
  const [named, nameless, x] = [1, 1, 1].map(() => tape.input(new Float32Array(3), [1, 3]));
  tape.nameRows(named, "tokens");
  tape.nameRowsAs(x, named);
  tape.nameRowsAs(x, nameless);
  const { y } = tape.apply(linear, { x, weight: parameters.get("w") });
  tape.backward([[y, tape.input(new Float32Array(2), [1, 2])]]);
  expect(rows).toEqual(["tokens"]);
  tape.release();
  parameters.release();
});

test("what cannot be differentiated is refused with its names", () => {
  const tape = new Tape(launcher);
  const [p, q] = [filled(1), filled(2)];
  const { y } = tape.apply(add, { a: p, b: q });
  const short = tape.input(new Float32Array(5), [5]);
  expect(() => tape.backward([[y, short]])).toThrow("seed of shape [5] for a tensor of shape [2,3]");
  const seed = tape.input(new Float32Array(6), SHAPE);
  expect(() =>
    tape.backward([
      [y, seed],
      [y, seed],
    ]),
  ).toThrow("seeded twice");
  tape.release();
  expect(() => new Tape(launcher).apply(add, { a: y, b: q })).toThrow(
    "[add] input a was released before use",
  );
  expect(() => y.view([6])).toThrow("view of a released tensor");
});
