/** Calls of worlds that others wrote: their promises and errors need not be those of this realm. */
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { callWorld, Stop, WorldFailure } from "../../src/rl/play/world_calls.js";

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

test("answers that are there at once are handed on as they are, whatever they are", async () => {
  for (const value of [0, "", null, undefined, JSON.parse('{"then": 3}'), [1]])
    expect(await callWorld("step", () => value, limits)).toBe(value);
});

test("an error is the world's failure, with its cause; what is thrown need not be an error", async () => {
  const cause = new Error("the floor gave way");
  const failing = callWorld(
    "reset",
    () => {
      throw cause;
    },
    limits,
  );
  await expect(failing).rejects.toThrow(WorldFailure);
  await expect(failing).rejects.toMatchObject({ message: "reset: the floor gave way", cause });
  for (const reason of ["a text", null, undefined, 3])
    await expect(callWorld("reset", () => Promise.reject(reason), limits)).rejects.toThrow(
      `reset: ${reason}`,
    );
});

describe("time limits", () => {
  /** A clock that a test moves by hand; counts those who wait. */
  function clock() {
    const waiting = new Set<() => void>();
    const asked: number[] = [];
    const timer = (limit: number, done: () => void) => {
      asked.push(limit);
      waiting.add(done);
      return () => void waiting.delete(done);
    };
    return { timer, waiting, asked };
  }

  test("end a call that does not answer, and are called off by one that does", async () => {
    const { timer, waiting, asked } = clock();
    const hanging = callWorld("step", () => new Promise(() => {}), { ...limits, timeLimit: 50, timer });
    const failed = expect(hanging).rejects.toThrow("step: got no answer in 50 ms, expected one");
    for (const done of waiting) done();
    await failed;
    expect(asked).toEqual([50]);
    expect(waiting.size).toBe(0);
    expect(await callWorld("step", () => Promise.resolve(7), { ...limits, timeLimit: 50, timer })).toBe(7);
    expect(waiting.size).toBe(0);
  });

  test("are not asked for where there is none, or where the answer is there", async () => {
    const { timer, asked } = clock();
    expect(await callWorld("step", () => Promise.resolve(7), { ...limits, timer })).toBe(7);
    expect(await callWorld("step", () => 8, { timeLimit: 50, timer, stop: undefined })).toBe(8);
    expect(asked).toEqual([]);
    expect(await callWorld("step", () => Promise.resolve(9), { ...limits, timeLimit: 50 })).toBe(9);
  });
});

describe("a stop", () => {
  test("ends calls that wait with its reason, and lets no other begin; the first reason counts", async () => {
    const stop = new Stop(undefined);
    expect(stop.isAsked).toBe(false);
    expect(() => stop.check()).not.toThrow();
    const hanging = callWorld("step", () => new Promise(() => {}), { ...limits, stop });
    const failed = expect(hanging).rejects.toBe("enough");
    stop.now("enough");
    stop.now("more than enough");
    await failed;
    expect(stop.isAsked).toBe(true);
    let called = false;
    const late = callWorld(
      "step",
      () => {
        called = true;
      },
      { ...limits, stop },
    );
    await expect(late).rejects.toBe("enough");
    expect(called).toBe(false);
  });

  test("tells its listeners once, but those that have gone", async () => {
    const stop = new Stop(undefined);
    const heard: unknown[] = [];
    stop.listen((reason) => heard.push(["kept", reason]));
    stop.listen((reason) => heard.push(["gone", reason]))();
    // a call that has ended does not listen any more
    expect(await callWorld("step", () => Promise.resolve(1), { ...limits, stop })).toBe(1);
    stop.now(undefined);
    stop.now("later");
    expect(heard).toEqual([["kept", undefined]]);
    expect(stop.isAsked).toBe(true);
  });

  test("comes from a signal, before or after, until it is closed", () => {
    const early = new AbortController();
    early.abort("early");
    expect(() => new Stop(early.signal).check()).toThrow("early");
    const late = new AbortController();
    const [open, shut] = [new Stop(late.signal), new Stop(late.signal)];
    shut.close();
    late.abort("late");
    expect(open.isAsked).toBe(true);
    expect(() => open.check()).toThrow("late");
    expect(shut.isAsked).toBe(false);
  });
});
