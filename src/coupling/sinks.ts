/** What is made of per-sample gradients: Grams, gradients of batches, dot products. */
import { Tensor } from "../autograd/tensor.js";
import {
  addPartsInto,
  dotsInto,
  type SampleRegion,
  weightedSumInto,
} from "../kernels/coupling/sample_sums.js";
import type { ArrayView } from "../kernels/engine/op.js";
import { segmentDotsInto } from "../kernels/matmul/matmul_segments.js";
import type { Region } from "./pieces.js";
import type { PieceSink, TakenPiece } from "./sample_gradients.js";
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

  /** @param names parameters under their Hugging Face names @param S number of samples */
  constructor(
    readonly workspace: Workspace,
    readonly names: readonly string[],
    readonly S: number,
  ) {
    this.#places = new Map(names.map((name, at) => [name, at]));
    this.#gram = sumsOf(workspace, [names.length, S, S], "gram");
  }

  take({ x, piece, partOffset }: TakenPiece): void {
    const { offsets, regions } = piece;
    const parts = this.workspace.scratch("parts", [offsets.length - 1, this.S, this.S]);
    const multiple = offsets.every((offset) => offset % 4 === 0) && (x.shape[1] as number) % 4 === 0 ? 4 : 1;
    segmentDotsInto(this.workspace, { a: x, b: x, offsets: partOffset, multiple, y: parts });
    for (const { name, first, end } of regions) {
      const at = this.#places.get(name) as number;
      addPartsInto(this.workspace, { gram: this.#gram, parts }, { at, first, end });
    }
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

  constructor(
    readonly workspace: Workspace,
    coefficients: readonly number[],
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

  release(): void {
    this.#coefficients.release();
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
