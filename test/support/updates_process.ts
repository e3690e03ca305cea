/** A process that makes tiny updates when it is told how many, and answers with what they took. */

import { Runtime } from "../../src/gpu/runtime.js";
import { Launcher } from "../../src/kernels/index.js";
import { AdamW } from "../../src/optim/adamw.js";
import { policyObjective } from "../../src/rl/objective/policy.js";
import type { Row } from "../../src/rl/rows.js";
import { Learner } from "../../src/rl/update/learner.js";
import { testAdapter } from "./gpu.js";
import { lossOptions, unplaced } from "./rows.js";
import { drawnSamples, tinyModel } from "./tiny_model.js";

/** What some updates took. */
export interface UpdatesTaken {
  /** Processor seconds of the process, all threads together. */
  readonly seconds: number;
  /** GPU bytes that live. */
  readonly live: number;
  /** Bytes of the heap after collection. */
  readonly heap: number;
  /** Bytes of the process. */
  readonly resident: number;
}

const launcher = new Launcher(await Runtime.create(await testAdapter()));
const model = tinyModel(launcher);
const optimizer = new AdamW({ parameters: model.parameters, launcher, lr: 1e-4, maxGradNorm: 1 });
const learner = new Learner(model, optimizer, 256);
const samples = drawnSamples(64);
const collect = (globalThis as { gc?: () => void }).gc;
let done = 0;

function rowsOf(update: number): Row[] {
  return Array.from({ length: 4 }, (_, k) => {
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
}

async function take(count: number): Promise<UpdatesTaken> {
  const before = process.cpuUsage();
  for (let k = 0; k < count; k++, done++)
    await learner.update(policyObjective(rowsOf(done), {}, lossOptions({})), 1e-4);
  const { user, system } = process.cpuUsage(before);
  collect?.();
  const { heapUsed, rss } = process.memoryUsage();
  const live = launcher.runtime.buffers.liveBytes;
  return { seconds: (user + system) / 1e6, live, heap: heapUsed, resident: rss };
}

process.on("message", (count: number) => {
  void take(count).then((taken) => process.send?.(taken));
});
process.send?.("ready");
