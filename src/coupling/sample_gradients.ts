/** Per-sample gradients of all parameters, a piece at a time, from the factors that a tape's backward pass shows. */
import type { StoredShape } from "../autograd/parameter_slots.js";
import { Tensor } from "../autograd/tensor.js";
import { ArgumentError } from "../core/errors.js";
import {
  biasBySampleInto,
  gainBySampleInto,
  lookupBySampleInto,
  maskColumnsInto,
  pickColumnsInto,
} from "../kernels/coupling/sample_gradients.js";
import { rowFactorsInto } from "../kernels/coupling/token_pairs.js";
import type {
  GainGradient,
  GradientObserver,
  LookupGradient,
  ObservedGradient,
  ProductGradient,
} from "../kernels/engine/weight_gradient.js";
import { embeddingSegments } from "../kernels/index.js";
import { segmentProductInto } from "../kernels/matmul/matmul_segments.js";
import { SCORED_ROWS, TOKEN_ROWS } from "../model/qwen2.js";
import type { PlannedPath } from "./paths.js";
import { biasPiece, cutPieces, lookupPieces, type Piece, vectorPiece } from "./pieces.js";
import type { PackedSamples } from "./samples.js";
import { type PieceSink, type TakenFactors, type TakenPiece, takeFactors, takeLookup } from "./taken.js";
import type { Workspace } from "./workspace.js";

export interface SampleGradientsOptions {
  readonly workspace: Workspace;
  readonly samples: PackedSamples;
  /** As `storedShapes` gives them. */
  readonly shapes: readonly StoredShape[];
  /** Whether embedding and vocabulary head are one tensor. */
  readonly isTied: boolean;
  readonly sinks: readonly PieceSink[];
  /** Bytes of one piece, about. */
  readonly pieceBytes: number;
  /**
   * By name of the stored matrix; `product` where nothing is said. For the others every sink must take factors, for `projected`
   * lookups, too.
   */
  readonly paths?: ReadonlyMap<string, PlannedPath> | undefined;
}

const EMBEDDING = "model.embed_tokens.weight";
/** The head's part of a tied tensor is kept whole until the embedding's arrives, where it is not larger than so many pieces. */
const KEPT_PIECES = 4;

/** What of a tied head waits for the embedding's part. */
interface KeptHead {
  /** The per-sample gradients [S, V C], whole; or those columns of the logits' gradient that are looked up [R, U], and the hidden states [R, C]. */
  readonly whole?: Tensor;
  readonly picked?: Tensor;
  readonly hidden?: Tensor;
}

/** An observer for the tape of one batch of samples. Computes no gradient of a batch: sinks may. */
export class SampleGradients implements GradientObserver {
  readonly #options: SampleGradientsOptions;
  readonly #shapes: ReadonlyMap<string, StoredShape>;
  readonly #S: number;
  readonly #ids: Uint32Array;
  readonly #id: Tensor;
  readonly #pairStart: Tensor;
  readonly #used: Tensor | undefined;
  #kept: KeptHead = {};

  constructor(options: SampleGradientsOptions) {
    this.#options = options;
    const { workspace, samples, shapes, isTied } = options;
    this.#shapes = new Map(shapes.map((shape) => [shape.name, shape]));
    this.#S = samples.tokenOffsets.length - 1;
    const { ids, pairStart } = samplePairs(samples);
    this.#ids = ids;
    this.#id = workspace.table(ids);
    this.#pairStart = workspace.table(pairStart);
    if (!isTied) return;
    const used = new Uint32Array(this.#shapes.get(EMBEDDING)?.shape[0] ?? 0);
    for (const id of ids) used[id] = 1;
    this.#used = workspace.table(used);
  }

  factors(observed: ObservedGradient): boolean {
    const { factors } = observed;
    if (factors.kind === "product") this.#product(observed, factors);
    else if (factors.kind === "gain") this.#gain(observed, factors);
    else this.#lookup(observed, factors);
    this.#options.workspace.giveBack();
    return true;
  }

  release(): void {
    for (const tensor of Object.values(this.#kept)) tensor?.release();
    this.#kept = {};
  }

  #stored(name: string | undefined): StoredShape {
    const stored = name === undefined ? undefined : this.#shapes.get(name);
    if (!stored)
      throw new ArgumentError(`[coupling] unknown parameter ${name}: expected one of the model's.`);
    return stored;
  }

  /** Rows of samples: u32 [S + 1]. @throws ArgumentError for rows without a name that is known here */
  #offsets(rows: string | undefined): Tensor {
    return this.#options.workspace.table(this.#rowOffsets(rows));
  }

  #rowOffsets(rows: string | undefined): Uint32Array {
    const { samples } = this.#options;
    if (rows === TOKEN_ROWS) return samples.tokenOffsets;
    if (rows === SCORED_ROWS) return samples.scoredOffsets;
    throw new ArgumentError(
      `[coupling] rows of unknown samples: got rows named ${rows}, expected ${TOKEN_ROWS} or ${SCORED_ROWS}. Name them by Tape.nameRows.`,
    );
  }

  #mostRows(C: number): number {
    return Math.floor(this.#options.pieceBytes / (4 * this.#S * C));
  }

  #give(taken: Omit<TakenPiece, "partOffset">): void {
    const partOffset = this.#options.workspace.table(taken.piece.offsets);
    for (const sink of this.#options.sinks) sink.take({ ...taken, partOffset });
  }

  #product(observed: ObservedGradient, factors: ProductGradient): void {
    if (this.#used && observed.parameter === EMBEDDING && this.#pathOf(EMBEDDING) !== "projected") {
      this.#tiedHead(observed, factors);
      return;
    }
    const { workspace } = this.#options;
    const { first = 0, I, O, scale } = factors;
    const weight = observed.parameter && this.#stored(observed.parameter);
    const bias = observed.bias && this.#stored(observed.bias);
    if (!weight || this.#pathOf(weight.name) !== "product") {
      this.#byFactors(observed, factors);
      return;
    }
    const offsets = this.#offsets(observed.rows);
    for (const piece of cutPieces(weight, { first, rows: O, C: I }, this.#mostRows(I))) {
      const { rows, interleave } = piece;
      const x = workspace.scratch("x", [this.#S, rows, I]);
      const sums = bias ? workspace.scratch("sums", [this.#S, rows]) : undefined;
      const { gradient: a, input: b } = factors;
      const at = piece.first - first;
      segmentProductInto(workspace, { a, first: at, M: rows, b, scale, offsets, y: x, interleave, sums });
      const flat = { ...x, shape: [this.#S, rows * I] };
      this.#give({ x: flat, piece, stored: weight.name, target: observed.target, targetFirst: first });
      if (bias && sums) {
        const beside = biasPiece(piece, I, biasNames(weight, bias));
        const target = observed.biasTarget;
        this.#give({ x: sums, piece: beside, stored: bias.name, target, targetFirst: 0 });
      }
      workspace.giveBack();
    }
  }

  #pathOf(stored: string): PlannedPath {
    return this.#options.paths?.get(stored) ?? "product";
  }

  /** Hands the sinks the factors of a matrix in place of its gradients; the bias beside it is a piece as ever. */
  #byFactors(observed: ObservedGradient, factors: ProductGradient): void {
    const { workspace, sinks } = this.#options;
    const { first = 0, N, O, I, scale, gradient: given } = factors;
    const weight = observed.parameter && this.#stored(observed.parameter);
    const bias = observed.bias && this.#stored(observed.bias);
    const cut = { first, rows: O, C: I };
    const [piece] = cutPieces((weight || bias) as StoredShape, cut, Number.POSITIVE_INFINITY) as [Piece];
    const { interleave, regions } = piece;
    let [input, gradient] = [factors.input, given];
    if (scale && weight) {
      input = workspace.scratch("input", [N, I]);
      rowFactorsInto(workspace, { x: factors.input, ...scale, y: input });
    }
    if (interleave === 2) {
      gradient = workspace.scratch("gradient", [N, O]);
      rowFactorsInto(workspace, { x: given, interleave, y: gradient });
    }
    const offsets = this.#rowOffsets(observed.rows);
    if (weight) {
      const all = weight.shape[0] as number;
      const rowsOf = (name: string) => weight.parts?.find((part) => part.name === name)?.shape[0] ?? all;
      const taken: TakenFactors = {
        input,
        gradient,
        parts: regions.map(({ name, R }) => ({ name, columns: R, rows: rowsOf(name) })),
        stored: weight.name,
        first,
        isWhole: O === all,
        isLast: first + O === all,
        offsets,
        factors,
        target: observed.target,
      };
      for (const sink of sinks) workspace.within(() => takeFactors(sink, taken));
    }
    if (bias) {
      const x = workspace.scratch("sums", [this.#S, O]);
      biasBySampleInto(workspace, gradient, workspace.table(offsets), x);
      const beside = weight
        ? biasPiece(piece, I, biasNames(weight, bias))
        : biasPiece(piece, I, (name) => name);
      this.#give({ x, piece: beside, stored: bias.name, target: observed.biasTarget, targetFirst: 0 });
    }
  }

  #gain(observed: ObservedGradient, factors: GainGradient): void {
    const { name } = this.#stored(observed.parameter);
    const x = this.#options.workspace.scratch("x", [this.#S, factors.C]);
    gainBySampleInto(this.#options.workspace, factors, this.#offsets(observed.rows), x);
    const piece = vectorPiece(name, factors.C);
    this.#give({ x, piece, stored: name, target: observed.target, targetFirst: 0 });
  }

  /** The head's part of a tied tensor: what the embedding adds to must wait for it. */
  #tiedHead(observed: ObservedGradient, factors: ProductGradient): void {
    const { rows, target } = observed;
    const { workspace, pieceBytes } = this.#options;
    const { runtime } = workspace.launcher;
    const { gradient: z, input: hidden, first = 0, O, I, N } = factors;
    const offsets = this.#offsets(rows);
    const V = this.#stored(EMBEDDING).shape[0] as number;
    const isByToken = this.#pathOf(EMBEDDING) === "token";
    if (!isByToken && O === V && 4 * this.#S * V * I <= KEPT_PIECES * pieceBytes) {
      const whole = Tensor.empty(runtime, [this.#S, V, I], "f32", "coupling.head");
      this.#kept = { whole };
      segmentProductInto(workspace, { a: z, first: 0, M: V, b: hidden, offsets, y: whole });
      return;
    }
    if (!this.#kept.hidden) {
      const copy = Tensor.empty(runtime, [N, I], hidden.dtype, "coupling.hidden");
      runtime.copy({ ...hidden.range, bytes: copy.range.bytes }, copy.range);
      this.#kept = {
        hidden: copy,
        picked: Tensor.empty(runtime, [N, this.#ids.length], "f32", "coupling.picked"),
      };
    }
    pickColumnsInto(workspace, { z, id: this.#id, picked: this.#kept.picked as Tensor }, first);
    const masked = Tensor.empty(runtime, [N, O], "f32", "coupling.masked");
    maskColumnsInto(workspace, { z, used: this.#used as Tensor, masked }, first);
    if (isByToken) {
      this.#byFactors(observed, { ...factors, gradient: masked });
      masked.release();
      return;
    }
    for (const piece of cutPieces(this.#stored(EMBEDDING), { first, rows: O, C: I }, this.#mostRows(I))) {
      const x = workspace.scratch("x", [this.#S, piece.rows, I]);
      const at = piece.first - first;
      segmentProductInto(workspace, { a: masked, first: at, M: piece.rows, b: hidden, offsets, y: x });
      const flat = { ...x, shape: [this.#S, piece.rows * I] };
      this.#give({ x: flat, piece, stored: EMBEDDING, target, targetFirst: first });
      workspace.giveBack();
    }
    masked.release();
  }

  #lookup({ parameter, target }: ObservedGradient, factors: LookupGradient): void {
    const { workspace } = this.#options;
    const { name, shape } = this.#stored(parameter);
    const { C, U } = factors;
    if (this.#pathOf(name) === "projected") {
      const { packed, tokenOffsets: offsets } = this.#options.samples;
      const token = workspace.table(packed.tokens);
      const taken = { stored: name, rows: shape[0] as number, gradient: factors.gradient, token, offsets };
      for (const sink of this.#options.sinks) workspace.within(() => takeLookup(sink, taken));
      return;
    }
    const { whole, picked, hidden } = this.#kept;
    const pairStart = this.#pairStart;
    if (whole) {
      const rows = shape[0] as number;
      const x = { ...whole, range: whole.range, shape: [this.#S, rows * C], dtype: whole.dtype };
      lookupBySampleInto(workspace, factors, {
        pairStart,
        first: 0,
        count: U,
        x,
        place: this.#id,
        adds: true,
      });
      const [piece] = cutPieces(this.#stored(name), { first: 0, rows, C }, rows) as [Piece];
      this.#give({ x, piece, stored: name, target, targetFirst: 0 });
      return;
    }
    for (const piece of lookupPieces(name, this.#ids, C, this.#mostRows(C))) {
      const x = workspace.scratch("x", [this.#S, piece.rows, C]);
      if (picked && hidden) {
        const offsets = this.#offsets(SCORED_ROWS);
        segmentProductInto(workspace, {
          a: picked,
          first: piece.first,
          M: piece.rows,
          b: hidden,
          offsets,
          y: x,
        });
      }
      const flat = { ...x, shape: [this.#S, piece.rows * C] };
      const lookup = { pairStart, first: piece.first, count: piece.rows, x: flat };
      lookupBySampleInto(workspace, factors, { ...lookup, adds: picked !== undefined });
      this.#give({ x: flat, piece, stored: name, target, targetFirst: 0, rowOf: this.#id });
      workspace.giveBack();
    }
  }
}

/** The name of a bias by that of the weight beside it: of the same rows. */
function biasNames(weight: StoredShape, bias: StoredShape): (name: string) => string {
  if (!weight.parts || !bias.parts) return () => bias.name;
  const byRow = new Map(bias.parts.map(({ name, first }) => [first, name]));
  const names = new Map(weight.parts.map(({ name, first }) => [name, byRow.get(first) as string]));
  return (name) => names.get(name) as string;
}

/** Looked-up ids, and where the places of each pair of id and sample begin among all places sorted by id: [U S + 1]. */
function samplePairs({ packed, tokenOffsets }: PackedSamples): { ids: Uint32Array; pairStart: Uint32Array } {
  const { order, ids, starts } = embeddingSegments(packed.tokens);
  const S = tokenOffsets.length - 1;
  const sampleOf = new Uint32Array(packed.tokens.length);
  for (let s = 0; s < S; s++) sampleOf.fill(s, tokenOffsets[s], tokenOffsets[s + 1]);
  const pairStart = new Uint32Array(ids.length * S + 1);
  ids.forEach((_, u) => {
    let at = starts[u] as number;
    for (let s = 0; s < S; s++) {
      pairStart[u * S + s] = at;
      while (at < (starts[u + 1] as number) && sampleOf[order[at] as number] === s) at++;
    }
  });
  pairStart[ids.length * S] = packed.tokens.length;
  return { ids, pairStart };
}
