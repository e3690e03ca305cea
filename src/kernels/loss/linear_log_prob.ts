import * as shader from "../../../shaders/loss/linear_log_prob.js";
import { rowLayout } from "../../../shaders/rows.js";
import { ArgumentError } from "../../core/errors.js";
import type { KernelFacts } from "../../gpu/runtime.js";
import { rowsOf } from "../engine/array_view.js";
import {
  type ArrayView,
  defineOp,
  f32,
  f32Param,
  type KernelUnit,
  type PlanContext,
  real,
  type Scalars,
  u32,
  u32Param,
} from "../engine/op.js";
import { addInto } from "../layers/add.js";
import { matmulInto } from "../matmul/matmul_into.js";
import { tokenLogProbReference } from "./token_log_prob.js";

/** Memory of one tile of logits. */
const TILE_BYTES = 16 * 2 ** 20;
/** Rows of the weight a tile begins at a multiple of, so that tiles of it can be bound (256-byte offsets). */
const TILE_STEP = 64;

const tileScalars = { N: "u32", W: "u32", first: "u32", inverse_temperature: "f32" } as const;

const scanUnit: KernelUnit = {
  op: "linear_log_prob",
  scalars: tileScalars,
  kernel: {
    entry: "scan",
    shader: ({ facts }) => shader.scan(rowLayout(facts.isSoftware)),
    reads: ["z", "label"],
    writes: ["running"],
    elements: () => ({ running: "vec4<f32>" }),
    workgroups: ({ N }, { isSoftware }) => Math.ceil(N / rowLayout(isSoftware).rows),
  },
};
const finishUnit: KernelUnit = {
  op: "linear_log_prob",
  scalars: { N: "u32" },
  kernel: {
    entry: "finish",
    shader: shader.finish,
    reads: ["running"],
    writes: ["log_prob", "entropy", "log_sum_exp"],
    elements: () => ({ running: "vec4<f32>" }),
    workgroups: ({ N }) => Math.ceil(N / 64),
  },
};
const gradientUnit: KernelUnit = {
  op: "linear_log_prob",
  scalars: { ...tileScalars, width: "u32" },
  kernel: {
    entry: "logit_gradient",
    constants: ["width"],
    shader: ({ constants }) => shader.logitGradient(constants.width),
    reads: ["label", "log_sum_exp", "entropy", "up_log_prob", "up_entropy"],
    writes: ["z"],
    elements: ({ constants }) => ({ z: constants.width === 4 ? "vec4<f32>" : "f32" }),
    workgroups: ({ N, W, width }) => Math.ceil((N * W) / width / 64),
  },
};

/**
 * Columns of the vocabulary handled at once: N x columns logits stay within 16 MiB (or 64 columns), and tiles are of
 * nearly equal width.
 */
export function vocabularyTile(N: number, V: number): number {
  const most = Math.max(TILE_STEP, Math.floor(TILE_BYTES / (4 * N) / TILE_STEP) * TILE_STEP);
  const tiles = Math.ceil(V / most);
  return Math.min(V, Math.ceil(V / tiles / TILE_STEP) * TILE_STEP);
}

interface Tile {
  readonly first: number;
  readonly W: number;
  readonly z: ArrayView;
  /** Views of a [V, C] array's rows `first` to `first + W`. */
  rows(array: ArrayView): ArrayView;
}

function tilesOf({ scratch, views, scalars: { N, V, tile } }: PlanContext): Tile[] {
  const logits = tile === V ? (views.logits as ArrayView) : scratch("logits", [N, tile]);
  return Array.from({ length: Math.ceil(V / tile) }, (_, index) => {
    const first = index * tile;
    const W = Math.min(tile, V - first);
    return {
      first,
      W,
      z: { ...logits, range: { ...logits.range, bytes: 4 * N * W }, shape: [N, W] },
      rows: (array) => rowsOf(array, first, W),
    };
  });
}

function deriveTile({ N, V, temperature, tile_columns }: Scalars, _: KernelFacts): Scalars {
  if (!(temperature > 0)) {
    throw new ArgumentError(
      `[linear_log_prob] temperature is out of range: got ${temperature}, expected more than 0. Use the temperature of sampling.`,
    );
  }
  if (tile_columns % TILE_STEP !== 0) {
    throw new ArgumentError(
      `[linear_log_prob] tile_columns is wrong: got ${tile_columns}, expected a multiple of ${TILE_STEP}, or 0 to have it chosen.`,
    );
  }
  const tile = tile_columns > 0 ? Math.min(V, tile_columns) : vocabularyTile(Math.max(N, 1), V);
  return { tile, Z: tile === V ? N * V : 0 };
}

function forward(context: PlanContext): void {
  const { run, views, scratch } = context;
  const { N, C, temperature } = context.scalars;
  const running = scratch("running", [N, 4]);
  for (const { first, W, z, rows } of tilesOf(context)) {
    matmulInto(context, { a: views.hidden, b: rows(views.weight), y: z, M: N, N: W, K: C, transposeB: true });
    const scalars = { N, W, first, inverse_temperature: 1 / temperature };
    run(scanUnit, { z, label: views.target, running }, scalars);
  }
  const { log_prob, entropy, log_sum_exp } = views;
  run(finishUnit, { running, log_prob, entropy, log_sum_exp }, { N });
}

function backward(context: PlanContext): void {
  const { run, views, accumulate } = context;
  const { N, C, temperature } = context.scalars;
  const { hidden, weight, target, entropy, log_sum_exp, d_hidden } = views;
  const tiles = tilesOf(context);
  // many tiles would round a sum in f16 many times
  const isRounded = d_hidden?.dtype === "f16" && tiles.length > 1;
  const sum = isRounded ? context.scratch("d_hidden", [N, C]) : d_hidden;
  for (const { first, W, z, rows } of tiles) {
    const part = rows(weight);
    if (z.range.buffer !== views.logits?.range.buffer)
      matmulInto(context, { a: hidden, b: part, y: z, M: N, N: W, K: C, transposeB: true });
    run(
      gradientUnit,
      {
        z,
        label: target,
        log_sum_exp,
        entropy,
        up_log_prob: views.d_log_prob,
        up_entropy: views.d_entropy,
      },
      { N, W, first, inverse_temperature: 1 / temperature, width: W % 4 === 0 ? 4 : 1 },
    );
    context.together(() => {
      if (sum) {
        const add = first > 0 || (accumulate.has("d_hidden") && !isRounded);
        matmulInto(context, { a: z, b: part, y: sum, M: N, N: C, K: W, accumulate: add });
      }
      const sizes = { first, N, O: W, I: C };
      context.weightGradient({ kind: "product", weight: "weight", gradient: z, input: hidden, ...sizes });
    });
  }
  if (isRounded && sum) {
    if (!accumulate.has("d_hidden")) context.clear(d_hidden);
    addInto(context, d_hidden, sum);
  }
}

/**
 * Log-probability of one token per position, and the entropy of the distribution it is from, without an N x V array:
 * log_prob = log softmax(hidden weight^T / temperature)[target], entropy = -sum p log p (natural logarithms).
 * The vocabulary is streamed in tiles of at most 16 MiB of logits. A single tile is kept for backward, which overwrites it
 * by its gradient; several are recomputed there. Targets are below V.
 * @remarks memory does not grow with V beyond one tile; several tiles cost 2 N V C more flops in backward
 * @source ours; the gradient of the entropy with respect to a logit is -p (log p + entropy)
 */
export const linearLogProb = defineOp({
  name: "linear_log_prob",
  fuses: ["linear", "token_log_prob"],
  inputs: { hidden: real("N C"), weight: real("V C"), target: u32("N") },
  outputs: { log_prob: f32("N"), entropy: f32("N") },
  saved: { log_sum_exp: f32("N"), logits: f32("Z") },
  params: { temperature: f32Param(1), tile_columns: u32Param(0) },
  derived: ["tile", "Z"],
  derive: deriveTile,
  forward,
  backward,
  reference: ({ hidden, weight, target }, { N, C, V, temperature }) => {
    const log_prob = new Float64Array(N);
    const entropy = new Float64Array(N);
    for (let n = 0; n < N; n++) {
      const logits = Float64Array.from({ length: V }, (_, v) => {
        let sum = 0;
        for (let c = 0; c < C; c++) sum += hidden[n * C + c] * weight[v * C + c];
        return sum / temperature;
      });
      [log_prob[n], entropy[n]] = tokenLogProbReference(logits, target[n]);
    }
    return { log_prob, entropy };
  },
  cost: ({ N, C, V }) => ({
    forward: { flops: 2 * N * V * C, bytes: 4 * (N * C + V * C + 3 * N) },
    backward: { flops: 6 * N * V * C, bytes: 4 * (2 * N * C + 2 * V * C + 5 * N) },
  }),
});
