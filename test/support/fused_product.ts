/** Matrix products with something fused into them, against float64. */
import { Tensor } from "../../src/autograd/tensor.js";
import { Random } from "../../src/core/random.js";
import type { Launcher } from "../../src/kernels/engine/launch.js";
import { matmulInto } from "../../src/kernels/matmul/matmul_into.js";
import type { Matmul } from "../../src/kernels/matmul/matmul_product.js";
import type { MatmulTile } from "../../src/kernels/matmul/matmul_shape.js";

export interface FusedProduct {
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  readonly accumulate?: boolean;
  readonly fused: readonly (
    | "norm"
    | "scaleB"
    | "bias"
    | "residual"
    | "gated"
    | "gateBackward"
    | "sumA"
    | "sumAadded"
  )[];
}

type Name =
  | "a"
  | "b"
  | "y"
  | "gain"
  | "rows"
  | "columns"
  | "bias"
  | "residual"
  | "gate_up"
  | "h"
  | "rstd"
  | "sum";

const EPS = 0.01;

/** What an output held before, where it is added to. */
const BEFORE = 0.5;

/**
 * Launches a product on drawn numbers.
 * @param tolerance of one element, for each square root of K
 * @returns what is wrong, for people; undefined when all outputs are right
 */
export async function fusedMistake(
  launcher: Launcher,
  product: FusedProduct,
  tile?: MatmulTile,
  tolerance = 2e-5,
): Promise<string | undefined> {
  const { M, N, K } = product;
  const has = (what: FusedProduct["fused"][number]) => product.fused.includes(what);
  const random = Random.of(5, JSON.stringify(product));
  const width = has("gateBackward") ? 2 * N : N;
  const sizes: Record<Name, number> = {
    a: M * K,
    b: K * N,
    y: M * width,
    gain: K,
    rows: K,
    columns: N,
    bias: N,
    residual: M * N,
    gate_up: 2 * M * N,
    h: Math.ceil((M * N) / 2),
    rstd: M,
    sum: M,
  };
  const outputs: readonly Name[] = ["y", "h", "rstd", "sum"];
  const arrays = {} as Record<Name, Float32Array>;
  const views = {} as Record<Name, Tensor>;
  for (const [name, size] of Object.entries(sizes) as [Name, number][]) {
    arrays[name] = Float32Array.from({ length: size }, () =>
      outputs.includes(name) ? BEFORE : random.normal(),
    );
    views[name] = Tensor.from(launcher.runtime, arrays[name]);
  }
  const { a, b, y, gain, rows, columns, bias, residual, gate_up, h, rstd, sum } = views;
  const fused: Partial<Matmul> = {
    ...(has("norm") && { norm: { gain, rstd, eps: EPS } }),
    ...(has("scaleB") && { scaleB: { rows, columns } }),
    ...(has("bias") && { bias }),
    ...(has("residual") && { residual }),
    ...(has("gated") && { gated: { h } }),
    ...(has("gateBackward") && { gateBackward: { gate_up } }),
    ...(has("sumA") && { sumA: { y: sum } }),
    ...(has("sumAadded") && { sumA: { y: sum, accumulate: true } }),
  };
  const borrowed: Tensor[] = [];
  const runner = {
    facts: launcher.facts,
    run: launcher.run.bind(launcher),
    scratch: (_name: string, shape: readonly number[]) => {
      const tensor = Tensor.empty(launcher.runtime, shape);
      borrowed.push(tensor);
      return tensor;
    },
  };
  matmulInto(runner, { ...product, ...fused, a, b, y }, tile);
  const got = {} as Record<Name, ArrayLike<number>>;
  for (const name of outputs) got[name] = await views[name].read();
  for (const tensor of [...Object.values(views), ...borrowed]) tensor.release();
  const expected = reference(product, arrays);
  for (const name of outputs) {
    const mistake = worst(name, got[name], expected[name], tolerance * Math.sqrt(K));
    if (mistake) return mistake;
  }
  return undefined;
}

/** Outputs in float64; those that are not written stay as they were. */
function reference(
  { M, N, K, transposeA, transposeB, accumulate, fused }: FusedProduct,
  arrays: Readonly<Record<Name, Float32Array>>,
): Record<Name, Float64Array> {
  const has = (what: FusedProduct["fused"][number]) => fused.includes(what);
  const result = Object.fromEntries(
    Object.entries(arrays).map(([name, values]) => [name, Float64Array.from(values)]),
  ) as Record<Name, Float64Array>;
  const { y, h, rstd, sum } = result;
  const put = (index: number, value: number) => {
    y[index] = (accumulate ? BEFORE : 0) + value;
  };
  const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
  const { gain, rows, columns, bias, residual, gate_up } = arrays;
  for (let m = 0; m < M; m++) {
    const left = Float64Array.from({ length: K }, (_, k) => arrays.a[transposeA ? k * M + m : m * K + k]);
    const scale = 1 / Math.sqrt(left.reduce((total, value) => total + value * value, 0) / K + EPS);
    if (has("norm")) rstd[m] = scale;
    if (has("sumA") || has("sumAadded"))
      sum[m] = (has("sumAadded") ? BEFORE : 0) + left.reduce((total, value) => total + value, 0);
    for (let n = 0; n < N; n++) {
      let value = 0;
      for (let k = 0; k < K; k++) {
        const factor = (has("norm") ? gain[k] * scale : 1) * (has("scaleB") ? rows[k] * columns[n] : 1);
        value += left[k] * arrays.b[transposeB ? n * K + k : k * N + n] * factor;
      }
      const at = m * N + n;
      value += (has("bias") ? bias[n] : 0) + (has("residual") ? residual[at] : 0);
      if (has("gateBackward")) {
        const [gate, up] = gate_up.subarray(2 * at, 2 * at + 2);
        put(2 * at, value * up * sigmoid(gate) * (1 + gate * (1 - sigmoid(gate))));
        put(2 * at + 1, value * gate * sigmoid(gate));
      } else put(at, value);
      if (has("gated") && n % 2 === 1) {
        const gate = y[at - 1] - (accumulate ? BEFORE : 0);
        h[(at - 1) / 2] = gate * sigmoid(gate) * value;
      }
    }
  }
  return result;
}

function worst(
  name: string,
  got: ArrayLike<number>,
  expected: Float64Array,
  tolerance: number,
): string | undefined {
  for (let i = 0; i < expected.length; i++) {
    // written so that NaN fails
    if (!(Math.abs(got[i] - expected[i]) <= tolerance * (1 + Math.abs(expected[i]))))
      return `${name}[${i}] of ${expected.length}: got ${got[i]}, expected ${expected[i]}`;
  }
  return undefined;
}
