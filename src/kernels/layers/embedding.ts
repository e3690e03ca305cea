import * as shader from "../../../shaders/layers/embedding.js";
import { ArgumentError } from "../../core/errors.js";
import { piecesOf } from "../engine/array_view.js";
import {
  defineOp,
  type Kernel,
  type KernelUnit,
  optional,
  type PlanContext,
  real,
  type ShaderInput,
  u32,
} from "../engine/op.js";
import type { GradientTarget, LookupGradient } from "../engine/weight_gradient.js";

/** Floats of one element. */
const vectorWidth = (C: number): 1 | 4 => (C % 4 === 0 ? 4 : 1);
const columns = (C: number): number => C / vectorWidth(C);
const element = ({ constants }: ShaderInput): string =>
  vectorWidth(constants.C as number) === 4 ? "vec4<f32>" : "f32";

const forwardKernel: Kernel = {
  entry: "forward",
  shader: ({ constants }) => shader.forward(columns(constants.C as number)),
  constants: ["C"],
  reads: ["token", "weight"],
  writes: ["y"],
  elements: (input) => ({ weight: element(input), y: element(input) }),
  workgroups: ({ N, C }) => Math.ceil((N * columns(C)) / shader.WORKGROUP),
};

const forwardUnit: KernelUnit = {
  op: "embedding",
  scalars: { N: "u32", V: "u32", C: "u32" },
  kernel: forwardKernel,
};

/** Over the rows `first` to `first + rows` of the weight, which is in pieces. */
const PIECE = { first: "u32", rows: "u32" } as const;

const forwardPieceUnit: KernelUnit = {
  op: "embedding",
  scalars: { ...forwardUnit.scalars, ...PIECE },
  kernel: {
    ...forwardKernel,
    entry: "forward_piece",
    shader: ({ constants }) => shader.forwardPiece(columns(constants.C as number)),
  },
};

function forward({ run, views: { token, weight, y }, scalars: { N, V, C } }: PlanContext): void {
  if (!weight.pieces) {
    run(forwardUnit, { token, weight, y }, { N, V, C });
    return;
  }
  for (const { first, rows, view } of piecesOf(weight))
    run(forwardPieceUnit, { token, weight: view, y }, { N, V, C, first, rows });
}

const backwardUnit: KernelUnit = {
  op: "embedding",
  scalars: { C: "u32", U: "u32" },
  kernel: {
    entry: "backward",
    shader: (input) => shader.backward(element(input), columns(input.constants.C as number)),
    constants: ["C"],
    reads: ["d_y", "order", "id", "segment_start"],
    writes: ["d_weight"],
    elements: (input) => ({ d_y: element(input), d_weight: element(input) }),
    workgroups: ({ U, C }) => Math.ceil((U * columns(C)) / shader.WORKGROUP),
  },
};

const backwardPieceUnit: KernelUnit = {
  op: "embedding",
  scalars: { ...backwardUnit.scalars, ...PIECE },
  kernel: {
    ...backwardUnit.kernel,
    entry: "backward_piece",
    shader: (input) => shader.backwardPiece(element(input), columns(input.constants.C as number)),
  },
};

/**
 * Row lookup y[n] = weight[token[n]]. The gradient of a row is summed over its tokens in ascending order, without
 * atomics, along the segments that `embeddingSegments` makes on the host: `order`, `id` and `segment_start` are needed
 * for backward only. When the gradient accumulates, rows of absent tokens are not touched.
 * The caller keeps `token` below V.
 */
export const embedding = defineOp({
  name: "embedding",
  inputs: {
    token: u32("N"),
    weight: real("V C"),
    order: optional(u32("N")),
    id: optional(u32("U")),
    segment_start: optional(u32("U1")),
  },
  outputs: { y: real("N C") },
  derive: ({ U, U1 }) => {
    if (U !== undefined && U1 !== U + 1) {
      throw new ArgumentError(
        `[embedding] segment_start does not fit: got ${U1} values for ${U} ids, expected one more than ids. Take both from embeddingSegments.`,
      );
    }
    return {};
  },
  forward,
  backward: ({ views, weightGradient, scalars: { N, C, U } }) => {
    const { d_weight, d_y: gradient, order, id, segment_start } = views;
    if (!d_weight) return;
    if (!order || !id || !segment_start) {
      throw new ArgumentError(
        "[embedding] the gradient of weight needs order, id and segment_start. Pass what embeddingSegments(tokens) returns.",
      );
    }
    weightGradient({ kind: "lookup", weight: "weight", gradient, order, id, segment_start, N, C, U });
  },
  reference: ({ token, weight }, { N, C }) => {
    const y = new Float64Array(N * C);
    for (let n = 0; n < N; n++) y.set(weight.subarray(token[n] * C, (token[n] + 1) * C), n * C);
    return { y };
  },
  cost: ({ N, C }) => ({
    forward: { flops: 0, bytes: 4 * (2 * N * C + N) },
    backward: { flops: N * C, bytes: 4 * (2 * N * C + 2 * N) },
  }),
});

const WEIGHT: ReadonlySet<string> = new Set(["d_weight"]);

/** The gradient of the rows that were looked up; the others become, or stay, what they are without it. */
export function lookupGradientInto(
  { run, clear }: Pick<PlanContext, "run" | "clear">,
  { gradient: d_y, order, id, segment_start, C, U }: LookupGradient,
  { view: d_weight, accumulate }: GradientTarget,
): void {
  if (!accumulate) clear(d_weight);
  const segments = { d_y, order, id, segment_start };
  if (!d_weight.pieces) {
    run(backwardUnit, { ...segments, d_weight }, { C, U }, WEIGHT);
    return;
  }
  for (const { first, rows, view } of piecesOf(d_weight))
    run(backwardPieceUnit, { ...segments, d_weight: view }, { C, U, first, rows }, WEIGHT);
}

/** Token positions grouped by token id, for the gradient of `embedding`. */
export interface EmbeddingSegments {
  /** Positions 0..N-1, stably sorted by token id. */
  readonly order: Uint32Array;
  /** The distinct ids, ascending: input `id`. */
  readonly ids: Uint32Array;
  /** `order[starts[u]] .. order[starts[u + 1] - 1]` are the positions of `ids[u]`: input `segment_start`. */
  readonly starts: Uint32Array;
}

/** Groups the positions of `tokens` by token id. */
export function embeddingSegments(tokens: ArrayLike<number>): EmbeddingSegments {
  // one number for token and position: sorting numbers is several times faster than sorting by a comparison of one's own
  const keys = Float64Array.from(tokens, (token, position) => token * tokens.length + position).sort();
  const order = Uint32Array.from(keys, (key) => key % tokens.length);
  const ids: number[] = [];
  const starts: number[] = [];
  order.forEach((position, at) => {
    const id = tokens[position] as number;
    if (ids.at(-1) === id) return;
    ids.push(id);
    starts.push(at);
  });
  return { order, ids: Uint32Array.from(ids), starts: Uint32Array.from([...starts, tokens.length]) };
}
