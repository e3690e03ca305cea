/** jax-js on its WebGPU backend, jitted. */
import { blockUntilReady, defaultDevice, init, jit, numpy } from "@jax-js/jax";

export const packages = ["@jax-js/jax"];

/** Opens the library; `globalThis.navigator.gpu` has the adapter to use. */
export async function open() {
  const devices = await init("webgpu");
  if (!devices.includes("webgpu")) throw new Error(`no webgpu device, only ${devices.join(", ")}`);
  defaultDevice("webgpu");
  return {
    name: "jax-js-webgpu",
    async matmul({ a, b, M, N, K, transposeA, transposeB }) {
      const left = numpy.array(a, { shape: transposeA ? [K, M] : [M, K] });
      const right = numpy.array(b, { shape: transposeB ? [N, K] : [K, N] });
      const product = jit((x, y) =>
        numpy.matmul(transposeA ? numpy.matrixTranspose(x) : x, transposeB ? numpy.matrixTranspose(y) : y),
      );
      return {
        async run(calls) {
          const results = [];
          for (let call = 0; call < calls; call++) results.push(product(left.ref, right.ref));
          await blockUntilReady(results);
          for (const y of results) y.dispose();
        },
        // reading consumes the array
        result: () => product(left.ref, right.ref).data(),
        release() {
          product.dispose?.();
          left.dispose();
          right.dispose();
        },
      };
    },
    async close() {},
  };
}
