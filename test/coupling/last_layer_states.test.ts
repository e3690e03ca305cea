/** What the last layer sees of a policy: against a float64 implementation from outside, and one of our own. */
import { describe, expect, test } from "vitest";
import { gwhes, lastLayerGram, nthr } from "../../src/coupling/analysis/last_layer.js";
import { lastLayerScores } from "../../src/coupling/analysis/last_layer_groups.js";
import { perSampleGram } from "../../src/coupling/gram.js";
import { responseStates } from "../../src/coupling/ground_truth/response_states.js";
import { relativeError } from "../../src/coupling/verify.js";
import { loadPolicy } from "../../src/host/model/policy_folder.js";
import { Launcher } from "../../src/kernels/index.js";
import { couplingPolicy, drawSamples, V } from "../support/coupling_policy.js";
import { readGolden } from "../support/golden.js";
import { testRuntime } from "../support/runtime.js";

const runtime = await testRuntime();
const launcher = new Launcher(runtime);

test("the output matrix's Gram of a golden policy, in float64 from outside", async () => {
  const { folder, samples, layers } = readGolden("qwen2-untied");
  const { model } = await loadPolicy(launcher, folder, { requiresGrad: false });
  const before = runtime.buffers.liveBytes;
  const gram = lastLayerGram(await responseStates(model, samples));
  expect(runtime.buffers.liveBytes - before).toBeLessThan(2 ** 16); // the rotary table stays
  expect(relativeError(gram, layers["lm_head.weight"].flat())).toBeLessThan(1e-5);
});

test("log-probabilities of the answered tokens, summed, are the sample's; probabilities sum to 1", async () => {
  const { folder, samples, scores, sequences } = readGolden("qwen2-tied-gqa");
  const { model } = await loadPolicy(launcher, folder, { requiresGrad: false });
  for (const [s, { tokens, distributions }] of (await responseStates(model, samples)).entries()) {
    const at = sequences.findIndex((sequence) => sequence.join() === samples[s].tokens.join());
    distributions.forEach(({ ids, probabilities }, t) => {
      expect(Array.from(probabilities).reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 10);
      const p = probabilities[Array.from(ids).indexOf(tokens[t])];
      if (at >= 0) expect(Math.log(p)).toBeCloseTo(scores[at].logProbs[samples[s].responseStart - 1 + t], 4);
    });
  }
});

describe("a drawn policy", () => {
  const policy = couplingPolicy(launcher, { tie_word_embeddings: false });
  const samples = drawSamples(9).map(({ tokens, responseStart }) => ({ tokens, responseStart }));

  test("the same as that layer's part of the full Gram, however samples are put into passes", async () => {
    const { layers } = await perSampleGram(policy, samples);
    const together = lastLayerGram(await responseStates(policy, samples));
    expect(relativeError(together, layers.get("lm_head.weight") as Float64Array)).toBeLessThan(1e-5);
    const apart = lastLayerGram(await responseStates(policy, samples, { tokensPerPass: 1 }));
    expect(relativeError(apart, together)).toBeLessThan(1e-5);
  });

  test("the largest probabilities: those of all tokens, by rising id; all of them make the Gram exact", async () => {
    const whole = await responseStates(policy, samples);
    const exact = lastLayerGram(whole);
    const errors: number[] = [];
    for (const topK of [1, 16, V]) {
      const some = await responseStates(policy, samples, { likeliest: topK });
      for (const [s, { distributions }] of some.entries())
        distributions.forEach(({ ids, probabilities }, t) => {
          const all = Array.from(whole[s].distributions[t].probabilities);
          const kept = new Set([...all.keys()].sort((a, b) => all[b] - all[a]).slice(0, topK));
          expect(Array.from(ids)).toEqual([...kept].sort((a, b) => a - b));
          expect(Array.from(probabilities)).toEqual(Array.from(ids, (id) => all[id]));
        });
      errors.push(relativeError(lastLayerGram(some), exact));
    }
    expect(errors[0]).toBeGreaterThan(0);
    expect(errors[1]).toBeGreaterThan(0);
    expect(errors[2]).toBe(0);
  });

  test("scores of groups are those of the functions they are made of, samples by number", async () => {
    const states = await responseStates(policy, samples);
    const groups = ["a", "b", "a", "a", "b", "c", "c", "d", "a"];
    const advantages = [1, 1, -1, 0.5, 0, -1, -2, 0, -0.1];
    const found = lastLayerScores(
      states.map((one, s) => ({ states: one, group: groups[s], advantage: advantages[s] })),
    );
    expect(found.gram).toEqual(lastLayerGram(states));
    // a sample that stands for two answers counts twice
    const twice = lastLayerScores(
      states.map((one, s) => ({
        states: one,
        group: groups[s],
        advantage: advantages[s],
        rows: s === 2 ? 2 : 1,
      })),
    );
    expect(twice.groups[0].gwhes).toBe(gwhes([states[0], states[3]], [states[2], states[2], states[8]]));
    // groups without both signs have no scores
    expect(found.groups.map(({ group }) => group)).toEqual(["a"]);
    const [{ positives, negatives, gwhes: score, threshold, tokens }] = found.groups;
    expect([positives, negatives]).toEqual([
      [0, 3],
      [2, 8],
    ]);
    const [good, bad] = [
      [states[0], states[3]],
      [states[2], states[8]],
    ];
    expect(score).toBe(gwhes(good, bad));
    const expected = nthr(good, bad);
    expect(threshold).toBe(expected.threshold);
    expect(tokens.map(({ scores }) => scores)).toEqual(expected.negatives.map((values) => [...values]));
    expect(tokens.map(({ selected }) => selected)).toEqual(expected.selected);
  });

  test("what does not fit is refused", async () => {
    await expect(responseStates(policy, samples, { likeliest: 0 })).rejects.toThrow(
      "likeliest is out of range: got 0",
    );
    await expect(responseStates(policy, [{ tokens: [1, 2], responseStart: 2 }])).rejects.toThrow(
      "sample 0: zero response tokens",
    );
    const broken = couplingPolicy(launcher, { tie_word_embeddings: false });
    const values = await broken.parameters.read("model.embed_tokens.weight");
    broken.parameters.load("model.embed_tokens.weight", values.fill(Number.NaN, 32 * 7, 32 * 8));
    const bad = [
      { tokens: [1, 2, 3], responseStart: 1 },
      { tokens: [7, 2, 3], responseStart: 1 },
    ];
    await expect(responseStates(broken, bad, { tokensPerPass: 1 })).rejects.toThrow(
      "sample 1: its token probabilities are not finite",
    );
  });
});
