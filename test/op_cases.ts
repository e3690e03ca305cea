/** One row per op: sizes to try, how inputs are drawn, tolerances. Op-completeness is checked against the registry. */
import type { Random } from "../src/core/random.js";
import type { OpDefinition, Scalars } from "../src/kernels/engine/op.js";
import * as kernels from "../src/kernels/index.js";

/** How one input is drawn: a named distribution, or values from the random stream, all sizes and the inputs drawn before. */
export type Draw =
  | "normal"
  | "near_one"
  | ((random: Random, scalars: Scalars, drawn: Readonly<Record<string, Float64Array>>) => ArrayLike<number>);

export interface OpCase {
  readonly op: OpDefinition;
  /** Sizes of the input axes, and params that only fit these sizes; every set is tried. */
  readonly dims: readonly Scalars[];
  /** Sets of params tried with every size; default: the declared defaults. */
  readonly params?: readonly Scalars[];
  /** Default: `normal` for floats. */
  readonly draw?: Readonly<Record<string, Draw>>;
  /** Float inputs that take no gradient by design, such as precomputed tables. */
  readonly constant?: readonly string[];
  /** Optional inputs left out, set by set; default: all given, then all left out. */
  readonly without?: readonly (readonly string[])[];
  /** Largest allowed error relative to 1 + |expected|; default 2e-4 forward, 5e-4 gradient. */
  readonly tolerance?: { readonly forward?: number; readonly gradient?: number };
  /** Not tried in the GPU family on lavapipe, which would compile it for minutes; SwiftShader and GPUs do try it. */
  readonly ownFamilyOnly?: boolean;
  /** Has kernels of its own for CPU adapters without subgroups: tried on these too. */
  readonly withoutSubgroups?: boolean;
  /** Elements of each gradient checked by differences; default 12, drawn at random. */
  readonly probes?: number;
}

const row = (op: unknown, rest: Omit<OpCase, "op">): OpCase => ({ op: op as OpDefinition, ...rest });

/** Rows reading slots of a cache in random order, at the last and the first place, the edges of parts, and random ones. */
const decodeRow = (heads: number, kv_heads: number, D: number, dims: { B: number; S: number; T: number }) =>
  row(kernels.attentionDecode, {
    dims: [{ ...dims, W: (heads + 2 * kv_heads) * D, KV: kv_heads * D, P: dims.T, D }],
    params: [{ heads, kv_heads }],
    ownFamilyOnly: D > 64,
    draw: {
      table: (_random, { P, D }) => kernels.ropeTable(P, D, 100),
      slot: (random, { B, S }) => random.shuffle([...Array(S).keys()]).slice(0, B),
      position: (random, { B, T }) => {
        const edges = [T - 1, 0, 127, 128, 255, 256].filter((place) => place < T);
        return Array.from({ length: B }, (_, b) => edges[b] ?? random.integer(T));
      },
    },
  });

const logProbs: Draw = (random, { N }) => Array.from({ length: N }, () => -2 * random.uniform());

/** Sequences of 1 to 12 tokens, each in one stream. */
const policyLossDraw: Readonly<Record<string, Draw>> = {
  log_prob: logProbs,
  old_log_prob: logProbs,
  reference_log_prob: logProbs,
  weight: (random, { N }) => Array.from({ length: N }, () => random.integer(3) * random.uniform()),
  stream: (random, { N }) => {
    const streams: number[] = [];
    while (streams.length < N) {
      const stream = random.integer(2);
      streams.push(...Array<number>(1 + random.integer(12)).fill(stream));
    }
    return streams.slice(0, N);
  },
  sequence_start: (random, { N }, { stream }) => {
    const starts: number[] = [];
    for (let t = 0; t < N; t++) {
      const isNew = t === 0 || (stream && stream[t] !== stream[t - 1]) || random.integer(6) === 0;
      starts.push(isNew ? t : starts[t - 1]);
    }
    return starts;
  },
  count: (random, { N }) => Array.from({ length: N }, () => 1 + random.integer(4)),
  loss_scale: () => [8],
};

/** Sequences of 1 to 20 tokens, and longer ones now and then. */
const packedStarts: Draw = (random, { N }) => {
  const starts: number[] = [];
  while (starts.length < N) {
    const length = 1 + random.integer(random.integer(4) === 0 ? 50 : 20);
    starts.push(...Array<number>(length).fill(starts.length));
  }
  return starts.slice(0, N);
};

/** Attention over packed sequences. */
const attentionRow = (heads: number, kv_heads: number, sizes: readonly { N: number; D: number }[]): OpCase =>
  row(kernels.attention, {
    dims: sizes.map(({ N, D }) => ({ N, W: (heads + 2 * kv_heads) * D, P: 13, D })),
    params: [{ heads, kv_heads }],
    constant: ["table"],
    // unrotated heads differ in how rows are loaded only: tried for narrow and for wide ones
    without: sizes.every(({ D }) => D <= 16 || D === 64) ? [[], ["position", "table"]] : [[]],
    ownFamilyOnly: true,
    withoutSubgroups: sizes.every(({ D }) => D <= 16),
    draw: {
      position: (random, { N, P }) => Array.from({ length: N }, () => random.integer(P)),
      table: (_random, { P, D }) => kernels.ropeTable(P, D, 100),
      sequence_start: packedStarts,
      sequence_end: (_random, _scalars, { sequence_start }) =>
        sequence_start.map((start) => sequence_start.lastIndexOf(start) + 1),
    },
  });

/** One product in all four layouts. */
const product = ({ B, M, N, K }: Scalars): Scalars[] =>
  [0, 1, 2, 3].map((layout) => {
    const [transpose_a, transpose_b] = [layout >> 1, layout & 1];
    const [A1, A2] = transpose_a ? [K, M] : [M, K];
    const [B1, B2] = transpose_b ? [N, K] : [K, N];
    return { B, A1, A2, B1, B2, N, transpose_a, transpose_b };
  });

export const opCases: readonly OpCase[] = [
  row(kernels.add, {
    dims: [
      { N: 1, C: 1 },
      { N: 3, C: 5 },
      { N: 16, C: 64 },
      { N: 5, C: 257 },
    ],
  }),
  row(kernels.sliceColumns, {
    dims: [
      { N: 1, C: 1 },
      { N: 5, C: 7, first: 2, count: 4 },
      { N: 65, C: 66, first: 1, stride: 2, count: 33 },
      { N: 9, C: 257, first: 4, stride: 5, count: 3 },
    ],
  }),
  row(kernels.concatColumns, {
    dims: [
      { N: 1, A: 1, B: 1 },
      { N: 5, A: 7, B: 3 },
      { N: 31, A: 64, B: 33 },
    ],
  }),
  row(kernels.splitHeads, {
    dims: [
      { N: 1, C: 1 },
      { N: 5, C: 14, first: 2, heads: 4, group_size: 2, width: 5 },
      { N: 33, C: 24, first: 8, heads: 2, width: 8 },
    ],
  }),
  row(kernels.joinHeads, {
    dims: [
      { H: 1, N: 1, D: 1 },
      { H: 3, N: 23, D: 5 },
    ],
  }),
  row(kernels.causalSoftmax, {
    dims: [
      { H: 1, N: 1 },
      { H: 2, N: 37 },
      { H: 3, N: 5 },
    ],
    params: [{}, { scale: 0.3 }],
    draw: { sequence_start: packedStarts },
  }),
  row(kernels.dropout, {
    dims: [
      { N: 1, C: 1 },
      { N: 7, C: 37 },
    ],
    params: [{}, { rate: 0.3, scale: 1.7, seed: 5, seed_high: 2 }],
  }),
  row(kernels.gatherRows, {
    dims: [
      { N: 1, C: 1, R: 1 },
      { N: 7, C: 5, R: 3 },
      { N: 65, C: 64, R: 33 },
    ],
    draw: { index: (random, { N, R }) => random.shuffle([...Array(N).keys()]).slice(0, R) },
  }),
  row(kernels.crossEntropy, {
    dims: [{ N: 1 }, { N: 16 }, { N: 2077 }],
    draw: {
      weight: (random, { N }) => Array.from({ length: N }, () => random.integer(2) * random.uniform()),
      loss_scale: () => [8],
    },
  }),
  row(kernels.matmul, {
    // the edges of tiles (8, 16, 32, 64 rows; 32, 64, 128 columns; 4 or 16 of K), aligned to vec4 and not
    dims: [
      ...product({ B: 2, M: 17, N: 35, K: 7 }),
      { B: 1, A1: 1, A2: 1, B1: 1, B2: 1, N: 1 },
      { B: 3, A1: 1, A2: 36, B1: 36, B2: 64, N: 64 },
    ],
    without: [[]],
    probes: 4,
    withoutSubgroups: true,
  }),
  row(kernels.matmul, {
    dims: [
      ...product({ B: 1, M: 68, N: 64, K: 36 }),
      { B: 1, A1: 5, A2: 64, B1: 68, B2: 64, N: 68, transpose_b: 1 },
      // tiles enough for the widest tile of each family: 32 x 64 and 32 x 32 of quads, 64 x 128 of GPUs
      ...product({ B: 6, M: 66, N: 70, K: 6 }),
      { B: 6, A1: 64, A2: 8, B1: 8, B2: 64, N: 64 },
      { B: 6, A1: 67, A2: 5, B1: 5, B2: 36, N: 36 },
      { B: 128, A1: 65, A2: 3, B1: 3, B2: 33, N: 33 },
      // long K: split and added in order
      { B: 1, A1: 1030, A2: 20, B1: 1030, B2: 33, N: 33, transpose_a: 1 },
      { B: 2, A1: 516, A2: 12, B1: 516, B2: 8, N: 8, transpose_a: 1 },
    ],
    without: [[]],
    probes: 4,
  }),
  row(kernels.linear, {
    dims: [
      { N: 1, I: 1, O: 1 },
      { N: 5, I: 7, O: 3 },
      { N: 31, I: 33, O: 17 },
      { N: 67, I: 64, O: 130 },
    ],
    without: [[], ["bias"], ["bias", "residual"]],
  }),
  row(kernels.normLinear, {
    // off the tiles by one, K or N not a multiple of 4; then aligned
    dims: [
      { N: 1, I: 1, O: 1 },
      { N: 17, I: 35, O: 33 },
      { N: 33, I: 36, O: 68 },
    ],
    params: [{ eps: 1e-2 }],
    draw: { gain: "near_one" },
    withoutSubgroups: true,
  }),
  row(kernels.normLinear, {
    // few tiles and long sums: parts of them are added in order, of squares, the weight gradient and the normalised rows'
    dims: [
      { N: 5, I: 516, O: 8 },
      { N: 516, I: 5, O: 8 },
      { N: 5, I: 6, O: 520 },
    ],
    draw: { gain: "near_one" },
    probes: 4,
  }),
  row(kernels.gatedMlp, {
    dims: [
      { N: 1, C: 1, F: 1, F2: 2 },
      { N: 17, C: 33, F: 5, F2: 10 },
      { N: 33, C: 36, F: 34, F2: 68 },
    ],
    params: [{ eps: 1e-2 }],
    draw: {
      gain: "near_one",
      gate_up: (random, { F2, C }) => Array.from({ length: F2 * C }, () => random.normal() / Math.sqrt(C)),
    },
    withoutSubgroups: true,
  }),
  row(kernels.gatedMlp, {
    dims: [
      { N: 3, C: 516, F: 4, F2: 8 },
      { N: 4, C: 4, F: 512, F2: 1024 },
    ],
    draw: {
      gain: "near_one",
      gate_up: (random, { F2, C }) => Array.from({ length: F2 * C }, () => random.normal() / Math.sqrt(C)),
      down: (random, { F, C }) => Array.from({ length: F * C }, () => random.normal() / Math.sqrt(F)),
    },
    probes: 4,
  }),
  row(kernels.linearLogProb, {
    dims: [
      { N: 1, C: 1, V: 1 },
      { N: 5, C: 7, V: 65 },
      { N: 17, C: 12, V: 200 },
      { N: 33, C: 16, V: 67 },
    ],
    params: [{}, { temperature: 0.7, tile_columns: 64 }],
    draw: { target: (random, { N, V }) => Array.from({ length: N }, () => random.integer(V)) },
  }),
  row(kernels.tokenLogProb, {
    dims: [
      { N: 1, V: 1 },
      { N: 5, V: 65 },
      { N: 17, V: 200 },
    ],
    params: [{}, { temperature: 0.7 }],
    draw: { label: (random, { N, V }) => Array.from({ length: N }, () => random.integer(V)) },
  }),
  row(kernels.policyLoss, {
    dims: [{ N: 1 }, { N: 17 }, { N: 1100 }],
    params: [
      {},
      { clip_high: 0.28, dual_clip: 3, beta: 0.05, kl_kind: 1, entropy_coef: 0.01 },
      { clip_low: 0.1, beta: 0.1, kl_kind: 2, classification_coef: 0.5, classification_beta: 0.2 },
      { beta: 0.1, kl_kind: 4, classification_kl_kind: 5, classification_beta: 0.3, coef: 2 },
      { surrogate: 1, clip_low: 1, clip_high: 4, classification_clip_low: 0.1 },
    ],
    draw: policyLossDraw,
    without: [
      ["sequence_start"],
      ["reference_log_prob", "sequence_start", "count"],
      ["stream", "sequence_start"],
      ["reference_log_prob", "stream", "sequence_start", "loss_scale", "count"],
    ],
  }),
  row(kernels.policyLoss, {
    dims: [{ N: 1 }, { N: 17 }, { N: 1100 }],
    params: [
      { ratio_level: 1, beta: 0.1, dual_clip: 1.5 },
      { ratio_level: 1, surrogate: 1, classification_ratio_level: 1 },
    ],
    draw: policyLossDraw,
    without: [[], ["stream"], ["reference_log_prob"]],
  }),
  row(kernels.rmsNorm, {
    dims: [
      { N: 1, C: 1 },
      { N: 6, C: 65 },
      { N: 15, C: 127 },
      { N: 16, C: 128 },
      { N: 67, C: 129 },
    ],
    draw: { gain: "near_one" },
  }),
  row(kernels.rope, {
    dims: [
      { N: 1, W: 6, P: 1, D: 2 },
      { N: 7, W: 18, P: 5, D: 6 },
      { N: 33, W: 48, P: 40, D: 16 },
    ],
    params: [{ heads: 3 }],
    draw: {
      position: (random, { N, P }) => Array.from({ length: N }, () => random.integer(P)),
      table: (_random, { P, D }) => kernels.ropeTable(P, D, 100),
    },
    constant: ["table"],
  }),
  row(kernels.sample, {
    dims: [
      { B: 1, V: 1 },
      { B: 37, V: 67 },
      { B: 9, V: 1100 },
    ],
    params: [
      { seed: 3 },
      { temperature: 0 },
      { temperature: 0.6, top_k: 5, seed: 0xffffffff },
      { top_p: 0.7, seed: 5, seed_high: 6 },
      { temperature: 1.5, top_k: 20, top_p: 0.6 },
    ],
    draw: {
      stream: (random, { B }) => Array.from({ length: B }, () => random.integer(2 ** 31) * 2),
      counter: (random, { B }) => Array.from({ length: B }, () => random.integer(1000)),
    },
  }),
  row(kernels.swiglu, {
    dims: [
      { N: 1, F: 1 },
      { N: 5, F: 13 },
      { N: 31, F: 64 },
    ],
  }),
  row(kernels.embedding, {
    dims: [
      { N: 1, V: 1, C: 1, U: 1, U1: 2 },
      { N: 7, V: 10, C: 5, U: 4, U1: 5 },
      { N: 131, V: 300, C: 68, U: 65, U1: 66 },
    ],
    draw: {
      // every one of U distinct ids occurs, in random order
      token: (random, { N, V, U }) => {
        const ids = random.shuffle([...Array(V).keys()]).slice(0, U);
        return random.shuffle(Array.from({ length: N }, (_, n) => ids[n < U ? n : random.integer(U)]));
      },
      order: (_random, _scalars, { token }) => kernels.embeddingSegments(token).order,
      id: (_random, _scalars, { token }) => kernels.embeddingSegments(token).ids,
      segment_start: (_random, _scalars, { token }) => kernels.embeddingSegments(token).starts,
    },
    without: [[]],
  }),
  attentionRow(1, 1, [
    { N: 1, D: 4 },
    { N: 9, D: 6 },
  ]),
  attentionRow(4, 2, [
    { N: 70, D: 8 },
    { N: 37, D: 16 },
  ]),
  attentionRow(6, 1, [{ N: 41, D: 32 }]),
  // wide heads: panels of 32 tokens on CPU adapters with subgroups of 8
  attentionRow(2, 2, [
    { N: 1, D: 64 },
    { N: 33, D: 64 },
    { N: 150, D: 64 },
  ]),
  attentionRow(4, 2, [{ N: 70, D: 64 }]),
  attentionRow(2, 1, [{ N: 65, D: 80 }]),
  attentionRow(1, 1, [{ N: 19, D: 128 }]),
  decodeRow(1, 1, 6, { B: 1, S: 1, T: 1 }),
  decodeRow(4, 2, 16, { B: 9, S: 11, T: 65 }),
  decodeRow(14, 2, 64, { B: 3, S: 3, T: 150 }),
  decodeRow(2, 1, 80, { B: 5, S: 7, T: 33 }),
  // several parts
  decodeRow(4, 2, 8, { B: 9, S: 9, T: 300 }),
  decodeRow(2, 2, 6, { B: 5, S: 6, T: 129 }),
];
