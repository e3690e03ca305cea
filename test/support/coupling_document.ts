/** An analysis made from drawn gradients, for tests of what shows it. */

import { Random } from "../../src/core/random.js";
import { classCosines } from "../../src/coupling/analysis/class_cosines.js";
import { fitToy, fixedPoints, flawedActions } from "../../src/coupling/analysis/danger_zone.js";
import { influence, worstPairs } from "../../src/coupling/analysis/influence.js";
import { clusteredOrder } from "../../src/coupling/analysis/seriation.js";
import type { CouplingDocument, CouplingSample } from "../../src/report/coupling_document.js";

/** @param count samples, in states of three, each state with gradients around a direction of its own */
export function drawnDocument(count: number, name = "drawn", seed = 1): CouplingDocument {
  const random = Random.of(seed, "document");
  const centres = Array.from({ length: Math.ceil(count / 3) }, () => [0, 1, 2, 3].map(() => random.normal()));
  const gradients = Array.from({ length: count }, (_, i) =>
    [0, 1, 2, 3, 4, 5].map((k) => (centres[Math.floor(i / 3)][k] ?? 0) + 0.7 * random.normal()),
  );
  const gram = gradients.flatMap((a) => gradients.map((b) => a.reduce((sum, v, k) => sum + v * b[k], 0)));
  const cosines = gram.map((value, at) => {
    const [i, j] = [Math.floor(at / count), at % count];
    return value / Math.sqrt(gram[i * count + i] * gram[j * count + j]);
  });
  const advantages = gradients.map((_, i) => [1, -0.6, -0.4][i % 3]);
  const states = gradients.map((_, i) => `state ${Math.floor(i / 3)}`);
  const { self, cross, total, inversions, inversionRate, harmfulRatio } = influence(gram, advantages);
  const samples = gradients.map((_, i): CouplingSample => {
    const logProb = Math.log(0.02 + 0.96 * random.uniform());
    return {
      id: (1000 + i).toString(16),
      state: states[i],
      stateText: `You are in room ${Math.floor(i / 3)}.\nYou see a "drawer" & a <shelf>.`,
      action: ["take mug 1 from shelf 2", "go to drawer 4", `open <b>fridge</b> ${i}`][i % 3],
      taskType: "look",
      rows: 1 + random.integer(3),
      advantage: advantages[i],
      weight: 1 / count,
      logProb,
      self: self[i],
      cross: cross[i],
      total: total[i],
      realised: i % 2 === 0 ? 0.9 * total[i] : null,
      optimiser: i % 3 === 0 ? null : { predicted: 0.01 * total[i], realised: 0.011 * total[i] },
    };
  });
  const points = flawedActions(
    samples.map(({ logProb }) => logProb),
    total,
    advantages,
  );
  const toy = fitToy(points) ?? { risk: 0.3, drive: 0.05 };
  const names = ["embed_tokens", "layers.0.self_attn.q_proj", "layers.0.mlp.gate_proj", "norm"];
  return {
    version: 2,
    name,
    passport: { command: "uncouple coupling --run <run> & more", adapter: "none", parameters: 6 },
    samples,
    gram,
    order: clusteredOrder(cosines, count),
    numbers: { inversions: inversions.length, inversion_rate: inversionRate, harmful_ratio: harmfulRatio },
    pairs: worstPairs(gram, advantages, 5),
    ...classCosines(gram, advantages, states),
    actionTokens: null,
    layers: names.map((layer, i) => ({
      name: `model.${layer}.weight`,
      part: ["embedding", "attention", "mlp", "norm"][i],
      share: [0.2, 0.3, 0.4, 0.1][i],
      goodToBad: [0.3, -0.1, 0.5, 0.02][i],
    })),
    danger: { points, toy: { ...toy, rest: fixedPoints(toy) ?? null } },
    dangerOptimiser: null,
    goodAnswers: null,
    sharedTokens: null,
    views: [],
    stateAction: null,
    agreements: [
      { what: "drawn", count: 3, correlation: 0.9, rankCorrelation: null, signAgreement: 1, slope: 0.9 },
    ],
    tokenHeat: {
      sample: 1,
      what: "Change of each token's log-probability.",
      tokens: ["go", " to", " drawer", " <4>"].map((text, t) => ({ text, value: [0.1, -0.4, 0.9, 0][t] })),
    },
  };
}
