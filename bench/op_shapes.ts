/** Sizes at which each op is measured: one update of a small policy, 1024 tokens of 8 sequences, width 256. */
import type { Random } from "../src/core/random.js";
import { embeddingSegments, ropeTable } from "../src/kernels/index.js";
import type { ReferenceArrays, Scalars } from "../src/kernels/op.js";

export type BenchDraw = (random: Random, sizes: Scalars, drawn: ReferenceArrays) => ArrayLike<number>;

export interface OpShape {
  /** Sizes of the input axes, for a full and for a quick run. */
  readonly sizes: Scalars;
  readonly quick: Scalars;
  readonly params?: Scalars;
  /** Inputs that are not standard normal numbers. */
  readonly draw?: Readonly<Record<string, BenchDraw>>;
  readonly without?: readonly string[];
  /** Inputs that take no gradient. */
  readonly constant?: readonly string[];
}

const N = 1024;
const fill = (count: number, value: (index: number) => number) =>
  Array.from({ length: count }, (_, i) => value(i));
const logProb: BenchDraw = (random, sizes) => fill(sizes.N, () => -2 * random.uniform());
const sequence = ({ T }: Scalars, n: number) => n - (n % T);

/** By op name. `matmul` has shapes of its own, see matmul.ts. */
export const OP_SHAPES: Readonly<Record<string, OpShape>> = {
  add: { sizes: { N, C: 256 }, quick: { N: 128, C: 64 } },
  attention: {
    sizes: { N, Q: 256, KV: 128, T: 128 },
    quick: { N: 128, Q: 64, KV: 32, T: 64 },
    params: { heads: 4, kv_heads: 2 },
    draw: {
      sequence_start: (_random, sizes) => fill(sizes.N, (n) => sequence(sizes, n)),
      sequence_end: (_random, sizes) => fill(sizes.N, (n) => Math.min(sizes.N, sequence(sizes, n) + sizes.T)),
    },
  },
  attention_decode: {
    sizes: { B: 8, S: 8, T: 256, Q: 256, KV: 128 },
    quick: { B: 2, S: 2, T: 64, Q: 64, KV: 32 },
    params: { heads: 4, kv_heads: 2 },
    draw: {
      slot: (_random, { B }) => fill(B, (b) => b),
      length: (_random, { B, T }) => fill(B, () => T),
    },
  },
  cross_entropy: { sizes: { N: 4096 }, quick: { N: 512 }, draw: { log_prob: logProb } },
  embedding: {
    sizes: { N, V: 2048, C: 256, U: 512, U1: 513 },
    quick: { N: 128, V: 256, C: 64, U: 64, U1: 65 },
    draw: {
      // exactly U distinct ids
      token: (random, { N, U }) => fill(N, (n) => 2 * (n < U ? n : random.integer(U))),
      order: (_random, _sizes, { token }) => embeddingSegments(token).order,
      id: (_random, _sizes, { token }) => embeddingSegments(token).ids,
      segment_start: (_random, _sizes, { token }) => embeddingSegments(token).starts,
    },
  },
  gather_rows: {
    sizes: { N, C: 256, R: 512 },
    quick: { N: 128, C: 64, R: 64 },
    draw: { index: (_random, { R }) => fill(R, (r) => 2 * r) },
  },
  linear: { sizes: { N, I: 256, O: 256 }, quick: { N: 128, I: 64, O: 64 } },
  linear_log_prob: {
    sizes: { N: 512, C: 128, V: 1024 },
    quick: { N: 64, C: 64, V: 256 },
    draw: {
      hidden: (random, { N, C }) => fill(N * C, () => 0.1 * random.normal()),
      target: (random, { N, V }) => fill(N, () => random.integer(V)),
    },
  },
  policy_loss: {
    sizes: { N: 4096 },
    quick: { N: 512 },
    params: { beta: 0.1 },
    draw: {
      log_prob: logProb,
      old_log_prob: logProb,
      reference_log_prob: logProb,
      weight: (_random, { N }) => fill(N, () => 1),
    },
    without: ["stream"],
  },
  rms_norm: { sizes: { N, C: 256 }, quick: { N: 128, C: 64 } },
  rope: {
    sizes: { N, W: 256, P: 128, D: 64 },
    quick: { N: 128, W: 64, P: 64, D: 16 },
    params: { heads: 4 },
    draw: {
      position: (_random, sizes) => fill(sizes.N, (n) => n % sizes.P),
      table: (_random, { P, D }) => ropeTable(P, D, 10_000),
    },
    constant: ["table"],
  },
  sample: {
    sizes: { B: 8, V: 2048 },
    quick: { B: 2, V: 256 },
    draw: { stream: (_random, { B }) => fill(B, (b) => b), counter: (_random, { B }) => fill(B, () => 0) },
  },
  swiglu: { sizes: { N, F: 768 }, quick: { N: 128, F: 192 } },
};
