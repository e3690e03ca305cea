// Ops and gradients: y = rms_norm(x) W^T on the GPU, and the gradient of sum(y) with respect to W.
import { Launcher, linear, openGpu, Random, Runtime, rmsNorm, silentLogger, Tape, Tensor } from "uncouple";

const gpu = await openGpu({ preset: "checked", env: process.env, logger: silentLogger });
const runtime = await Runtime.create(gpu);
const random = new Random(1);
const normal = (count) => Float32Array.from({ length: count }, () => random.normal());

const x = Tensor.from(runtime, normal(3 * 4), [3, 4]);
const gain = Tensor.from(runtime, new Float32Array(4).fill(1));
const weight = Tensor.from(runtime, normal(2 * 4), [2, 4], { requiresGrad: true });

const tape = new Tape(new Launcher(runtime));
const normed = tape.apply(rmsNorm, { x, gain }).y;
const { y } = tape.apply(linear, { x: normed, weight });
const ones = Tensor.from(runtime, new Float32Array(3 * 2).fill(1), [3, 2]);
console.log("y", await y.read());
tape.backward([[y, ones]]);
console.log("gradient of sum(y) by W", await weight.grad.read());

tape.release();
await runtime.dispose();
