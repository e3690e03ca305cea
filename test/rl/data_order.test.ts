/** Which data an update sees: every item once a pass, passes in different orders, all of it a function of seed and step. */
import { expect, test } from "vitest";
import { imitationBatch, itemsOfStep, taskOrder } from "../../src/rl/loop/data_order.js";

const items = ["a", "b", "c", "d", "e", "f", "g"];
const sorted = (list: readonly string[]): string[] => [...list].sort();

test("steps go through passes without a gap, and each pass has every item once", () => {
  const drawn = Array.from({ length: 14 }, (_, step) => itemsOfStep(1, "rows", items, 3, step)).flat();
  expect(drawn).toHaveLength(42);
  const passes = Array.from({ length: 6 }, (_, pass) => drawn.slice(7 * pass, 7 * (pass + 1)));
  for (const pass of passes) expect(sorted(pass)).toEqual(items);
  expect(new Set(passes.map(String)).size).toBeGreaterThan(4);
});

test("a step that needs more than one pass draws from several", () => {
  const drawn = itemsOfStep(1, "rows", items, 16, 2);
  expect(drawn).toHaveLength(16);
  // items 32 to 47: the end of the fifth pass, the sixth, the start of the seventh
  expect(sorted(drawn.slice(3, 10))).toEqual(items);
});

test("the order follows from seed and label, and from nothing else", () => {
  expect(taskOrder(1, "x", items)).toEqual(taskOrder(1, "x", items));
  expect(sorted(taskOrder(1, "x", items))).toEqual(items);
  expect(taskOrder(2, "x", items)).not.toEqual(taskOrder(1, "x", items));
  expect(taskOrder(1, "y", items)).not.toEqual(taskOrder(1, "x", items));
  expect(itemsOfStep(1, "x", items, 7, 0)).not.toEqual(itemsOfStep(1, "y", items, 7, 0));
  expect(itemsOfStep(1, "x", items, 7, 0)).not.toEqual(itemsOfStep(2, "x", items, 7, 0));
  expect(imitationBatch(4, items, 3, 5)).toEqual(itemsOfStep(4, "imitation", items, 3, 5));
});
