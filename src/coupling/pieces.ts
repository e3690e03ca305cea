/** How the gradient of a parameter is cut up: into pieces that fit scratch memory, regions of one name, parts of a sum. Pure. */
import type { StoredShape } from "../autograd/parameter_slots.js";

/** Rows of a piece that belong to one parameter under its Hugging Face name. Rows have C elements. */
export interface Region {
  readonly name: string;
  /** Elements of a sample's gradient before the region's own. */
  readonly start: number;
  readonly R: number;
  readonly C: number;
  /** Row r of the region is row `origin` + `stride` r of the stored tensor. */
  readonly origin: number;
  readonly stride: number;
  /** The region's parts: `first` to `end` of the piece's. */
  readonly first: number;
  readonly end: number;
}

/** Consecutive rows of a stored tensor, whose gradients of all samples are in memory at the same time. */
export interface Piece {
  readonly first: number;
  readonly rows: number;
  /** Rows that alternate between two parameters are laid parameter after parameter. */
  readonly interleave: 1 | 2;
  readonly regions: readonly Region[];
  /** Where parts of a sum over elements begin, and the end of the last. */
  readonly offsets: readonly number[];
}

/** Elements that are summed in one go, about: a part is a whole number of rows, the same whatever the batch. */
const PART_ELEMENTS = 2048;
/** Tiles of the vocabulary begin at multiples of this many rows, and so must parts. */
const MOST_PART_ROWS = 64;

/** Rows of a part: a power of two. */
function partRows(C: number): number {
  return Math.min(MOST_PART_ROWS, 2 ** Math.max(0, Math.floor(Math.log2(PART_ELEMENTS / C))));
}

/** A name's rows within the rows that are cut up. */
interface Span {
  readonly name: string;
  readonly first: number;
  readonly rows: number;
}

/**
 * Cuts `rows` rows from `first` on of a stored tensor of rows of C elements.
 * @param mostRows rows of a piece; at least one part's are taken
 */
export function cutPieces(
  stored: StoredShape,
  { first, rows, C }: Readonly<Record<"first" | "rows" | "C", number>>,
  mostRows: number,
): Piece[] {
  const step = partRows(C);
  const parts = stored.parts ?? [{ name: stored.name, shape: stored.shape, first: 0, stride: 1 }];
  const interleave = parts[0]?.stride === 2 ? 2 : 1;
  if (interleave === 2) {
    const names = parts.map(({ name }) => name);
    const pairs = Math.max(1, Math.floor(mostRows / 2 / step)) * step;
    return ranges(first / 2, rows / 2, pairs).map((range) => interleavedPiece(names, range, C));
  }
  const spans = parts
    .map(({ name, first: start, shape }) =>
      clip({ name, first: start, rows: shape[0] as number }, first, rows),
    )
    .filter((span) => span.rows > 0);
  if (rows <= mostRows) return [plainPiece(spans, C, parts)];
  const most = Math.max(1, Math.floor(mostRows / step)) * step;
  return spans.flatMap(({ name, first: start, rows: count }) =>
    ranges(start, count, most).map((range) => plainPiece([{ name, ...range }], C, parts)),
  );
}

function clip(span: Span, first: number, rows: number): Span {
  const start = Math.max(span.first, first);
  return { ...span, first: start, rows: Math.min(span.first + span.rows, first + rows) - start };
}

function ranges(first: number, rows: number, most: number): { first: number; rows: number }[] {
  const result: { first: number; rows: number }[] = [];
  for (let at = 0; at < rows; at += most) result.push({ first: first + at, rows: Math.min(most, rows - at) });
  return result;
}

function plainPiece(
  spans: readonly Span[],
  C: number,
  parts: readonly { readonly name: string; readonly first: number }[],
): Piece {
  const [{ first }] = spans as [Span];
  const offsets = [0];
  const regions = spans.map((span): Region => {
    const within = span.first - (parts.find(({ name }) => name === span.name)?.first ?? 0);
    return region(offsets, { ...span, within, start: (span.first - first) * C, stride: 1 }, C);
  });
  return { first, rows: spans.reduce((sum, { rows }) => sum + rows, 0), interleave: 1, regions, offsets };
}

function interleavedPiece(
  names: readonly string[],
  { first: within, rows }: { readonly first: number; readonly rows: number },
  C: number,
): Piece {
  const offsets = [0];
  const regions = names.map((name, k): Region => {
    const first = names.length * within + k;
    return region(offsets, { name, first, rows, within, start: k * rows * C, stride: names.length }, C);
  });
  return { first: names.length * within, rows: names.length * rows, interleave: 2, regions, offsets };
}

/** Appends the parts of a region, which begin at fixed rows of the parameter. @param span `within`: its first row there */
function region(
  offsets: number[],
  {
    name,
    first,
    rows,
    within,
    start,
    stride,
  }: Span & Readonly<Record<"within" | "start" | "stride", number>>,
  C: number,
): Region {
  const step = partRows(C);
  const firstPart = offsets.length - 1;
  for (let row = 0; row < rows; ) {
    row = Math.min(rows, (Math.floor((within + row) / step) + 1) * step - within);
    offsets.push(start + row * C);
  }
  return { name, start, R: rows, C, origin: first, stride, first: firstPart, end: offsets.length - 1 };
}

/** A bias beside the rows of a piece: one element a row, parts as of the rows. @param nameOf the bias's name by the weight's */
export function biasPiece(piece: Piece, C: number, nameOf: (name: string) => string): Piece {
  return {
    ...piece,
    offsets: piece.offsets.map((offset) => offset / C),
    regions: piece.regions.map((one) => ({ ...one, name: nameOf(one.name), start: one.start / C, C: 1 })),
  };
}

/** A vector as one piece, in parts of fixed length. */
export function vectorPiece(name: string, C: number): Piece {
  const offsets = [0];
  for (let at = 0; at < C; ) {
    at = Math.min(C, at + PART_ELEMENTS);
    offsets.push(at);
  }
  const end = offsets.length - 1;
  const regions = [{ name, start: 0, R: 1, C, origin: 0, stride: 1, first: 0, end }];
  return { first: 0, rows: 1, interleave: 1, regions, offsets };
}

/**
 * Looked-up rows of a tensor in pieces; a part holds the rows of one block of ids, so that it is the same sum whatever else
 * was looked up.
 * @param ids ascending
 * @returns pieces whose `first` and `rows`, and the regions' `origin`, count looked-up rows
 */
export function lookupPieces(name: string, ids: Uint32Array, C: number, mostRows: number): Piece[] {
  const step = partRows(C);
  const blocks: { first: number; rows: number }[] = [];
  let block = -1;
  ids.forEach((id, u) => {
    if (Math.floor(id / step) !== block) blocks.push({ first: u, rows: 0 });
    block = Math.floor(id / step);
    (blocks.at(-1) as { rows: number }).rows++;
  });
  const pieces: Piece[] = [];
  let held: typeof blocks = [];
  const close = () => {
    if (held.length === 0) return;
    const first = (held[0] as { first: number }).first;
    const offsets = [0, ...held.map((one) => (one.first + one.rows - first) * C)];
    const rows = held.reduce((sum, one) => sum + one.rows, 0);
    const regions = [{ name, start: 0, R: rows, C, origin: first, stride: 1, first: 0, end: held.length }];
    pieces.push({ first, rows, interleave: 1, regions, offsets });
    held = [];
  };
  for (const one of blocks) {
    const rows = held.reduce((sum, { rows }) => sum + rows, one.rows);
    if (rows > mostRows) close();
    held.push(one);
  }
  close();
  return pieces;
}
