/** Products over matrices in pieces, by kernels of both families, against the same products over whole ones. */
import { describe, expect, test } from "vitest";
import { Tensor } from "../../src/autograd/tensor.js";
import { Random } from "../../src/core/random.js";
import { type ArrayView, rowsOf } from "../../src/kernels/engine/array_view.js";
import { Launcher } from "../../src/kernels/index.js";
import { matmulInto } from "../../src/kernels/matmul/matmul_into.js";
import type { Matmul } from "../../src/kernels/matmul/matmul_product.js";
import { testRuntime } from "../support/runtime.js";

const runtime = await testRuntime();
/** Rows of a piece: columns that begin at a multiple of it can be bound as floats. */
const ROWS = 128;
const [M, N, K] = [5, 300, 260];

let seed = 0;
const drawn = (...shape: number[]): Tensor => {
  const random = new Random(++seed);
  const size = shape.reduce((product, axis) => product * axis, 1);
  return Tensor.from(
    runtime,
    Float32Array.from({ length: size }, () => random.uniform() - 0.5),
    shape,
  );
};

/** The same memory as pieces; the last one is shorter. */
function inPieces(view: ArrayView): ArrayView {
  const [total = 0] = view.shape;
  const pieces = Array.from({ length: Math.ceil(total / ROWS) }, (_, index) => {
    const rows = Math.min(ROWS, total - index * ROWS);
    return { first: index * ROWS, rows, range: rowsOf(view, index * ROWS, rows).range };
  });
  return { ...view, range: pieces[0].range, pieces };
}

/** What a product of whole matrices writes, and which of its matrices is cut. */
interface Case {
  readonly name: string;
  readonly cut: "b" | "y";
  readonly make: () => { readonly product: Matmul; readonly outputs: readonly Tensor[] };
}

const a = drawn(M, K);
const columns = drawn(M, N);
const cases: readonly Case[] = [
  {
    name: "columns of y, with norm, bias, residual and gate",
    cut: "b",
    make: () => {
      const [y, rstd, h] = [drawn(M, N), drawn(M), drawn(M, N / 2)];
      const norm = { gain: drawn(K), rstd, eps: 1e-6 };
      const fused = { norm, bias: drawn(N), residual: columns, gated: { h } };
      return {
        product: { a, b: drawn(N, K), y, M, N, K, transposeB: true, ...fused },
        outputs: [y, rstd, h],
      };
    },
  },
  {
    name: "summands, added, with factors",
    cut: "b",
    make: () => {
      const y = Tensor.from(runtime, new Float32Array(M * N).fill(2), [M, N]);
      const scaleB = { rows: drawn(K), columns: drawn(N) };
      return { product: { a, b: drawn(K, N), y, M, N, K, scaleB, accumulate: true }, outputs: [y] };
    },
  },
  {
    name: "summands, with the gradient of a gate",
    cut: "b",
    make: () => {
      const y = drawn(M, 2 * N);
      const gateBackward = { gate_up: drawn(M, 2 * N) };
      return { product: { a, b: drawn(K, N), y, M, N, K, gateBackward }, outputs: [y] };
    },
  },
  {
    name: "rows of y, added, with sums of its factor",
    cut: "y",
    make: () => {
      const [y, sums] = [Tensor.from(runtime, new Float32Array(N * K).fill(1), [N, K]), drawn(N)];
      const sizes = { M: N, N: K, K: M, transposeA: true, accumulate: true };
      return { product: { a: columns, b: a, y, ...sizes, sumA: { y: sums } }, outputs: [y, sums] };
    },
  },
];

describe.each([
  ["this adapter", {}],
  ["GPUs", { isSoftware: false }],
] as const)("kernels for %s", (_, facts) => {
  const launcher = new Launcher(runtime, { ...runtime.facts, ...facts });
  const run = async (product: Matmul, outputs: readonly Tensor[]) => {
    const scratch = (_name: string, shape: readonly number[]) => Tensor.empty(runtime, shape);
    matmulInto({ facts: launcher.facts, run: launcher.run.bind(launcher), scratch }, product);
    return Promise.all(outputs.map((tensor) => tensor.read()));
  };

  test.each(cases)("$name", async ({ cut, make }) => {
    seed = 100;
    const whole = make();
    const expected = await run(whole.product, whole.outputs);
    seed = 100;
    const { product, outputs } = make();
    const actual = await run({ ...product, [cut]: inPieces(product[cut]) }, outputs);
    expected.forEach((values, index) => {
      const apart = Array.from(values, (value, i) => Math.abs(value - actual[index][i]));
      expect(apart.reduce((most, value) => Math.max(most, value), 0)).toBeLessThan(1e-5);
    });
  });
});
