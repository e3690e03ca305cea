/** Dot products of per-sample gradients with directions, against the Gram and against gradients one by one. */
import { expect, test } from "vitest";
import { directions } from "../../src/coupling/directions.js";
import { perSampleGram } from "../../src/coupling/gram.js";
import { addBatchGradient } from "../../src/coupling/separate.js";
import { relativeError } from "../../src/coupling/verify.js";
import { loadPolicy } from "../../src/host/model/policy_folder.js";
import { Launcher } from "../../src/kernels/index.js";
import { GOLDEN_MODELS, readGolden } from "../support/golden.js";
import { testRuntime } from "../support/runtime.js";

const runtime = await testRuntime();
const families = { own: new Launcher(runtime), gpu: new Launcher(await testRuntime({ isSoftware: false })) };

test.each(GOLDEN_MODELS.flatMap((name) => [[name, "own"] as const, [name, "gpu"] as const]))(
  "directions of %s, kernels of the %s family",
  async (name, family) => {
    const { folder, samples, gram, layers } = readGolden(name);
    const { model } = await loadPolicy(families[family], folder, { requiresGrad: true });
    const S = samples.length;
    const coefficients = samples.map((_, s) => (s - 1.5) / 4);
    const ofBatch = (row: readonly number[]) =>
      row.reduce((sum, value, j) => sum + value * coefficients[j], 0);
    const gradient = (stored: string) => model.parameters.get(stored).grad;
    for (const pieceBytes of [undefined, 4096]) {
      model.parameters.clearGradients();
      const batch = await directions(model, samples, [gradient], { coefficients, pieceBytes });
      // the slots now hold the batch's gradient: a given direction like any other
      const given = await directions(model, samples, [gradient, (stored) => model.parameters.get(stored)]);
      expect(relativeError(batch.dots, gram.map(ofBatch))).toBeLessThan(1e-5);
      expect(
        relativeError(
          batch.squares,
          gram.map((row, s) => row[s]),
        ),
      ).toBeLessThan(1e-5);
      for (const [layer, { dots, squares }] of batch.layers) {
        const largest = layers[layer].map((row, s) => row[s]);
        expect(relativeError(squares, largest), layer).toBeLessThan(2e-5);
        expect(relativeError(dots, layers[layer].map(ofBatch)), layer).toBeLessThan(1e-4);
      }
      expect(
        relativeError(
          given.dots.filter((_, at) => at % 2 === 0),
          batch.dots,
        ),
      ).toBeLessThan(1e-6);
      expect(given.dots).toHaveLength(2 * S);
    }
  },
);

test("a direction that is no gradient: the change of a log-probability along it", async () => {
  const { folder, samples } = readGolden("qwen2-tied-gqa");
  const { model } = await loadPolicy(families.own, folder, { requiresGrad: true });
  const { parameters } = model;
  // along its parameters, by central differences of the whole policy
  const { dots, logProbs } = await directions(model, samples, [(stored) => parameters.get(stored)]);
  const step = 2e-3;
  const moved: Float64Array[] = [];
  const start = new Map<string, Float32Array>();
  for (const name of parameters.slots.keys()) start.set(name, await parameters.read(name));
  for (const factor of [1 + step, 1 - step]) {
    for (const [name, values] of start)
      parameters.load(
        name,
        values.map((value) => value * factor),
      );
    moved.push((await perSampleGram(model, samples)).logProbs);
  }
  const slopes = samples.map(
    (_, s) => ((moved[0] as Float64Array)[s] - (moved[1] as Float64Array)[s]) / (2 * step),
  );
  expect(relativeError(dots, slopes)).toBeLessThan(2e-3);
  expect(logProbs).toHaveLength(samples.length);
});

test("blocks in a small budget, and what is refused", async () => {
  const { folder, samples } = readGolden("qwen2-untied");
  const { model } = await loadPolicy(families.own, folder, { requiresGrad: true });
  model.parameters.clearGradients();
  addBatchGradient(model, samples.slice(0, 2));
  const gradient = (stored: string) => model.parameters.get(stored).grad;
  const whole = await directions(model, samples, [gradient], { pieceBytes: 2 ** 16 });
  const budgetBytes = Math.floor(0.8 * whole.forecast.bytes);
  const blocks = await directions(model, samples, [gradient], { budgetBytes });
  expect(blocks.forecast.passes.length).toBeGreaterThan(1);
  expect(relativeError(blocks.dots, whole.dots)).toBeLessThan(1e-5);
  expect(relativeError(blocks.squares, whole.squares)).toBeLessThan(1e-5);
  // the gradient of a batch that does not fit in one pass
  const coefficients = samples.map((_, s) => (s < 2 ? 1 : 0));
  model.parameters.clearGradients();
  const live = runtime.buffers.liveBytes;
  const batch = await directions(model, samples, [gradient], { budgetBytes, coefficients });
  expect(runtime.buffers.liveBytes).toBe(live);
  expect(batch.forecast.passes.length).toBeGreaterThan(1);
  expect(relativeError(batch.dots, whole.dots)).toBeLessThan(1e-5);
  expect(relativeError(batch.squares, whole.squares)).toBeLessThan(1e-5);
  await expect(directions(model, samples, Array(5).fill(gradient))).rejects.toThrow("too many directions");
  const wrong = () => model.parameters.get("model.norm.weight");
  await expect(directions(model, samples, [wrong])).rejects.toThrow(/direction of .* does not fit/);
});
