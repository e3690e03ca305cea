/** Which requests share a batch, and when it begins, with a clock that is set by hand. */
import { expect, test } from "vitest";
import type { Generation, GenerationRequest } from "../../src/model/generate.js";
import { Batching } from "../../src/rl/play/batching.js";

const request = (stream: number): GenerationRequest => ({ prompt: [1], stream });
const settled = () => new Promise((resolve) => setImmediate(resolve));

/** Batches that are answered when the test says so, and the one timer that may run. */
function held({ isPatient = true } = {}) {
  const batches: number[][] = [];
  const answers: (() => void)[] = [];
  const waits: number[] = [];
  let ring: (() => void) | undefined;
  const sampler = {
    generate: (requests: readonly GenerationRequest[]) => {
      batches.push(requests.map(({ stream }) => stream));
      return new Promise<Generation[]>((resolve) => {
        const answer = requests.map(({ stream }) => ({ tokens: [stream], logProbs: [0], finished: true }));
        answers.push(() => resolve(answer));
      });
    },
  };
  const timer = (milliseconds: number, run: () => void) => {
    waits.push(milliseconds);
    ring = run;
    return () => {
      ring = undefined;
    };
  };
  const batching = new Batching(
    sampler,
    { seed: 1, temperature: 1, maxNewTokens: 1, endTokens: [] },
    isPatient ? { milliseconds: 7, timer } : undefined,
  );
  return { batching, batches, answers, waits, isTiming: () => ring !== undefined, ring: () => ring?.() };
}

test("one batch runs at a time; whoever asks meanwhile is in the next, in order", async () => {
  const { batching, batches, answers, waits, isTiming, ring } = held();
  for (let player = 0; player < 3; player++) batching.join();
  const first = batching.ask(2, request(20));
  expect(batches).toEqual([]);
  // the first request alone begins to wait
  const second = batching.ask(1, request(10));
  expect(waits).toEqual([7]);
  ring();
  expect(batches).toEqual([[10, 20]]);
  const third = batching.ask(3, request(30));
  const others = [batching.ask(1, request(11)), batching.ask(0, request(1))];
  // all three wait, but the batch before is not done
  expect([batches.length, isTiming()]).toEqual([1, false]);
  answers[0]();
  expect((await first).tokens).toEqual([20]);
  expect((await second).tokens).toEqual([10]);
  expect(batches).toEqual([
    [10, 20],
    [1, 11, 30],
  ]);
  answers[1]();
  expect((await third).tokens).toEqual([30]);
  expect((await Promise.all(others)).map(({ tokens }) => tokens)).toEqual([[11], [1]]);
});

test("a full batch calls the wait off; those who leave are not waited for", async () => {
  const { batching, batches, answers, waits, isTiming } = held();
  batching.join();
  batching.join();
  void batching.ask(0, request(0));
  expect(isTiming()).toBe(true);
  void batching.ask(1, request(1));
  expect([batches, isTiming()]).toEqual([[[0, 1]], false]);
  answers[0]();
  await settled();
  void batching.ask(0, request(2));
  expect([waits.length, isTiming()]).toEqual([2, true]);
  batching.leave();
  expect([batches.at(-1), isTiming()]).toEqual([[2], false]);
});

test("without patience a batch waits for all, and nobody left is no batch", () => {
  const { batching, batches, waits } = held({ isPatient: false });
  batching.join();
  batching.join();
  void batching.ask(0, request(0));
  expect([batches, waits]).toEqual([[], []]);
  batching.leave();
  expect(batches).toEqual([[0]]);
  batching.leave();
  expect(batches).toEqual([[0]]);
});

test("an error of the sampler reaches every request of its batch, and the next batch runs", async () => {
  const batches: number[] = [];
  const sampler = {
    generate: async (requests: readonly GenerationRequest[]) => {
      batches.push(requests.length);
      if (batches.length === 1) throw new Error("device lost");
      return requests.map(() => ({ tokens: [5], logProbs: [0], finished: true }));
    },
  };
  const batching = new Batching(sampler, { seed: 1, temperature: 1, maxNewTokens: 1, endTokens: [] });
  batching.join();
  batching.join();
  const asked = await Promise.allSettled([batching.ask(0, request(0)), batching.ask(1, request(1))]);
  expect(asked.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  const again = await Promise.all([batching.ask(0, request(2)), batching.ask(1, request(3))]);
  expect(again.map(({ tokens }) => tokens)).toEqual([[5], [5]]);
  expect(batches).toEqual([2, 2]);
});
