/** Calls of worlds that others wrote: their promises and errors need not be those of this realm. */
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { callWorld } from "../../src/rl/play/world_calls.js";

const limits = { timeLimit: null, timer: undefined, stop: undefined };

test("promises of another realm and of libraries are waited for", async () => {
  const foreign = runInNewContext("Promise.resolve(3)");
  expect(foreign).not.toBeInstanceOf(Promise);
  expect(await callWorld("step", () => foreign, limits)).toBe(3);
  // biome-ignore lint/suspicious/noThenProperty: a promise of a library
  const own = { then: (done: (value: number) => void) => done(4) } as unknown as Promise<number>;
  expect(await callWorld("step", () => own, limits)).toBe(4);
});

test("errors of another realm say what they say, without the name of their class", async () => {
  const failing = () => runInNewContext("Promise.reject(new TypeError('broken'))");
  await expect(callWorld("step", failing, limits)).rejects.toThrow(/^step: broken$/);
  const never = runInNewContext("new Promise(() => {})");
  const timer = (_seconds: number, done: () => void) => {
    setImmediate(done);
    return () => {};
  };
  await expect(callWorld("step", () => never, { ...limits, timeLimit: 1, timer })).rejects.toThrow("step");
});
