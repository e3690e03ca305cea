/** Scores and gradients of checkpoints read from disk, against numbers from an implementation that is not ours. */
import { describe, expect, test } from "vitest";
import { Tape } from "../../src/autograd/tape.js";
import { Tensor } from "../../src/autograd/tensor.js";
import { loadPolicy } from "../../src/host/model/policy_folder.js";
import { Launcher } from "../../src/kernels/index.js";
import { packSequences } from "../../src/model/packing.js";
import { parameterShapes } from "../../src/model/parameters.js";
import type { Qwen2Model } from "../../src/model/qwen2.js";
import { scoreSequences } from "../../src/rl/update/score.js";
import { GOLDEN_MODELS, type GoldenModel, readGolden } from "../support/golden.js";
import { testRuntime } from "../support/runtime.js";

const families = [
  ["adapter's own", new Launcher(await testRuntime())],
  ["GPU", new Launcher(await testRuntime({ isSoftware: false }))],
] as const;

/** Adds the gradient of the golden objective to the model's parameters. */
function addGradients(launcher: Launcher, model: Qwen2Model, samples: GoldenModel["samples"]): void {
  const packed = packSequences(samples.map(({ tokens }) => tokens));
  const places: number[] = [];
  const targets: number[] = [];
  const weights: number[] = [];
  samples.forEach(({ tokens, responseStart }, i) => {
    for (let t = responseStart; t < tokens.length; t++) {
      places.push(packed.offsets[i] + t - 1);
      targets.push(tokens[t]);
      weights.push((i + 1) / 10);
    }
  });
  const tape = new Tape(launcher);
  const hidden = model.hidden(tape, model.batch(tape, packed));
  const scores = model.score(tape, hidden, Uint32Array.from(places), Uint32Array.from(targets));
  const seed = Tensor.from(launcher.runtime, Float32Array.from(weights));
  tape.backward([[scores.log_prob, seed]]);
  tape.release();
  seed.release();
}

for (const name of GOLDEN_MODELS) {
  describe.each(families)(`${name}, %s family`, (_, launcher) => {
    const golden = readGolden(name);

    test("log-probabilities and entropies", async () => {
      const { model } = await loadPolicy(launcher, golden.folder, { requiresGrad: false });
      const scores = await scoreSequences(model, golden.sequences, 64);
      golden.scores.forEach((expected, index) => {
        for (const key of ["logProbs", "entropy"] as const) {
          expect(scores[index][key]).toHaveLength(expected[key].length);
          expected[key].forEach((value, t) => {
            const error = Math.abs(scores[index][key][t] - value);
            expect(error, `${key} of sequence ${index} at ${t}`).toBeLessThan(1e-4);
          });
        }
      });
      model.release();
      model.parameters.release();
    });

    test("gradients of all parameters", async () => {
      const { model } = await loadPolicy(launcher, golden.folder, { requiresGrad: true });
      model.parameters.clearGradients();
      addGradients(launcher, model, golden.samples);
      const { norms, firstEight } = golden.gradient;
      for (const [parameter, norm] of Object.entries(norms)) {
        const gradient = await model.parameters.readGradient(parameter);
        expect(Math.abs(Math.hypot(...gradient) / norm - 1), `norm of ${parameter}`).toBeLessThan(1e-5);
        firstEight[parameter].forEach((value, index) => {
          expect(Math.abs(gradient[index] - value) / norm, `${parameter}[${index}]`).toBeLessThan(1e-5);
        });
      }
      expect(Object.keys(norms).sort()).toEqual(
        parameterShapes(model.config)
          .map((one) => one.name)
          .sort(),
      );
      model.release();
      model.parameters.release();
    });
  });
}
