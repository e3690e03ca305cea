/** How the Gram of a matrix's gradients is computed: from the gradients, or from products of tokens. Pure. */
import type { StoredShape } from "../autograd/parameter_slots.js";
import type { TokenBlock } from "../kernels/coupling/token_pairs.js";
import type { Qwen2Config } from "../model/config.js";
import { storedShapes } from "../model/parameters.js";

/**
 * `product`: the gradient of each sample, a piece at a time, and products of these. `token`: no gradient; K_ij is the sum over
 * tokens t of i and u of j of (a_t . a_u) (d_t . d_u), a what the matrix multiplied, d the gradient of the product.
 */
export type GramPath = "product" | "token";
/** As planned: `projected` is approximate, see `ProjectedGramSink`. */
export type PlannedPath = GramPath | "projected";

/** One matrix [O, I] under S samples of N rows together. */
export interface PathShape {
  readonly S: number;
  readonly N: number;
  readonly O: number;
  readonly I: number;
  /** The gradient of the batch is wanted, too. */
  readonly hasGradient: boolean;
}

/** Rows and columns of a tile of the Gram, about: tiles below the diagonal are not computed. */
const TILE = 32;
/** Pairs of samples whose gradients are multiplied: of many, little more than half. */
const computedPairs = (S: number): number => (S * Math.min(2 * S, S + TILE)) / 2;

/** Floating-point operations of a path, the sum of the batch's gradient included. */
export function pathFlops({ S, N, O, I, hasGradient }: PathShape, path: GramPath): number {
  if (path === "product")
    return 2 * N * O * I + 2 * computedPairs(S) * O * I + (hasGradient ? 2 * S * O * I : 0);
  // pairs of blocks of samples: little more than half of all pairs of tokens
  return N * N * (O + I) + (hasGradient ? 2 * N * O * I : 0);
}

/** Floating-point operations of gradients projected to `rank` on both sides. */
export function projectedFlops({ S, N, O, I }: PathShape, rank: number): number {
  const [R, C] = [Math.min(rank, O), Math.min(rank, I)];
  return 2 * N * (O * R + (I > rank ? I * C : 0)) + 2 * N * R * C + 2 * computedPairs(S) * R * C;
}

/** The path that takes fewer operations. */
export function cheaperPath(shape: PathShape): GramPath {
  return pathFlops(shape, "token") < pathFlops(shape, "product") ? "token" : "product";
}

/** Rows of a batch: of its samples' tokens, and of those of them whose next token is scored. */
export interface BatchSizes {
  readonly S: number;
  readonly N: number;
  readonly R: number;
}

/**
 * The path of each matrix, by the name under which it is stored. Rows that a tied embedding looks up have their gradients in
 * memory on either exact path, cross terms of head and lookup included; the path is that of its other rows.
 * @param shapes of what has gradients; default: all stored tensors of the model
 */
export function planPaths(
  config: Qwen2Config,
  { S, N, R }: BatchSizes,
  hasGradient: boolean,
  wish: PlannedPath | "auto" = "auto",
  shapes: readonly StoredShape[] = storedShapes(config),
): Map<string, PlannedPath> {
  const paths = new Map<string, PlannedPath>();
  for (const { name, shape } of shapes) {
    const [O, I] = shape as [number, number | undefined];
    const isEmbedding = name === "model.embed_tokens.weight";
    if (I === undefined || (isEmbedding && !config.tie_word_embeddings && wish !== "projected")) continue;
    const rows = isEmbedding || name === "lm_head.weight" ? R : N;
    paths.set(name, wish === "auto" ? cheaperPath({ S, N: rows, O, I, hasGradient }) : wish);
  }
  return paths;
}

/** Arrays over pairs of tokens that are in memory at once: one of inputs, and at most three of gradients. */
const PAIR_ARRAYS = 4;

/** Tokens of a block, so that arrays over all pairs of two blocks take the bytes of a piece. */
export const blockTokens = (pieceBytes: number): number =>
  Math.floor(Math.sqrt(pieceBytes / (4 * PAIR_ARRAYS)));

/** Consecutive samples of at most so many tokens together, or single ones of more. @param offsets [S + 1] */
export function tokenBlocks(offsets: ArrayLike<number>, mostTokens: number): TokenBlock[] {
  const blocks: TokenBlock[] = [];
  const S = offsets.length - 1;
  for (let first = 0; first < S; ) {
    const start = offsets[first] as number;
    let end = first + 1;
    while (end < S && (offsets[end + 1] as number) - start <= mostTokens) end++;
    blocks.push({ first, end, start, stop: offsets[end] as number });
    first = end;
  }
  return blocks;
}
