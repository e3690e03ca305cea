/** TensorFlow.js on its WebGPU backend. */
import { createRequire } from "node:module";
import { angles, causalMask, oneHot, stepScalars } from "./common.js";

export const packages = [
  "@tensorflow/tfjs-core",
  "@tensorflow/tfjs-backend-webgpu",
  "@tensorflow/tfjs-layers",
];

/** Opens the library; `globalThis.navigator.gpu` has the adapter to use. */
export async function open() {
  // the packages' ES modules import without file extensions, which Node refuses: use their CommonJS builds
  const require = createRequire(import.meta.url);
  const tf = require("@tensorflow/tfjs-core");
  require("@tensorflow/tfjs-backend-webgpu");
  // of all builds for Node only this one registers the gradients of the core's operations
  require("@tensorflow/tfjs-layers");
  if (!(await tf.setBackend("webgpu"))) throw new Error("the webgpu backend refused to start");
  await tf.ready();
  const backend = tf.backend();
  return {
    name: "tfjs-webgpu",
    version: tf.version_core,
    async matmul({ a, b, M, N, K, transposeA, transposeB }) {
      const left = tf.tensor2d(a, transposeA ? [K, M] : [M, K]);
      const right = tf.tensor2d(b, transposeB ? [N, K] : [K, N]);
      return pureWork(tf, [left, right], () => tf.matMul(left, right, transposeA, transposeB));
    },
    async attention({ B, T, H, Kv, D, q, k, v }) {
      const shape = (heads) => [B, T, heads, D];
      const inputs = [tf.tensor(q, shape(H)), tf.tensor(k, shape(Kv)), tf.tensor(v, shape(Kv))];
      const mask = tf.tensor(causalMask(H / Kv, T), [1, 1, (H / Kv) * T, T]);
      const attend = () => tf.tidy(() => attention(tf, inputs, mask, { B, T, H, Kv, D }));
      return pureWork(tf, [...inputs, mask], attend);
    },
    trainingStep: async (problem) => trainingStep(tf, problem),
    async close() {
      backend.device.destroy();
    },
  };
}

/** Runs a function of fixed inputs. */
function pureWork(tf, inputs, compute) {
  return {
    async run(calls) {
      for (let call = 1; call < calls; call++) compute().dispose();
      // the only public way to wait; it copies one result, which is small beside the work
      const last = compute();
      await last.data();
      last.dispose();
    },
    async result() {
      const y = compute();
      const data = await y.data();
      y.dispose();
      return data;
    },
    release: () => tf.dispose(inputs),
  };
}

/** q [B T H D], k and v [B T Kv D] -> [B, T, H D]. Query heads that share a key head lie in its row axis. */
function attention(tf, [q, k, v], mask, { B, T, H, Kv, D }) {
  const rows = tf.reshape(tf.transpose(q, [0, 2, 1, 3]), [B, Kv, (H / Kv) * T, D]);
  const keys = tf.transpose(k, [0, 2, 1, 3]);
  const values = tf.transpose(v, [0, 2, 1, 3]);
  const scores = tf.add(tf.mul(tf.matMul(rows, keys, false, true), 1 / Math.sqrt(D)), mask);
  const mixed = tf.reshape(tf.matMul(tf.softmax(scores), values), [B, H, T, D]);
  return tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [B, T, H * D]);
}

function trainingStep(tf, problem) {
  const { config, B, T, weights, tokens, targets, optimizer: settings } = problem;
  const { layers, C, H, Kv, V, epsilon, theta } = config;
  const D = C / H;
  const N = B * T;
  const variables = Object.fromEntries(
    weights.map(({ name, shape, data }) => [name, tf.variable(tf.tensor(data, shape), true)]),
  );
  const list = Object.values(variables);
  const get = (name) => variables[name];
  const tables = angles(T, D, theta);
  const cos = tf.tensor(tables.cos, [1, T, 1, D / 2]);
  const sin = tf.tensor(tables.sin, [1, T, 1, D / 2]);
  const mask = tf.tensor(causalMask(H / Kv, T), [1, 1, (H / Kv) * T, T]);
  const ids = tf.tensor1d(Int32Array.from(tokens), "int32");
  const wanted = tf.tensor2d(oneHot(targets, V), [N, V]);
  const constants = [cos, sin, mask, ids, wanted];
  const norm = (x, name) =>
    tf.mul(tf.mul(x, tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon))), get(name));
  const linear = (x, name) => tf.matMul(x, get(`${name}.weight`), false, true);
  const biased = (x, name) => tf.add(linear(x, name), get(`${name}.bias`));
  const rotate = (x, heads) => {
    const [first, second] = tf.split(tf.reshape(x, [B, T, heads, D]), 2, 3);
    const low = tf.sub(tf.mul(first, cos), tf.mul(second, sin));
    const high = tf.add(tf.mul(second, cos), tf.mul(first, sin));
    return tf.concat([low, high], 3);
  };
  const loss = () => {
    let x = tf.gather(get("model.embed_tokens.weight"), ids);
    for (let layer = 0; layer < layers; layer++) {
      const name = (part) => `model.layers.${layer}.${part}`;
      const normed = norm(x, name("input_layernorm.weight"));
      const q = rotate(biased(normed, name("self_attn.q_proj")), H);
      const k = rotate(biased(normed, name("self_attn.k_proj")), Kv);
      const v = tf.reshape(biased(normed, name("self_attn.v_proj")), [B, T, Kv, D]);
      const attended = tf.reshape(attention(tf, [q, k, v], mask, { B, T, H, Kv, D }), [N, C]);
      const middle = tf.add(x, linear(attended, name("self_attn.o_proj")));
      const wide = norm(middle, name("post_attention_layernorm.weight"));
      const gate = linear(wide, name("mlp.gate_proj"));
      const inner = tf.mul(tf.mul(gate, tf.sigmoid(gate)), linear(wide, name("mlp.up_proj")));
      x = tf.add(middle, linear(inner, name("mlp.down_proj")));
    }
    const hidden = norm(x, "model.norm.weight");
    const logits = tf.matMul(hidden, get("model.embed_tokens.weight"), false, true);
    return tf.neg(tf.div(tf.sum(tf.mul(tf.logSoftmax(logits), wanted)), N));
  };
  const { learningRate, beta1, beta2, weightDecay } = settings;
  const adam = tf.train.adam(learningRate, beta1, beta2, settings.epsilon);
  const step = () =>
    tf.tidy(() => {
      const { value, grads } = tf.variableGrads(loss, list);
      for (const variable of list)
        if (variable.shape.length > 1) variable.assign(tf.mul(variable, 1 - learningRate * weightDecay));
      adam.applyGradients(grads);
      return tf.keep(value);
    });
  return {
    async run(calls) {
      for (let call = 1; call < calls; call++) step().dispose();
      const last = step();
      await last.data();
      last.dispose();
    },
    losses: (steps) =>
      stepScalars(steps, async () => {
        const value = step();
        const [number] = await value.data();
        value.dispose();
        return number;
      }),
    release() {
      adam.dispose();
      tf.dispose([...list, ...constants]);
    },
  };
}
