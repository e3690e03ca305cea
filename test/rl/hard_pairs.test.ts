/** Which good and bad actions push each other, from real gradients. */
import { expect, test } from "vitest";
import { perSampleGram } from "../../src/coupling/gram.js";
import { sampleOf } from "../../src/coupling/samples.js";
import { Launcher } from "../../src/kernels/index.js";
import { gradientSimilarity } from "../../src/rl/gcd/hard_pairs.js";
import type { LabelledAction, Verdict } from "../../src/rl/gcd/labels.js";
import type { PlayedRow } from "../../src/rl/rows.js";
import { unplaced } from "../support/rows.js";
import { testRuntime } from "../support/runtime.js";
import { tinyModel } from "../support/tiny_model.js";

const launcher = new Launcher(await testRuntime());

function label(state: string, verdict: Verdict, answer: number[], strength: number): LabelledAction {
  const prompt = [3, 1, state.length];
  const row: PlayedRow = {
    ...unplaced,
    kind: "policy",
    prompt,
    answer,
    logProbs: answer.map(() => -1),
    text: { blocks: [], text: state, hash: state },
    observation: state,
    action: answer.join(),
    valid: true,
    truncated: false,
    stepReward: 0,
    outcome: 0,
  };
  return { row, action: row.action, state, verdict, strength, visits: 1 };
}

const labels = [
  label("a", "good", [4, 5], 0.2),
  label("a", "bad", [4, 6], 0.9),
  label("bb", "good", [7], 0.3),
  label("bb", "bad", [8, 9, 2], 0.3),
  // one class alone
  label("ccc", "good", [7], 5),
];

test("cosines are those of the gradients; states of one class and those beyond the cap are not measured", async () => {
  const model = tinyModel(launcher);
  // the first pass makes what the model keeps
  await gradientSimilarity(model, labels, 10);
  const live = launcher.runtime.buffers.liveBytes;
  // as many as there are of two classes
  const similarity = await gradientSimilarity(model, labels, 4);
  expect(launcher.runtime.buffers.liveBytes).toBe(live);
  const four = labels.slice(0, 4);
  const { gram } = await perSampleGram(
    model,
    four.map(({ row }) => sampleOf(row)),
  );
  const cosine = (i: number, j: number) => gram[4 * i + j] / Math.sqrt(gram[5 * i] * gram[5 * j]);
  expect(similarity(labels[0], labels[1])).toBeCloseTo(cosine(0, 1), 5);
  expect(similarity(labels[2], labels[3])).toBeCloseTo(cosine(2, 3), 5);
  expect(Math.abs(cosine(0, 1) - cosine(2, 3))).toBeGreaterThan(0.01);
  expect(similarity(labels[4], labels[1])).toBeUndefined();
  // the state with the most evidence stays
  const few = await gradientSimilarity(model, labels, 3);
  expect(few(labels[0], labels[1])).toBeCloseTo(cosine(0, 1), 5);
  expect(few(labels[2], labels[3])).toBeUndefined();
  expect((await gradientSimilarity(model, labels.slice(4), 10))(labels[4], labels[4])).toBeUndefined();
  model.release();
});
