/** Closed-form dynamics: the danger zone's toy, and a softmax that nothing else pushes. */
import { describe, expect, test } from "vitest";
import {
  contrastProbability,
  drift,
  fitToy,
  fixedPoints,
  flawedActions,
  toyEnd,
  zoneOf,
} from "../../src/coupling/analysis/danger_zone.js";
import {
  policyAdvantages,
  softmaxChange,
  softmaxTrajectory,
} from "../../src/coupling/analysis/softmax_dynamics.js";

describe("danger zone", () => {
  const toy = { risk: 0.3, drive: 0.05 };

  test("fixed points", () => {
    const points = fixedPoints(toy);
    expect(points?.stable).toBeCloseTo(0.211, 3);
    expect(points?.unstable).toBeCloseTo(0.789, 3);
    for (const q of [points?.stable ?? 0, points?.unstable ?? 0]) expect(drift(q, toy)).toBeCloseTo(0, 14);
    // without a drive the flawed action dies out from everywhere below 1
    expect(fixedPoints({ risk: 0.3, drive: 0 })).toEqual({ stable: 0, unstable: 1 });
    expect(fixedPoints({ risk: 0.2, drive: 0.05 })).toBeUndefined();
  });

  test.each([0.02, 0.3, 0.6, 0.75])("a start at %f ends at q-", (start) => {
    expect(zoneOf(start, toy)).toBe("safe");
    expect(toyEnd(start, toy, 2000, 4000)).toBeCloseTo(0.2113, 4);
  });

  test.each([0.8, 0.9])("a start at %f runs to 1", (start) => {
    expect(zoneOf(start, toy)).toBe("danger");
    expect(toyEnd(start, toy, 2000, 4000)).toBeCloseTo(1, 6);
  });

  test.each([0.02, 0.3, 0.9])("with a drive of more than a quarter of the risk %f runs to 1", (start) => {
    const strong = { risk: 0.3, drive: 0.08 };
    expect(zoneOf(start, strong)).toBe("no_safe_regime");
    expect(toyEnd(start, strong, 4000, 8000)).toBeCloseTo(1, 6);
  });

  test.each([
    [0.5, 0.99],
    [0.8, 0.83],
    [0.9, 0.57],
    [0.95, 0.34],
    [0.99, 0.08],
  ])("a group of 8 holds both choices at q = %f", (q, probability) => {
    expect(contrastProbability(q, 8)).toBeCloseTo(probability, 2);
  });

  test("measured actions on the axes of the chart, and the toy that fits them", () => {
    const qs = [0.1, 0.4, 0.5, 0.9, 1];
    const totals = qs.map((q) => drift(q, toy) * (1 - q));
    const actions = flawedActions(qs.map(Math.log), totals, [-1, -1, 1, -2, -1]);
    expect(actions.map(({ index }) => index)).toEqual([0, 1, 3]);
    expect(actions[2]).toMatchObject({
      q: expect.closeTo(0.9, 12),
      drift: expect.closeTo(drift(0.9, toy), 12),
    });
    const more = flawedActions(
      [0.2, 0.3, 0.6].map(Math.log),
      [0.2, 0.3, 0.6].map((q) => drift(q, toy) * (1 - q)),
      [-1, -1, -1],
    );
    expect(fitToy(more)).toEqual({ risk: expect.closeTo(0.3, 10), drive: expect.closeTo(0.05, 10) });
    expect(fitToy(more.slice(0, 2))).toBeNull();
    expect(fitToy(more.map(({ q }) => ({ q, drift: q * (1 - q) })))).toBeNull();
    expect(fitToy([0.3, 0.3, 0.7].map((q) => ({ q, drift: q })))).toBeNull();
  });

  test("steps are of fourth order: a hundred times as many change the tenth digit", () => {
    for (const start of [0.02, 0.6, 0.9]) {
      const [coarse, fine] = [toyEnd(start, toy, 8, 40), toyEnd(start, toy, 8, 4000)];
      expect(Math.abs(coarse - fine)).toBeLessThan(1e-9);
      expect(Math.abs(fine - start)).toBeGreaterThan(1e-3);
    }
    expect(toyEnd(0.3, toy, 0, 1)).toBeCloseTo(0.3, 12);
  });

  test("actions at the ends of the axis, and those that nobody punished, are on no chart", () => {
    const logProbs = [0, Number.NEGATIVE_INFINITY, Math.log(0.5), Math.log(0.5)];
    expect(flawedActions(logProbs, [1, 1, 1, 1], [-1, -1, 0, -1]).map(({ index }) => index)).toEqual([3]);
  });

  test("a fit without a risk, or with a drive below 0, is none; a drive of 0 is one", () => {
    const onLine = (risk: number, drive: number) =>
      fitToy([0.1, 0.2, 0.4].map((q) => ({ q, drift: drive - risk * q * (1 - q) })));
    expect(onLine(-0.3, 0.1)).toBeNull();
    expect(onLine(0, 0.1)?.risk ?? 0).toBeLessThan(1e-12);
    expect(onLine(0.3, -0.1)).toBeNull();
    expect(onLine(0.3, 0.02)).toEqual({ risk: expect.closeTo(0.3, 10), drive: expect.closeTo(0.02, 10) });
    // q and 1 - q lie at one place of the axis of the fit
    expect(fitToy([0.2, 0.8, 0.2].map((q, i) => ({ q, drift: i })))).toBeNull();
  });

  test("impossible toys are refused", () => {
    expect(() => fixedPoints({ risk: 0, drive: 1 })).toThrow(/got risk 0 and drive 1/);
    expect(() => fixedPoints({ risk: 1, drive: -1 })).toThrow(/drive 0 or more/);
    expect(() => toyEnd(0, toy, 1, 1)).toThrow(/start is not between 0 and 1: got 0/);
    expect(() => toyEnd(1, toy, 1, 1)).toThrow(/start is not between 0 and 1: got 1/);
  });
});

describe("softmax of one state", () => {
  test("the squeezing effect: a mild action rises for a while though it is punished", () => {
    const values = [1, 0.22, 0];
    const start = [0.2, 0.1, 0.7];
    expect(policyAdvantages(start, values)[1]).toBeCloseTo(-0.002, 12);
    expect(softmaxChange(start, policyAdvantages(start, values))[1]).toBeGreaterThan(0);
    const path = softmaxTrajectory(start, values, 0.1, 20_000);
    const mild = path.map((policy) => policy[1]);
    expect(Math.max(...mild)).toBeCloseTo(0.113, 3);
    expect(mild.at(-1)).toBeLessThan(0.01);
    // all flawed actions are punished, so bad mass never rises
    for (let step = 1; step < path.length; step++) expect(path[step][0]).toBeGreaterThan(path[step - 1][0]);
  });

  test("a flawed action that beats the average takes mass from the good one: no coupling is needed for that", () => {
    const path = softmaxTrajectory([0.01, 0.9, 0.09], [1, 0.95, 0.39], 0.02, 20_000);
    // the same loop in numpy ends at 0.00186
    expect(path.at(-1)?.[0]).toBeCloseTo(0.00186, 5);
  });

  test("change per unit of rate is that of a small step", () => {
    const start = [0.5, 0.2, 0.3];
    const values = [0.1, 0.9, 0.4];
    const rate = 1e-6;
    const [before, after] = softmaxTrajectory(start, values, rate, 1);
    softmaxChange(start, policyAdvantages(start, values)).forEach((change, k) => {
      expect((Math.log(after[k]) - Math.log(before[k])) / rate).toBeCloseTo(change, 6);
    });
  });

  test("what is no policy is refused", () => {
    expect(() => softmaxChange([0.5, 0.4], [0, 0])).toThrow(/add up to 0.9, expected 1/);
    expect(() => softmaxTrajectory([0, 1], [0, 0], 1, 1)).toThrow(/not finite/);
  });
});
