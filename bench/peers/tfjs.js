/** TensorFlow.js on its WebGPU backend. */
import { createRequire } from "node:module";

export const packages = ["@tensorflow/tfjs-core", "@tensorflow/tfjs-backend-webgpu"];

/** Opens the library; `globalThis.navigator.gpu` has the adapter to use. */
export async function open() {
  // the packages' ES modules import without file extensions, which Node refuses: use their CommonJS builds
  const require = createRequire(import.meta.url);
  const tf = require("@tensorflow/tfjs-core");
  require("@tensorflow/tfjs-backend-webgpu");
  if (!(await tf.setBackend("webgpu"))) throw new Error("the webgpu backend refused to start");
  await tf.ready();
  const backend = tf.backend();
  return {
    name: "tfjs-webgpu",
    version: tf.version_core,
    async matmul({ a, b, M, N, K, transposeA, transposeB }) {
      const left = tf.tensor2d(a, transposeA ? [K, M] : [M, K]);
      const right = tf.tensor2d(b, transposeB ? [N, K] : [K, N]);
      const product = () => tf.matMul(left, right, transposeA, transposeB);
      return {
        async run(calls) {
          for (let call = 1; call < calls; call++) product().dispose();
          // the only public way to wait; it copies one result, which is small beside the work
          const last = product();
          await last.data();
          last.dispose();
        },
        async result() {
          const y = product();
          const data = await y.data();
          y.dispose();
          return data;
        },
        release() {
          left.dispose();
          right.dispose();
        },
      };
    },
    async close() {
      backend.device.destroy();
    },
  };
}
