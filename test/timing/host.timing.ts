/** What JavaScript takes for a training step, on Dawn's null backend, where nothing is computed. */
import { expect, test } from "vitest";
import { Trainer } from "../../bench/trainer.js";
import { trainingProblem } from "../../bench/workloads.js";
import { quantile } from "../../src/core/statistics.js";
import { Launcher } from "../../src/kernels/index.js";
import { largeGpu } from "../support/null_gpu.js";
import { workloadNamed } from "../support/workloads.js";

test("the host takes less than 2 ms for a step of four layers", async () => {
  const runtime = await largeGpu();
  const small = workloadNamed("small");
  expect(small.config.num_hidden_layers).toBe(4);
  const trainer = new Trainer(new Launcher(runtime), small, trainingProblem(small), "f32");
  const windowOfSteps = async () => {
    const times: number[] = [];
    for (let step = 0; step < 100; step++) {
      const start = performance.now();
      await trainer.run(1);
      times.push(performance.now() - start);
    }
    return quantile(times, 0.1);
  };
  // a shared core can be slow for seconds on end: what the host needs is what it takes in the quickest window
  let quickest = Number.POSITIVE_INFINITY;
  for (let window = 0; window < 60 && quickest >= 2; window++) {
    quickest = Math.min(quickest, await windowOfSteps());
  }
  expect(quickest).toBeLessThan(2);
  trainer.release();
  await runtime.dispose();
});
