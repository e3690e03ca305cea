/** What a training step costs the host: launches, submits, and nothing that has to be created. */
import { expect, test } from "vitest";
import { Trainer } from "../../bench/trainer.js";
import { trainingProblem, type Workload } from "../../bench/workloads.js";
import type { Runtime } from "../../src/gpu/runtime.js";
import { Launcher } from "../../src/kernels/index.js";
import { largeGpu } from "../support/null_gpu.js";
import { testRuntime } from "../support/runtime.js";
import { workloadNamed } from "../support/workloads.js";

const STEPS = 3;

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

test("a steady step creates no buffer and no bind group, is one submit, and a layer takes few dispatches", async () => {
  const runtime = await testRuntime();
  // on CPU adapters long kernels are not merged
  const most = runtime.facts.isSoftware ? 17 : 12;
  expect(await dispatchesALayer(runtime, workloadNamed("nano"))).toBeLessThanOrEqual(most);
});

test.each(["tiny", "nano", "small"])(
  "so does a step of %s by kernels for GPUs, which split long sums, with at most 12 dispatches a layer",
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
