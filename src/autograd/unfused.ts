/**
 * Ops that compute several at once, as the graphs of plain ops that they stand for: slower, with every intermediate value a
 * tensor of the tape. For looking at what is in between, for finding an error in a fused kernel, and for changes of a layer
 * (an adapter beside a weight, other activations) that have no kernel of their own.
 */

import type { OpDefinition, Scalars, TensorSpec } from "../kernels/engine/op.js";
import {
  attention,
  causalSoftmax,
  gatedMlp,
  joinHeads,
  linear,
  linearLogProb,
  matmul,
  normLinear,
  rmsNorm,
  rope,
  sliceColumns,
  splitHeads,
  swiglu,
  tokenLogProb,
} from "../kernels/index.js";
import { add } from "../kernels/layers/add.js";
import type { Tape } from "./tape.js";
import type { Tensor } from "./tensor.js";

type Specs = Readonly<Record<string, TensorSpec>>;
/** Tensors by input name; optional ones may be undefined. */
type Inputs<I extends Specs> = { readonly [K in keyof I]?: Tensor | undefined };
type Outputs<O extends Specs> = { readonly [K in keyof O]: Tensor };
type Graph<I extends Specs, O extends Specs> = (tape: Tape, inputs: Inputs<I>, params: Scalars) => Outputs<O>;

const graphs = new Map<string, Graph<Specs, Specs>>();

function stand<I extends Specs, O extends Specs>(op: OpDefinition<I, O>, graph: Graph<I, O>): void {
  graphs.set(op.name, graph as unknown as Graph<Specs, Specs>);
}

stand(linear, (tape, { x, weight, bias, residual }) => {
  const product = tape.apply(linear, { x, weight, bias });
  return residual ? tape.apply(add, { a: residual, b: product.y }) : product;
});

stand(normLinear, (tape, { x, gain, weight, bias }, { eps }) => {
  const normed = tape.apply(rmsNorm, { x, gain }, given({ eps })).y;
  return tape.apply(linear, { x: normed, weight, bias });
});

stand(gatedMlp, (tape, { x, gain, gate_up, down }, { eps }) => {
  const normed = tape.apply(rmsNorm, { x, gain }, given({ eps })).y;
  const both = tape.apply(linear, { x: normed, weight: gate_up }).y;
  const count = Math.floor((both.shape[1] as number) / 2);
  const gate = tape.apply(sliceColumns, { x: both }, { first: 0, stride: 2, count }).y;
  const up = tape.apply(sliceColumns, { x: both }, { first: 1, stride: 2, count }).y;
  const h = tape.apply(swiglu, { gate, up }).y;
  return tape.apply(add, { a: x, b: tape.apply(linear, { x: h, weight: down }).y });
});

stand(attention, (tape, { qkv, position, table, sequence_start }, params) => {
  const { heads = 1, kv_heads = 1 } = params;
  const width = ((qkv?.shape[1] as number) ?? 0) / (heads + 2 * kv_heads);
  const turned = heads + kv_heads;
  const rotated =
    qkv && table
      ? tape.apply(
          rope,
          { x: tape.apply(sliceColumns, { x: qkv }, { count: turned * width }).y, position, table },
          { heads: turned },
        ).y
      : qkv;
  const group_size = heads / kv_heads;
  const own = { heads, width };
  const q = tape.apply(splitHeads, { x: rotated }, own).y;
  const k = tape.apply(splitHeads, { x: rotated }, { ...own, first: heads * width, group_size }).y;
  const v = tape.apply(splitHeads, { x: qkv }, { ...own, first: turned * width, group_size }).y;
  // scores are f32 whatever the activations are, as the fused kernel keeps them
  const scores = tape.apply(matmul, { a: q, b: k }, { transpose_b: 1 }, "f32").y;
  const shares = tape.apply(causalSoftmax, { scores, sequence_start }, { scale: 1 / Math.sqrt(width) }).y;
  const joined = tape.apply(joinHeads, { x: tape.apply(matmul, { a: shares, b: v }).y });
  // rows of heads are no rows of tokens, but those of the result are again
  if (qkv) tape.nameRowsAs(joined.y, qkv);
  return joined;
});

// logits are f32 whatever the activations are: halves would cost log-probabilities their digits
stand(linearLogProb, (tape, { hidden, weight, target }, { temperature }) => {
  const logits = tape.apply(linear, { x: hidden, weight }, {}, "f32").y;
  return tape.apply(tokenLogProb, { logits, label: target }, given({ temperature }));
});

/** Params that were given; the others keep the default that the op declares. */
function given(params: Readonly<Record<string, number | undefined>>): Scalars {
  return Object.fromEntries(
    Object.entries(params).filter((entry): entry is [string, number] => entry[1] !== undefined),
  );
}

/**
 * Like `tape.apply`, by plain ops where the op computes several at once (`OpDefinition.fuses`); other ops as they are.
 * @returns the same outputs; values and gradients agree up to rounding, not bit for bit
 * @throws ArgumentError when shapes do not fit
 * @remarks the vocabulary head keeps all logits [N, V], attention all scores and shares [heads, N, N], and every product, norm and activation is kept until backward
 */
export function applyUnfused<I extends Specs, O extends Specs>(
  tape: Tape,
  op: OpDefinition<I, O>,
  inputs: Inputs<I>,
  params: Scalars = {},
): Outputs<O> {
  const graph = graphs.get(op.name) as unknown as Graph<I, O> | undefined;
  return graph ? graph(tape, inputs, params) : tape.apply(op, inputs, params);
}
