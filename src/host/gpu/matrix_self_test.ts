/** Does this adapter multiply right by matrix hardware? Every tile that its facts allow, against the CPU. */
import { f16round } from "@petamoriken/float16";
import { Tensor } from "../../autograd/tensor.js";
import { Random } from "../../core/random.js";
import type { Runtime } from "../../gpu/runtime.js";
import { Launcher, matmulInto } from "../../kernels/index.js";
import { matrixTiles } from "../../kernels/matmul/matrix_plan.js";

/** One product y = op(a) op(b) + bias, or y = 1 + op(a) op(b) + bias with `accumulate`. */
export interface MatrixProduct {
  readonly batch: number;
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly bias: boolean;
  readonly accumulate: boolean;
  /** Split K into parts. */
  readonly inParts: boolean;
}

/** Of the sum of |a b| of one element: what f32 sums of up to 1,000 products may lose. Rounding to f16 loses 50 times more. */
const TOLERANCE = 2 ** -18;

/** One matrix, one whole tile, and edges that are aligned to nothing; then adding to y, and parts of a long K. */
export function matrixProducts(): MatrixProduct[] {
  const plain = { batch: 1, bias: false, accumulate: false, inParts: false };
  const layouts = [
    { transposeA: false, transposeB: false },
    { transposeA: false, transposeB: true },
    { transposeA: true, transposeB: false },
  ];
  const normal = { ...plain, ...layouts[0] };
  return [
    ...layouts.flatMap((layout) => [
      { ...plain, ...layout, M: 16, N: 16, K: 16 },
      { ...plain, ...layout, M: 64, N: 64, K: 64 },
      { ...plain, ...layout, M: 67, N: 35, K: 41, batch: 2, bias: true },
    ]),
    { ...normal, M: 132, N: 140, K: 36, bias: true, accumulate: true },
    { ...normal, M: 20, N: 24, K: 1000, inParts: true },
  ];
}

/**
 * Multiplies small matrices of known numbers at the precision that the runtime was opened with.
 * @returns what is wrong, for people; undefined when all products are right
 * @throws DeviceError when the driver refuses the kernels
 */
export async function findMatrixMistake(
  runtime: Runtime,
  products: readonly MatrixProduct[] = matrixProducts(),
): Promise<string | undefined> {
  const tiles = matrixTiles(runtime.facts);
  if (tiles.length === 0) return "no matrix shape of the adapter fits the kernel";
  const launcher = new Launcher(runtime);
  for (const tile of tiles) {
    for (const product of products) {
      const mistake = await compare(launcher, product, tile);
      if (mistake !== undefined)
        return `wrong product ${JSON.stringify(product)} by tile ${tile.tileM}x${tile.tileN}: ${mistake}`;
    }
  }
  return undefined;
}

async function compare(
  launcher: Launcher,
  product: MatrixProduct,
  tile: ReturnType<typeof matrixTiles>[number],
): Promise<string | undefined> {
  const { runtime, facts } = launcher;
  const { batch, M, N, K, inParts, accumulate } = product;
  const random = Random.of(11, JSON.stringify(product));
  const draw = (size: number) => Float32Array.from({ length: size }, () => random.normal());
  const arrays = { a: draw(batch * M * K), b: draw(batch * K * N), bias: draw(N) };
  const a = Tensor.from(runtime, arrays.a);
  const b = Tensor.from(runtime, arrays.b);
  const bias = product.bias ? Tensor.from(runtime, arrays.bias) : undefined;
  const y = Tensor.from(runtime, new Float32Array(batch * M * N).fill(1));
  const parts = inParts ? Tensor.empty(runtime, [batch * Math.ceil(K / 256) * M * N]) : undefined;
  const runner = {
    facts,
    run: launcher.run.bind(launcher),
    ...(parts && { scratch: () => parts }),
  };
  matmulInto(runner, { ...product, a, b, y, bias, accumulate }, tile);
  const got = await y.read();
  for (const tensor of [a, b, bias, y, parts]) tensor?.release();
  return firstWrongElement(product, arrays, got, tile.split);
}

/** Compares with float64 sums of what the kernel multiplies: whole factors with `split`, else factors rounded to f16. */
function firstWrongElement(
  { M, N, K, transposeA, transposeB, bias, accumulate }: MatrixProduct,
  arrays: Readonly<Record<"a" | "b" | "bias", Float32Array>>,
  got: ArrayLike<number>,
  split: boolean,
): string | undefined {
  const factor = (value: number) => (split ? value : f16round(value));
  for (let i = 0; i < got.length; i++) {
    const n = i % N;
    const m = Math.floor(i / N) % M;
    const start = Math.floor(i / (N * M)) * K;
    let sum = (bias ? arrays.bias[n] : 0) + (accumulate ? 1 : 0);
    let scale = Math.abs(sum);
    for (let k = 0; k < K; k++) {
      const left = factor(arrays.a[transposeA ? (start + k) * M + m : start * M + m * K + k]);
      const right = factor(arrays.b[transposeB ? start * N + n * K + k : (start + k) * N + n]);
      sum += left * right;
      scale += Math.abs(left * right);
    }
    // written so that NaN fails
    if (!(Math.abs(got[i] - sum) <= TOLERANCE * scale)) return `got ${got[i]} at ${i}, expected ${sum}`;
  }
  return undefined;
}
