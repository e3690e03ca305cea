/** jax-js on its WebGPU or WebAssembly backend, jitted. Every function consumes its arguments, hence `.ref`. */
import { blockUntilReady, defaultDevice, init, jit, nn, numpy as np, tree, valueAndGrad } from "@jax-js/jax";
import { angles, causalMask, oneHot, stepScalars } from "./common.js";

export const packages = ["@jax-js/jax"];

/** Opens the library; `globalThis.navigator.gpu` has the adapter to use. */
export async function open({ variant: device }) {
  const devices = await init(device);
  if (!devices.includes(device)) throw new Error(`no ${device} device, only ${devices.join(", ")}`);
  // one library serves both backends, and new arrays go to the one in charge
  const here = (compute) => {
    defaultDevice(device);
    return compute();
  };
  return {
    name: `jax-js-${device}`,
    async matmul({ a, b, M, N, K, transposeA, transposeB }) {
      const product = (x, y) =>
        np.matmul(transposeA ? np.matrixTranspose(x) : x, transposeB ? np.matrixTranspose(y) : y);
      const inputs = here(() => [
        np.array(a, { shape: transposeA ? [K, M] : [M, K] }),
        np.array(b, { shape: transposeB ? [N, K] : [K, N] }),
      ]);
      return pureWork(here, inputs, jit(product, { device }));
    },
    async attention({ B, T, H, Kv, D, q, k, v }) {
      const inputs = here(() => [
        np.array(q, { shape: [B, T, H, D] }),
        np.array(k, { shape: [B, T, Kv, D] }),
        np.array(v, { shape: [B, T, Kv, D] }),
        np.array(causalMask(H / Kv, T), { shape: [1, 1, (H / Kv) * T, T] }),
      ]);
      const attend = (...args) => attention(args, { B, T, H, Kv, D });
      return pureWork(here, inputs, jit(attend, { device }));
    },
    trainingStep: async (problem) => here(() => trainingStep(here, device, problem)),
    async close() {},
  };
}

/** Runs a jitted function of fixed inputs. */
function pureWork(here, inputs, compiled) {
  const compute = () => here(() => compiled(...inputs.map((input) => input.ref)));
  return {
    async run(calls) {
      const results = [];
      for (let call = 0; call < calls; call++) results.push(compute());
      await blockUntilReady(results);
      for (const y of results) y.dispose();
    },
    // reading consumes the array
    result: () => compute().data(),
    release() {
      compiled.dispose?.();
      for (const input of inputs) input.dispose();
    },
  };
}

/** q [B T H D], k and v [B T Kv D] -> [B, T, H D]. Query heads that share a key head lie in its row axis. */
function attention([q, k, v, mask], { B, T, H, Kv, D }) {
  const rows = np.transpose(q, [0, 2, 1, 3]).reshape([B, Kv, (H / Kv) * T, D]);
  const keys = np.transpose(k, [0, 2, 3, 1]);
  const values = np.transpose(v, [0, 2, 1, 3]);
  const scores = np
    .matmul(rows, keys)
    .mul(1 / Math.sqrt(D))
    .add(mask);
  const mixed = np.matmul(nn.softmax(scores, -1), values).reshape([B, H, T, D]);
  return np.transpose(mixed, [0, 2, 1, 3]).reshape([B, T, H * D]);
}

/** The loss as a function of the parameters, by name, and of the constants. */
function lossFunction({ config, B, T }) {
  const { layers, C, H, Kv, epsilon } = config;
  const D = C / H;
  const N = B * T;
  return (parameters, { ids, wanted, cos, sin, mask }) => {
    const get = (name) => parameters[name].ref;
    const norm = (x, name) => {
      const scale = np.mean(np.square(x.ref), -1, { keepdims: true }).add(epsilon);
      return x.div(np.sqrt(scale)).mul(get(name));
    };
    const linear = (x, name) => np.matmul(x, np.matrixTranspose(get(`${name}.weight`)));
    const biased = (x, name) => linear(x, name).add(get(`${name}.bias`));
    const rotate = (x, heads) => {
      const [first, second] = np.split(x.reshape([B, T, heads, D]), 2, 3);
      const low = first.ref.mul(cos.ref).sub(second.ref.mul(sin.ref));
      const high = second.mul(cos.ref).add(first.mul(sin.ref));
      return np.concatenate([low, high], 3);
    };
    let x = np.take(get("model.embed_tokens.weight"), ids, 0);
    for (let layer = 0; layer < layers; layer++) {
      const name = (part) => `model.layers.${layer}.${part}`;
      const normed = norm(x.ref, name("input_layernorm.weight"));
      const q = rotate(biased(normed.ref, name("self_attn.q_proj")), H);
      const k = rotate(biased(normed.ref, name("self_attn.k_proj")), Kv);
      const v = biased(normed, name("self_attn.v_proj")).reshape([B, T, Kv, D]);
      const attended = attention([q, k, v, mask.ref], { B, T, H, Kv, D }).reshape([N, C]);
      const middle = x.add(linear(attended, name("self_attn.o_proj")));
      const wide = norm(middle.ref, name("post_attention_layernorm.weight"));
      const gate = linear(wide.ref, name("mlp.gate_proj"));
      const inner = nn.silu(gate).mul(linear(wide, name("mlp.up_proj")));
      x = middle.add(linear(inner, name("mlp.down_proj")));
    }
    const hidden = norm(x, "model.norm.weight");
    const logits = np.matmul(hidden, np.matrixTranspose(get("model.embed_tokens.weight")));
    const picked = nn.logSoftmax(logits, -1).mul(wanted);
    for (const array of [...Object.values(parameters), cos, sin, mask]) array.dispose();
    return np.sum(picked).mul(-1 / N);
  };
}

/** Loss and AdamW in one jitted function: (state, scales, constants) -> [loss, state]. */
function stepFunction(problem) {
  const { beta1, beta2, epsilon, learningRate, weightDecay } = problem.optimizer;
  const withGradient = valueAndGrad(lossFunction(problem));
  return (state, scales, constants) => {
    const [loss, gradients] = withGradient(tree.ref(state.value), constants);
    const next = { value: {}, first: {}, second: {} };
    for (const [name, gradient] of Object.entries(gradients)) {
      const value = state.value[name];
      const decay = value.shape.length > 1 ? learningRate * weightDecay : 0;
      const first = state.first[name].mul(beta1).add(gradient.ref.mul(1 - beta1));
      const second = state.second[name].mul(beta2).add(np.square(gradient).mul(1 - beta2));
      const root = np.sqrt(second.ref.mul(scales.second.ref)).add(epsilon);
      const update = first.ref.mul(scales.first.ref).div(root).mul(learningRate);
      next.value[name] = value.mul(1 - decay).sub(update);
      next.first[name] = first;
      next.second[name] = second;
    }
    scales.first.dispose();
    scales.second.dispose();
    return [loss, next];
  };
}

function trainingStep(here, device, problem) {
  const { config, B, T, weights, tokens, targets, optimizer } = problem;
  const { C, H, Kv, V, theta } = config;
  const D = C / H;
  const tables = angles(T, D, theta);
  const constants = {
    ids: np.array(Int32Array.from(tokens), { dtype: np.int32 }),
    wanted: np.array(oneHot(targets, V), { shape: [B * T, V] }),
    cos: np.array(tables.cos, { shape: [1, T, 1, D / 2] }),
    sin: np.array(tables.sin, { shape: [1, T, 1, D / 2] }),
    mask: np.array(causalMask(H / Kv, T), { shape: [1, 1, (H / Kv) * T, T] }),
  };
  const collect = (make) => Object.fromEntries(weights.map((weight) => [weight.name, make(weight)]));
  let state = {
    value: collect(({ data, shape }) => np.array(data.slice(), { shape })),
    first: collect(({ shape }) => np.zeros(shape)),
    second: collect(({ shape }) => np.zeros(shape)),
  };
  const compiled = jit(stepFunction(problem), { device });
  let count = 0;
  const step = () =>
    here(() => {
      count++;
      const scales = {
        first: np.array([1 / (1 - optimizer.beta1 ** count)]),
        second: np.array([1 / (1 - optimizer.beta2 ** count)]),
      };
      const [loss, next] = compiled(state, scales, tree.ref(constants));
      state = next;
      return loss;
    });
  return {
    async run(calls) {
      for (let call = 0; call < calls; call++) {
        const loss = step();
        if (call === calls - 1) await blockUntilReady([loss, state]);
        loss.dispose();
      }
    },
    losses: (steps) => stepScalars(steps, async () => (await step().data())[0]),
    release() {
      compiled.dispose?.();
      tree.dispose([state, constants]);
    },
  };
}
