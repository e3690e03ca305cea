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
  const times: number[] = [];
  for (let step = 0; step < 500; step++) {
    const start = performance.now();
    await trainer.run(1);
    times.push(performance.now() - start);
  }
  // of warm steps the quicker ones: others may share the core
  expect(quantile(times.slice(200), 0.1)).toBeLessThan(2);
  trainer.release();
  await runtime.dispose();
});
