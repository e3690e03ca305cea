/** Watches the one door for gradients of parameters, and works out each sample's own gradient from what passed there. */
import { expect } from "vitest";
import { Tensor } from "../../src/autograd/tensor.js";
import type { Runtime } from "../../src/gpu/runtime.js";
import type { ArrayView } from "../../src/kernels/engine/op.js";
import type { GradientObserver, ObservedGradient } from "../../src/kernels/engine/weight_gradient.js";

/** First row of each sample, and the end of the last one, by the name of the rows. */
export type SampleRows = Readonly<Record<string, readonly number[]>>;

/** Rows of samples of these lengths. */
export function offsetsOf(lengths: readonly number[]): number[] {
  const offsets = [0];
  for (const length of lengths) offsets.push(offsets[offsets.length - 1] + length);
  return offsets;
}

/** Keeps copies of all factors: their memory is used again after the observer has returned. */
export class GradientRecorder implements GradientObserver {
  readonly seen: { readonly observed: ObservedGradient; readonly copies: Map<ArrayView, Tensor> }[] = [];
  readonly finals: string[] = [];

  /** @param answer whether the recorder claims to have computed the gradients itself */
  constructor(
    readonly runtime: Runtime,
    readonly answer: boolean,
  ) {}

  factors(observed: ObservedGradient): boolean {
    const copies = new Map<ArrayView, Tensor>();
    const keep = (view: ArrayView) => {
      const copy = Tensor.empty(this.runtime, view.shape, view.dtype);
      this.runtime.copy({ ...view.range, bytes: copy.range.bytes }, copy.range);
      copies.set(view, copy);
    };
    const { factors } = observed;
    keep(factors.gradient);
    if (factors.kind !== "lookup") keep(factors.input);
    if (factors.kind === "gain") keep(factors.rows);
    if (factors.kind === "product" && factors.scale) {
      keep(factors.scale.rows);
      keep(factors.scale.columns);
    }
    if (factors.kind === "lookup")
      for (const one of [factors.order, factors.id, factors.segment_start]) keep(one);
    this.seen.push({ observed, copies });
    return this.answer;
  }

  final(parameter: string): void {
    this.finals.push(parameter);
  }

  /**
   * Gradient of each sample by parameter, in float64.
   * @param sizes number of values of a parameter
   */
  async perSample(rowsOf: SampleRows, sizes: (name: string) => number): Promise<Map<string, Float64Array[]>> {
    const result = new Map<string, Float64Array[]>();
    for (const { observed, copies } of this.seen) {
      const read = async (view: ArrayView) => (await (copies.get(view) as Tensor).read()) as Float32Array;
      const offsets = rowsOf[observed.rows as string];
      expect(offsets.at(-1)).toBe(observed.factors.N);
      const sampleOf = Array.from({ length: observed.factors.N }, (_, n) =>
        offsets.findLastIndex((first) => first <= n),
      );
      const of = (name: string, n: number) => {
        const samples = result.get(name) ?? offsets.slice(1).map(() => new Float64Array(sizes(name)));
        result.set(name, samples);
        return samples[sampleOf[n]];
      };
      await addFactors(observed, read, of);
    }
    return result;
  }

  /** The same added up over the samples. */
  async sums(rowsOf: SampleRows, sizes: (name: string) => number): Promise<Map<string, Float64Array>> {
    const samples = await this.perSample(rowsOf, sizes);
    return new Map(
      [...samples].map(([name, all]) => [
        name,
        all.reduce((sum, one) => sum.map((value, i) => value + one[i])),
      ]),
    );
  }
}

/** Adds what each row contributes. @param of the gradient of the sample that row n belongs to */
async function addFactors(
  { factors, parameter, bias }: ObservedGradient,
  read: (view: ArrayView) => Promise<Float32Array>,
  of: (name: string, n: number) => Float64Array,
): Promise<void> {
  const gradient = await read(factors.gradient);
  const name = parameter as string;
  if (factors.kind === "lookup") {
    const { C } = factors;
    const [order, id, starts] = await Promise.all(
      [factors.order, factors.id, factors.segment_start].map(read),
    );
    id.forEach((row, u) => {
      for (let at = starts[u]; at < starts[u + 1]; at++)
        for (let c = 0; c < C; c++) of(name, order[at])[row * C + c] += gradient[order[at] * C + c];
    });
    return;
  }
  const input = await read(factors.input);
  if (factors.kind === "gain") {
    const rows = await read(factors.rows);
    const { N, C } = factors;
    const parts = gradient.length / (N * C);
    for (let n = 0; n < N; n++)
      for (let c = 0; c < C; c++)
        for (let p = 0; p < parts; p++)
          of(name, n)[c] += gradient[(p * N + n) * C + c] * input[n * C + c] * rows[n];
    return;
  }
  const { N, O, I, first = 0, scale } = factors;
  const [rows, columns] = scale ? [await read(scale.rows), await read(scale.columns)] : [];
  for (let n = 0; n < N; n++)
    for (let o = 0; o < O; o++) {
      const d = gradient[n * O + o];
      if (bias !== undefined) of(bias, n)[o] += d;
      for (let i = 0; i < I; i++)
        of(name, n)[(first + o) * I + i] +=
          d * input[n * I + i] * (rows && columns ? rows[n] * columns[i] : 1);
    }
}
