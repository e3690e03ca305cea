/** Sizes at which each op is measured: those of one update of a small policy and of the published Qwen2.5 models. */

import { fillRepeated } from "../src/core/fill_repeated.js";
import type { Random } from "../src/core/random.js";
import type { KernelFacts } from "../src/gpu/runtime.js";
import type { Cost, OpDefinition, ReferenceArrays, Scalars } from "../src/kernels/engine/op.js";
import { embeddingSegments, ropeTable } from "../src/kernels/index.js";
import { presetConfig } from "../src/model/config.js";

export type BenchDraw = (random: Random, sizes: Scalars, drawn: ReferenceArrays) => ArrayLike<number>;

export interface OpShape {
  /** Sizes of the input axes. */
  readonly sizes: Scalars;
  readonly params?: Scalars;
  /** Inputs that are not standard normal numbers. */
  readonly draw?: Readonly<Record<string, BenchDraw>>;
  readonly without?: readonly string[];
  /** Inputs that take no gradient. */
  readonly constant?: readonly string[];
  /** Entries of axis N do not depend on each other, so that a few of them can be checked alone. */
  readonly rowsApart?: true;
  /** N is cut into sequences of this many tokens that do not depend on each other. */
  readonly sequence?: number;
  /** Where cost depends on the contents of the inputs. */
  readonly cost?: { readonly forward: Cost; readonly backward?: Cost };
}

/** Widths of one model and how many tokens go through it. */
export interface Dimensions {
  readonly name: string;
  /** Packed tokens, in sequences of T. */
  readonly N: number;
  readonly T: number;
  readonly C: number;
  readonly H: number;
  readonly Kv: number;
  readonly D: number;
  readonly F: number;
  /** Rows of the embedding, as many as the adapter is asked to hold. */
  readonly V: number;
}

export interface ShapeScale {
  readonly facts: KernelFacts;
  readonly quick: boolean;
}

/** Vocabulary rows of the published models on software adapters: they hold little, and take their time. */
const SOFTWARE_VOCABULARY = 4096;

/** Models whose widths are measured: one for a quick run, else our `small` and Qwen2.5-0.5B and 1.5B. */
export function benchDimensions({ facts, quick }: ShapeScale): Dimensions[] {
  if (quick) return [dimensionsOf("nano", 128, 64, 512)];
  const tokens = facts.isSoftware ? 64 : 2048;
  return [
    dimensionsOf("small", 1024, 128, 2048),
    ...["qwen2.5-0.5b", "qwen2.5-1.5b"].map((name) => {
      const { hidden_size, vocab_size } = presetConfig(name);
      // the embedding must fit one binding with its gradient beside it
      const rows = Math.floor(facts.maxBindingBytes / (4 * hidden_size));
      const most = facts.isSoftware ? SOFTWARE_VOCABULARY : rows;
      return dimensionsOf(name, tokens, Math.min(256, tokens), Math.min(vocab_size, rows, most));
    }),
  ];
}

function dimensionsOf(name: string, N: number, T: number, V: number): Dimensions {
  const config = presetConfig(name, V);
  const { hidden_size: C, num_attention_heads: H, num_key_value_heads: Kv, intermediate_size: F } = config;
  return { name, N, T, C, H, Kv, D: C / H, F, V };
}

const drawn = (count: number, draw: () => number) => fillRepeated(new Float64Array(count), draw);
const fill = (count: number, value: (index: number) => number) =>
  Array.from({ length: count }, (_, i) => value(i));
const logProb: BenchDraw = (random, sizes) => fill(sizes.N, () => -2 * random.uniform());

/** Rows of the embedding that its gradient is measured with; a full vocabulary only takes longer to check. */
const EMBEDDING_ROWS = 32_768;
/** Rows scored against the vocabulary at once. */
const HEAD_ROWS = 512;

/** By op name. `matmul` has shapes of its own, see matmul.ts; ops that are not here and take floats only are measured too. */
const SHAPES: Readonly<Record<string, (model: Dimensions) => OpShape | readonly OpShape[]>> = {
  attention: ({ N, T, H, Kv, D }) => ({
    sizes: { N, W: (H + 2 * Kv) * D, P: T, D },
    params: { heads: H, kv_heads: Kv },
    // as other libraries have it: rotated before
    without: ["position", "table"],
    sequence: T,
    draw: {
      sequence_start: () => fill(N, (n) => n - (n % T)),
      sequence_end: () => fill(N, (n) => Math.min(N, n - (n % T) + T)),
    },
    // every token looks at half its sequence on average
    cost: {
      forward: { flops: 2 * N * T * H * D, bytes: 8 * N * (H + Kv) * D },
      backward: { flops: 7 * N * T * H * D, bytes: 24 * N * (H + Kv) * D },
    },
  }),
  attention_decode: ({ T, H, Kv, D }) =>
    [8, 64].map((B) => ({
      sizes: { B, S: B, T: 2 * T, W: (H + 2 * Kv) * D, KV: Kv * D, P: 2 * T, D },
      params: { heads: H, kv_heads: Kv },
      draw: {
        table: () => ropeTable(2 * T, D, 10_000),
        slot: () => fill(B, (b) => b),
        position: () => fill(B, () => 2 * T - 1),
      },
      constant: ["table"],
    })),
  // the scores of one sequence
  causal_softmax: ({ T, H, D }) => ({
    sizes: { H, N: T },
    params: { scale: 1 / Math.sqrt(D) },
    draw: { sequence_start: () => fill(T, () => 0) },
  }),
  concat_columns: ({ N, H, Kv, D }) => ({ sizes: { N, A: (H + Kv) * D, B: Kv * D } }),
  cross_entropy: ({ N }) => ({ sizes: { N: 4 * N }, draw: { log_prob: logProb } }),
  embedding: ({ N, C, V }) => {
    const rows = Math.min(V, EMBEDDING_ROWS);
    const U = Math.min(N, rows) / 2;
    return {
      sizes: { N, V: rows, C, U, U1: U + 1 },
      draw: {
        // exactly U distinct ids
        token: (random) => fill(N, (n) => 2 * (n < U ? n : random.integer(U))),
        order: (_random, _sizes, { token }) => embeddingSegments(token).order,
        id: (_random, _sizes, { token }) => embeddingSegments(token).ids,
        segment_start: (_random, _sizes, { token }) => embeddingSegments(token).starts,
      },
    };
  },
  gated_mlp: ({ N, C, F }) => ({
    sizes: { N, C, F, F2: 2 * F },
    rowsApart: true,
    // such weights as keep every sum near 1
    draw: {
      gate_up: (random, { F2 }) => drawn(F2 * C, () => random.normal() / Math.sqrt(C)),
      down: (random) => drawn(F * C, () => random.normal() / Math.sqrt(F)),
    },
  }),
  gather_rows: ({ N, C }) => ({
    sizes: { N, C, R: N / 2 },
    draw: { index: () => fill(N / 2, (r) => 2 * r) },
  }),
  linear: ({ N, C, F, Kv, D }) => [
    { sizes: { N, I: C, O: C }, rowsApart: true },
    { sizes: { N, I: C, O: Kv * D }, rowsApart: true },
    { sizes: { N, I: C, O: F }, rowsApart: true },
    { sizes: { N, I: F, O: C }, rowsApart: true },
  ],
  linear_log_prob: ({ N, C, V }) => ({
    sizes: { N: Math.min(N, HEAD_ROWS), C, V },
    rowsApart: true,
    draw: {
      hidden: (random, sizes) => fill(sizes.N * C, () => random.normal() / Math.sqrt(C)),
      target: (random, sizes) => fill(sizes.N, () => random.integer(V)),
    },
  }),
  norm_linear: ({ N, C, F, H, Kv, D }) => [
    { sizes: { N, I: C, O: (H + 2 * Kv) * D }, rowsApart: true },
    { sizes: { N, I: C, O: 2 * F }, rowsApart: true },
  ],
  policy_loss: ({ N }) => ({
    sizes: { N: 4 * N },
    params: { beta: 0.1 },
    draw: {
      log_prob: logProb,
      old_log_prob: logProb,
      reference_log_prob: logProb,
      weight: () => fill(4 * N, () => 1),
    },
    without: ["stream"],
  }),
  rms_norm: ({ N, C }) => ({ sizes: { N, C } }),
  rope: ({ N, T, H, D }) => ({
    sizes: { N, W: H * D, P: T, D },
    params: { heads: H },
    draw: {
      position: () => fill(N, (n) => n % T),
      table: () => ropeTable(T, D, 10_000),
    },
    constant: ["table"],
  }),
  sample: ({ V }) =>
    [8, 64].map((B) => ({
      sizes: { B, V },
      draw: { stream: () => fill(B, (b) => b), counter: () => fill(B, () => 0) },
    })),
  slice_columns: ({ N, F }) => ({ sizes: { N, C: 2 * F }, params: { stride: 2, count: F } }),
  // keys of all query heads
  split_heads: ({ N, H, Kv, D }) => ({
    sizes: { N, C: (H + 2 * Kv) * D },
    params: { first: H * D, heads: H, group_size: H / Kv, width: D },
  }),
  swiglu: ({ N, F }) => ({ sizes: { N, F } }),
  token_log_prob: ({ N, V }) => ({
    sizes: { N: Math.min(N, HEAD_ROWS), V },
    draw: { label: (random, sizes) => fill(sizes.N, () => random.integer(V)) },
  }),
};

/**
 * Shapes to measure an op at, each once. An op without an entry is measured by its declaration when it takes floats only:
 * axes with the project's letters get the model's sizes, other axes its width.
 * @returns none for an op with integer inputs that has no entry
 */
export function opShapes(op: OpDefinition, scale: ShapeScale): OpShape[] {
  const shapes = benchDimensions(scale).flatMap((model) => shapesIn(op, model));
  const seen = new Set<string>();
  return shapes.filter((shape) => {
    const label = shapeLabel(shape);
    return !seen.has(label) && seen.add(label);
  });
}

/** Shapes of an op inside a model of these widths. */
export function shapesIn(op: OpDefinition, model: Dimensions): readonly OpShape[] {
  return [SHAPES[op.name]?.(model) ?? declaredShape(op, model)].flat();
}

function declaredShape(op: OpDefinition, model: Dimensions): OpShape[] {
  const specs = Object.values(op.inputs);
  if (specs.some(({ dtype }) => dtype === "u32")) return [];
  const { N, T, C, F, V, D, H, Kv } = model;
  const known: Scalars = { N, T, C, F, V, D, H, B: N / T, Q: H * D, KV: Kv * D, Hkv: Kv };
  const axes = specs.flatMap((spec) => spec.axes).filter((axis) => Number.isNaN(Number(axis)));
  return [{ sizes: Object.fromEntries(axes.map((axis) => [axis, known[axis] ?? C])) }];
}

/** Sizes as rows name them: `N1024 C256`, with the length of sequences where they matter. */
export function shapeLabel({ sizes, sequence }: OpShape): string {
  const all = { ...sizes, ...(sequence && { T: sequence }) };
  return Object.entries(all)
    .map(([axis, size]) => `${axis}${size}`)
    .join(" ");
}
