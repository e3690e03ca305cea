import { expect, test } from "vitest";
import { waitWithPauses } from "../../src/host/gpu/waiting.js";

test("a wait ends with its work, whether it succeeds or fails", async () => {
  expect(await waitWithPauses(Promise.resolve(7))).toBe(7);
  const failure = new Error("lost");
  await expect(waitWithPauses(Promise.reject(failure))).rejects.toBe(failure);
});

test("the thread sleeps while it waits, and other events are still served", async () => {
  let ticks = 0;
  const timer = setInterval(() => ticks++, 5);
  const before = process.cpuUsage();
  const start = performance.now();
  await waitWithPauses(new Promise((resolve) => setTimeout(resolve, 200)));
  const elapsed = performance.now() - start;
  const { user, system } = process.cpuUsage(before);
  clearInterval(timer);
  expect(elapsed).toBeGreaterThan(190);
  // a busy loop would use all of it
  expect((user + system) / 1000 / elapsed).toBeLessThan(0.5);
  expect(ticks).toBeGreaterThan(5);
});
