import { expect, test } from "vitest";
import { Tape } from "../../src/autograd/tape.js";
import { Tensor } from "../../src/autograd/tensor.js";
import { Random } from "../../src/core/random.js";
import { Launcher, linearLogProb, type Scalars } from "../../src/kernels/index.js";
import { vocabularyTile } from "../../src/kernels/loss/linear_log_prob.js";
import { testRuntime } from "../support/runtime.js";

const runtime = await testRuntime();
const launcher = new Launcher(runtime);
/** Never flushed: memory is counted when commands are appended, so nothing has to be computed. */
const idle = new Launcher(await testRuntime());
const normals = (seed: number, size: number, scale = 1) => {
  const random = Random.of(seed);
  return Float32Array.from({ length: size }, () => scale * random.normal());
};

interface Run {
  readonly logProb: Float32Array;
  readonly entropy: Float32Array;
  readonly dHidden: Float32Array;
  readonly dWeight: Float32Array;
}

/** Seeds only log_prob, with ones. */
async function run(N: number, C: number, V: number, scale: number, params: Scalars): Promise<Run> {
  const hidden = Tensor.from(runtime, normals(1, N * C, scale), [N, C], { requiresGrad: true });
  const weight = Tensor.from(runtime, normals(2, V * C), [V, C], { requiresGrad: true });
  const target = Tensor.from(
    runtime,
    Uint32Array.from({ length: N }, (_, n) => (n * 7919) % V),
  );
  const seed = Tensor.from(runtime, new Float32Array(N).fill(1));
  const tape = new Tape(launcher);
  const outputs = tape.apply(linearLogProb, { hidden, weight, target }, params);
  const logProb = (await outputs.log_prob.read()) as Float32Array;
  const entropy = (await outputs.entropy.read()) as Float32Array;
  tape.backward([[outputs.log_prob, seed]]);
  const dHidden = (await (hidden.grad as Tensor).read()) as Float32Array;
  const dWeight = (await (weight.grad as Tensor).read()) as Float32Array;
  tape.release();
  for (const tensor of [hidden, weight, target, seed]) tensor.release();
  return { logProb, entropy, dHidden, dWeight };
}

const worst = (a: Float32Array, b: Float32Array) =>
  a.reduce((largest, value, i) => Math.max(largest, Math.abs(value - b[i])), 0);

test("tiles fit their memory and begin where they can be bound", () => {
  for (const [N, V] of [
    [1, 1],
    [1, 151_936],
    [2048, 151_936],
    [4096, 4096],
    [100_000, 151_936],
  ]) {
    const tile = vocabularyTile(N, V);
    expect(tile === V || tile % 64 === 0).toBe(true);
    expect(tile === 64 || 4 * N * tile <= 16 * 2 ** 20).toBe(true);
    expect(tile).toBeLessThanOrEqual(V);
  }
});

/** Most bytes the op and its gradient hold at once, beyond its inputs and the gradient of the weight. */
function peakBytes(N: number, C: number, V: number): number {
  const { buffers } = idle.runtime;
  const hidden = Tensor.empty(idle.runtime, [N, C], "f32", "hidden", true);
  const weight = Tensor.empty(idle.runtime, [V, C], "f32", "weight", true);
  weight.grad = Tensor.empty(idle.runtime, [V, C]);
  const target = Tensor.empty(idle.runtime, [N], "u32");
  const seed = Tensor.empty(idle.runtime, [N]);
  const live = buffers.liveBytes;
  buffers.resetPeak();
  const tape = new Tape(idle);
  tape.backward([[tape.apply(linearLogProb, { hidden, weight, target }).log_prob, seed]]);
  tape.release();
  for (const tensor of [hidden, weight, target, seed]) tensor.release();
  return buffers.peakBytes - live;
}

test("memory does not depend on the size of the vocabulary", () => {
  const twoTiles = peakBytes(1024, 16, 8192);
  expect(peakBytes(1024, 16, 65_536)).toBe(twoTiles);
  // a single tile is kept from forward to backward, in place of one that each of them borrows
  expect(peakBytes(1024, 16, 4096)).toBeLessThanOrEqual(twoTiles);
  expect(twoTiles).toBeLessThan(17 * 2 ** 20);
  expect(peakBytes(333, 16, 151_936)).toBeLessThan(17 * 2 ** 20);
});

test("several tiles give what one tile gives", async () => {
  const whole = await run(19, 8, 300, 1, { temperature: 0.8, tile_columns: 320 });
  const tiled = await run(19, 8, 300, 1, { temperature: 0.8, tile_columns: 64 });
  expect(worst(whole.logProb, tiled.logProb)).toBeLessThan(1e-5);
  expect(worst(whole.entropy, tiled.entropy)).toBeLessThan(1e-5);
  expect(worst(whole.dHidden, tiled.dHidden)).toBeLessThan(1e-5);
  expect(worst(whole.dWeight, tiled.dWeight)).toBeLessThan(1e-5);
});

/** A vocabulary of Qwen2.5. The error of one float32 sum over it was 2e-4; float32 values of this size are 1e-6 apart. */
const LARGE_V = 151_936;
test.each([1, 3, 40])("a vocabulary of 151,936: %i rows have the log-probabilities of float64", async (N) => {
  const C = 4;
  const [hidden, weight] = [normals(1, N * C), normals(2, LARGE_V * C)];
  const { logProb, entropy } = await run(N, C, LARGE_V, 1, { temperature: 0.9 });
  const exact = linearLogProb.reference(
    {
      hidden: Float64Array.from(hidden),
      weight: Float64Array.from(weight),
      target: Float64Array.from({ length: N }, (_, n) => (n * 7919) % LARGE_V),
    },
    { N, C, V: LARGE_V, temperature: 0.9 },
  );
  const gap = (values: Float32Array, of: ArrayLike<number>) =>
    values.reduce((most, value, n) => Math.max(most, Math.abs(value - of[n])), 0);
  expect(gap(logProb, exact.log_prob)).toBeLessThan(5e-6);
  expect(gap(entropy, exact.entropy)).toBeLessThan(2e-5);
});

test("logits in the tens of thousands stay finite and certain", async () => {
  const { logProb, entropy, dHidden, dWeight } = await run(16, 8, 200, 1e4, { tile_columns: 64 });
  for (const values of [logProb, entropy, dHidden, dWeight])
    expect(values.every((value) => Number.isFinite(value))).toBe(true);
  expect(Math.max(...logProb)).toBeLessThanOrEqual(0);
  expect(Math.max(...entropy)).toBeLessThan(1e-3);
});

test("equal logits give entropy ln V and log-probability -ln V", async () => {
  const { logProb, entropy } = await run(4, 3, 130, 0, { tile_columns: 64 });
  for (const value of logProb) expect(value).toBeCloseTo(-Math.log(130), 5);
  for (const value of entropy) expect(value).toBeCloseTo(Math.log(130), 5);
});

test("a temperature of zero and tiles that could not be bound are refused", async () => {
  await expect(run(1, 1, 8, 1, { temperature: 0 })).rejects.toThrow("temperature");
  await expect(run(1, 1, 8, 1, { tile_columns: 10 })).rejects.toThrow("multiple of 64");
});
