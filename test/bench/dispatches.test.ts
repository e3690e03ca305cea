/** What a training step costs the host: launches, submits, and nothing that has to be created. */
import { expect, test } from "vitest";
import { Trainer } from "../../bench/trainer.js";
import { benchWorkloads, trainingProblem, type Workload } from "../../bench/workloads.js";
import { quantile } from "../../src/core/statistics.js";
import type { Runtime } from "../../src/gpu/runtime.js";
import { Launcher } from "../../src/kernels/index.js";
import { nullRuntime } from "../support/null_gpu.js";
import { testRuntime } from "../support/runtime.js";

const STEPS = 3;

/** With as many bindings as Vulkan drivers of GPUs have. */
const largeGpu = () => nullRuntime({ isSoftware: false, maxStorageBuffers: 16 }, false);

function workloadNamed(name: string): Workload {
  return [true, false]
    .flatMap((quick) => benchWorkloads(quick, true))
    .find((one) => one.name === name) as Workload;
}

/** Dispatches that a layer adds to a steady step; checks that nothing is created. */
async function dispatchesALayer(runtime: Runtime, { config, ...workload }: Workload): Promise<number> {
  const launcher = new Launcher(runtime);
  const steps: number[] = [];
  for (const num_hidden_layers of [2, 4]) {
    const problem = { ...workload, config: { ...config, num_hidden_layers } };
    const trainer = new Trainer(launcher, problem, trainingProblem(problem), "f32");
    await trainer.run(2);
    const before = { ...runtime.counters, buffers: runtime.buffers.created };
    await trainer.run(STEPS);
    const after = { ...runtime.counters, buffers: runtime.buffers.created };
    expect(after.buffers).toBe(before.buffers);
    expect(after.bindGroupsCreated).toBe(before.bindGroupsCreated);
    expect(after.pipelines).toBe(before.pipelines);
    // uploads of tokens and targets go before the launches
    expect(after.submits - before.submits).toBe(STEPS);
    steps.push((after.dispatches - before.dispatches) / STEPS);
    trainer.release();
  }
  const [two, four] = steps as [number, number];
  return (four - two) / 2;
}

test("a steady step creates no buffer and no bind group, is one submit, and a layer takes at most 12 dispatches", async () => {
  expect(await dispatchesALayer(await testRuntime(), workloadNamed("nano"))).toBeLessThanOrEqual(12);
});

test.each(["tiny", "nano", "small"])(
  "so does a step of %s by kernels for GPUs, which split long sums",
  async (name) => {
    const runtime = await largeGpu();
    expect(await dispatchesALayer(runtime, workloadNamed(name))).toBeLessThanOrEqual(12);
    await runtime.dispose();
  },
);

test("sums that wait for a dispatch to join give the same training", async () => {
  const { config, ...nano } = workloadNamed("nano");
  const workload = { ...nano, config: { ...config, num_hidden_layers: 1 }, B: 32, T: 16 };
  const trained: number[][] = [];
  for (const facts of [{}, { isSoftware: false }]) {
    const launcher = new Launcher(await testRuntime(facts));
    const trainer = new Trainer(launcher, workload, trainingProblem(workload), "f32");
    // the second loss is that of updated weights
    trained.push(await trainer.losses(2));
    trainer.release();
  }
  const [own, joined] = trained as [number[], number[]];
  for (const [step, loss] of own.entries()) expect(joined[step]).toBeCloseTo(loss, 4);
});

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
  // of warm steps the quicker ones: others share their core with another test
  expect(quantile(times.slice(200), 0.1)).toBeLessThan(2);
  trainer.release();
  await runtime.dispose();
});
