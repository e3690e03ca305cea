/** What is made of per-sample gradients: Grams, gradients of batches, dot products. */
import { Tensor } from "../autograd/tensor.js";
import {
  addPartsInto,
  dotsInto,
  type SampleRegion,
  weightedSumInto,
} from "../kernels/coupling/sample_sums.js";
import { rowFactorsInto, tokenPairsInto } from "../kernels/coupling/token_pairs.js";
import type { ArrayView } from "../kernels/engine/op.js";
import { matmulInto } from "../kernels/matmul/matmul_into.js";
import { segmentDotsInto } from "../kernels/matmul/matmul_segments.js";
import { blockTokens, tokenBlocks } from "./paths.js";
import type { Region } from "./pieces.js";
import type { PieceSink, TakenFactors, TakenPiece } from "./taken.js";
import type { Workspace } from "./workspace.js";

/** Zeros, to which every piece adds. */
function sumsOf(workspace: Workspace, shape: readonly number[], label: string): Tensor {
  return Tensor.zeros(workspace.launcher.runtime, shape, `coupling.${label}`);
}

const regionOf = ({ x, rowOf }: TakenPiece, region: Region, first = 0): SampleRegion => ({
  ...region,
  x,
  origin: region.origin - first,
  rowOf,
});

/** Gram of each parameter: K[i, j] = <g_i, g_j>. */
export class GramSink implements PieceSink {
  readonly #gram: Tensor;
  readonly #places: ReadonlyMap<string, number>;

  /** @param names parameters under their Hugging Face names @param S number of samples @param pieceBytes of products of tokens in memory */
  constructor(
    readonly workspace: Workspace,
    readonly names: readonly string[],
    readonly S: number,
    readonly pieceBytes: number,
  ) {
    this.#places = new Map(names.map((name, at) => [name, at]));
    this.#gram = sumsOf(workspace, [names.length, S, S], "gram");
  }

  take({ x, piece, partOffset }: TakenPiece): void {
    const { offsets, regions } = piece;
    const parts = this.workspace.scratch("parts", [offsets.length - 1, this.S, this.S]);
    const multiple = offsets.every((offset) => offset % 4 === 0) && (x.shape[1] as number) % 4 === 0 ? 4 : 1;
    segmentDotsInto(this.workspace, { a: x, b: x, offsets: partOffset, multiple, isUpper: true, y: parts });
    for (const { name, first, end } of regions) {
      const at = this.#places.get(name) as number;
      addPartsInto(this.workspace, { gram: this.#gram, parts }, { at, first, end });
    }
  }

  takeFactors({ input, gradient, parts, offsets }: TakenFactors): void {
    const { workspace } = this;
    const I = input.shape[1] as number;
    const starts = [0];
    for (const { columns } of parts) starts.push((starts.at(-1) as number) + columns);
    const pairs = {
      input,
      gradient,
      inputOffset: workspace.table([0, I]),
      partOffset: workspace.table(starts),
      isAligned: [I, ...starts].every((size) => size % 4 === 0),
      offsets: workspace.table(offsets),
      gram: this.#gram,
      places: parts.map(({ name }) => this.#places.get(name) as number),
    };
    const blocks = tokenBlocks(offsets, blockTokens(this.pieceBytes));
    for (const [at, a] of blocks.entries())
      for (const b of blocks.slice(at)) workspace.within(() => tokenPairsInto(workspace, pairs, a, b));
  }

  /** [S, S] of each parameter, row-major. */
  async read(): Promise<Map<string, Float32Array>> {
    const all = (await this.#gram.read()) as Float32Array;
    const size = this.S * this.S;
    return new Map(this.names.map((name, at) => [name, all.subarray(at * size, (at + 1) * size)]));
  }

  release(): void {
    this.#gram.release();
  }
}

/** Adds sum over samples of coefficient[s] g_s to the parameters' gradients. */
export class BatchGradientSink implements PieceSink {
  readonly #coefficients: Tensor;

  /** The same for every row of the samples, by the rows' offsets. */
  readonly #byRow = new Map<Uint32Array, Tensor>();

  constructor(
    readonly workspace: Workspace,
    readonly coefficients: readonly number[],
  ) {
    const data = Float32Array.from(coefficients);
    this.#coefficients = Tensor.from(workspace.launcher.runtime, data);
  }

  take(taken: TakenPiece): void {
    const { target, targetFirst, piece } = taken;
    if (!target) return;
    for (const region of piece.regions)
      weightedSumInto(this.workspace, regionOf(taken, region, targetFirst), this.#coefficients, target);
  }

  /** One product for the whole batch, of gradients times the coefficient of their sample. */
  takeFactors({ factors, target, offsets }: TakenFactors): void {
    if (!target) return;
    const { input, scale, N, O, I } = factors;
    const a = this.workspace.scratch("weighted", [N, O]);
    rowFactorsInto(this.workspace, { x: factors.gradient, rows: this.#rowsOf(offsets), y: a });
    const { view: y, accumulate } = target;
    const product = { a, b: input, scaleB: scale, y, accumulate, M: O, N: I, K: N, transposeA: true };
    matmulInto(this.workspace, product);
  }

  #rowsOf(offsets: Uint32Array): Tensor {
    let rows = this.#byRow.get(offsets);
    if (!rows) {
      const data = new Float32Array(offsets.at(-1) as number);
      this.coefficients.forEach((coefficient, s) => {
        data.fill(coefficient, offsets[s], offsets[s + 1]);
      });
      rows = Tensor.from(this.workspace.launcher.runtime, data);
      this.#byRow.set(offsets, rows);
    }
    return rows;
  }

  release(): void {
    this.#coefficients.release();
    for (const rows of this.#byRow.values()) rows.release();
  }
}

/** <g_s, direction> of each sample and direction, and |g_s|^2, by parameter. */
export class DotsSink implements PieceSink {
  readonly #sums: Tensor;
  readonly #places: ReadonlyMap<string, number>;

  /** @param directions each gives the array that lies like a stored tensor, by its name */
  constructor(
    readonly workspace: Workspace,
    readonly names: readonly string[],
    readonly S: number,
    readonly directions: readonly ((stored: string) => ArrayView)[],
  ) {
    this.#places = new Map(names.map((name, at) => [name, at]));
    this.#sums = sumsOf(workspace, [names.length, S, directions.length + 1], "dots");
  }

  take(taken: TakenPiece): void {
    const { piece, partOffset, stored } = taken;
    const directions = this.directions.map((direction) => direction(stored));
    for (const region of piece.regions) {
      const { first, end } = region;
      const at = this.#places.get(region.name) as number;
      const sums = this.#sums;
      dotsInto(this.workspace, regionOf(taken, region), { partOffset, first, end, directions, sums, at });
    }
  }

  /** [S, D + 1] of each parameter: dot products with the directions, then the squared norm. */
  async read(): Promise<Map<string, Float32Array>> {
    const all = (await this.#sums.read()) as Float32Array;
    const size = this.S * (this.directions.length + 1);
    return new Map(this.names.map((name, at) => [name, all.subarray(at * size, (at + 1) * size)]));
  }

  release(): void {
    this.#sums.release();
  }
}
