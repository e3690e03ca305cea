/** Ten thousand small updates in one process: memory stays flat, and the last thousand cost what the first cost. */
import { expect, test } from "vitest";
import { Launcher } from "../../src/kernels/index.js";
import { AdamW } from "../../src/optim/adamw.js";
import { policyObjective } from "../../src/rl/objective/policy.js";
import type { Row } from "../../src/rl/rows.js";
import { Learner } from "../../src/rl/update/learner.js";
import { lossOptions, unplaced } from "../support/rows.js";
import { testRuntime } from "../support/runtime.js";
import { drawnSamples, tinyModel } from "../support/tiny_model.js";

const UPDATES = 10_000;
const THOUSAND = 1000;

test("10,000 updates", async () => {
  const launcher = new Launcher(await testRuntime());
  const model = tinyModel(launcher);
  const optimizer = new AdamW({ parameters: model.parameters, launcher, lr: 1e-4, maxGradNorm: 1 });
  const learner = new Learner(model, optimizer, 256);
  const samples = drawnSamples(64);
  const rowsOf = (update: number): Row[] =>
    Array.from({ length: 4 }, (_, k) => {
      const { tokens, responseStart } = samples[(update * 7 + k * 13) % samples.length];
      const answer = tokens.slice(responseStart);
      return {
        ...unplaced,
        kind: "policy",
        prompt: tokens.slice(0, responseStart),
        answer,
        advantage: k % 2 === 0 ? 1 : -1,
        logProbs: answer.map(() => -1),
      };
    });
  /** Of each thousand: processor seconds of this process, GPU bytes, and bytes of the heap after collection. */
  const parts: { seconds: number; live: number; heap: number }[] = [];
  const collect = (globalThis as { gc?: () => void }).gc;
  for (let update = 0; update < UPDATES + THOUSAND; ) {
    const before = process.cpuUsage();
    for (let k = 0; k < THOUSAND; k++, update++)
      await learner.update(policyObjective(rowsOf(update), {}, lossOptions({})), 1e-4);
    const { user, system } = process.cpuUsage(before);
    collect?.();
    const live = launcher.runtime.buffers.liveBytes;
    parts.push({ seconds: (user + system) / 1e6, live, heap: process.memoryUsage().heapUsed });
  }
  // the first thousand compiles and fills the pools
  const [, first, ...rest] = parts;
  const last = rest[rest.length - 1];
  console.log(
    parts.map(
      ({ seconds, live, heap }) => `${seconds.toFixed(2)} s, ${live} B, ${(heap / 2 ** 20).toFixed(1)} MiB`,
    ),
  );
  expect(last.live).toBe(first.live);
  expect(last.heap - first.heap).toBeLessThan(8 * 2 ** 20);
  expect(last.seconds / first.seconds).toBeLessThan(1.02);
});
