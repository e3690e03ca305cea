import { expect, test } from "vitest";
import { measure, ratioOf, spread, wallTime } from "../../bench/measure.js";

test("a sample runs its work once and lasts as long as it", async () => {
  let runs = 0;
  const elapsed = await wallTime(() => {
    runs++;
    return new Promise((resolve) => setTimeout(resolve, 30));
  });
  expect(runs).toBe(1);
  expect(elapsed).toBeGreaterThan(25);
});

test("works are timed one at a time, two runs ahead of their samples", async () => {
  let running = 0;
  const calls = [0, 0];
  const work = (index: number) => ({
    async run(count: number) {
      expect(running++).toBe(0);
      calls[index] += count;
      await new Promise((resolve) => setTimeout(resolve, 2 * count));
      running--;
    },
  });
  const effort = { repeats: 4, sampleMs: 0, budgetMs: 1000 };
  const timings = await measure([work(0), work(1)], effort);
  expect(calls).toEqual([6, 6]);
  expect(timings.map(({ repeats }) => repeats)).toEqual([4, 4]);
});

test("a ratio is the median over rounds in which both took part", () => {
  const timing = { ...spread([1]), calls: 1 };
  // the second round was slow for both
  const base = { timing, samples: [1, 10, 1, 1] };
  expect(ratioOf({ timing, samples: [2, 20, 3] }, base)).toBe(2);
});
