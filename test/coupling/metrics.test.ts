/** Numbers of training updates, and that the glossary has each. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { couplingMetrics, probeMetrics } from "../../src/coupling/analysis/metrics.js";
import { applyHooks } from "../../src/rl/loop/influence_hook.js";

// gradients (3, 0), (2, 1), (0, -2), (1, 1); U = 1 (3, 0) - 0.5 (2, 1) - 1 (0, -2) = (2, 1.5)
const batch = {
  totals: [6, 5.5, -3, 3.5],
  squaredNorms: [9, 5, 4, 2],
  advantages: [1, -0.5, -1, 0],
  weights: [1, 1, 1, 1],
  fromGood: [9, 6, 0, 3],
};

test("numbers of an update by hand", () => {
  expect(couplingMetrics(batch)).toEqual({
    "coupling/samples": 4,
    "coupling/inversion_rate": 0.5,
    "coupling/harmful_ratio": 9 / 6.5,
    "coupling/cross_share": 15.5 / 31,
    "coupling/good/self": 9,
    "coupling/good/cross": -3,
    "coupling/bad/self": (-2.5 - 4) / 2,
    "coupling/bad/cross": (8 + 1) / 2,
    "coupling/bad/from_good": 3,
    "coupling/sample_grad_norm": (3 + Math.sqrt(5) + 2 + Math.SQRT2) / 4,
  });
});

test("labels of another source take the place of the advantage's sign", () => {
  const labelled = couplingMetrics({ ...batch, classes: ["bad", undefined, "good", "good"] });
  expect(labelled).toMatchObject({ "coupling/bad/self": 9, "coupling/good/cross": (1 + 3.5) / 2 });
});

test("the probe set", () => {
  const numbers = probeMetrics({
    predicted: [1, 2, 3, 4],
    raw: [-2, 2, 4, -10],
    realised: [-1, 1, 2, -5],
    advantages: [-1, -1, 1, 0],
  });
  expect(numbers).toMatchObject({
    "coupling/probe/samples": 4,
    "coupling/probe/realised_inversion_rate": 0.5,
    "coupling/probe/predicted_inversion_rate": 1,
    "coupling/probe/rank_correlation": expect.closeTo(-0.2, 12),
    "coupling/probe/raw_correlation": expect.closeTo(1, 12),
  });
  expect(probeMetrics({ predicted: [], raw: [], realised: [], advantages: [] })).toMatchObject({
    "coupling/probe/realised_inversion_rate": null,
    "coupling/probe/correlation": null,
  });
});

test("the glossary explains each number", async () => {
  const glossary = readFileSync(new URL("../../docs/glossary.md", import.meta.url), "utf8");
  const section = glossary.split(/^## /m).find((text) => text.startsWith("Metrics of coupling\n")) ?? "";
  const explained = [...section.matchAll(/^\|([^|]*)\|/gm)].flatMap(([, cell]) =>
    [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name),
  );
  const probe = probeMetrics({ predicted: [], raw: [], realised: [], advantages: [] });
  const { metrics: hook } = await applyHooks([], { step: 1, rows: [] }, []);
  const time = { "perf/step_ms/coupling": 0 };
  expect(explained.sort()).toEqual(
    Object.keys({ ...couplingMetrics(batch), ...probe, ...hook, ...time }).sort(),
  );
});

test("the probe counts rises of flawed actions alone", () => {
  const rate = (realised: number[], advantages: number[]) =>
    probeMetrics({ predicted: realised, raw: realised, realised, advantages })[
      "coupling/probe/realised_inversion_rate"
    ];
  // the risen one of three flawed; good ones rise too, and one flawed stays exactly where it was
  expect(rate([1, -1, 0, 2, 3], [-1, -1, -1, 1, 0])).toBeCloseTo(1 / 3, 12);
  expect(rate([1, 2], [1, 0])).toBeNull();
});

test("numbers without a meaning are null, and wrong sizes are told", () => {
  const still = couplingMetrics({ totals: [0, 0], squaredNorms: [0, 0], advantages: [0, 0] });
  expect(still).toMatchObject({
    "coupling/cross_share": null,
    "coupling/good/self": null,
    "coupling/bad/cross": null,
  });
  expect(() => couplingMetrics({ ...batch, fromGood: [1] })).toThrow(/fromGood has the wrong size/);
  expect(couplingMetrics({ ...batch, fromGood: undefined } as never)).not.toHaveProperty(
    "coupling/bad/from_good",
  );
});
