/** The process whose first training step is timed, from its own start on. Started by first_step.ts. */
import { silentLogger } from "../src/core/logger.js";
import { Runtime } from "../src/gpu/runtime.js";
import { openGpu } from "../src/host/gpu/drivers.js";
import { Launcher } from "../src/kernels/index.js";
import type { FirstStepAnswer, FirstStepJob } from "./first_step.js";
import { Trainer } from "./trainer.js";
import { trainingProblem } from "./workloads.js";

/** Milliseconds for drivers to finish writing their caches. */
const CACHE_WRITES = 500;

const loaded = performance.now();

process.once("message", (job: FirstStepJob) => void answer(job));

async function answer(job: FirstStepJob): Promise<void> {
  const result = await takeStep(job).catch((error: unknown) => ({
    error: error instanceof Error ? error.message : String(error),
  }));
  // Dawn's threads keep a process alive
  process.send?.(result, () => setTimeout(() => process.exit(0), CACHE_WRITES));
}

async function takeStep({
  workload,
  matmulPrecision,
  precision,
  tuning,
  ...options
}: FirstStepJob): Promise<FirstStepAnswer> {
  const begun = performance.now();
  const opened = await openGpu({ ...options, env: process.env, logger: silentLogger });
  const runtime = await Runtime.create(opened, { matmulPrecision, tuning });
  const ready = performance.now();
  const trainer = new Trainer(new Launcher(runtime), workload, trainingProblem(workload), precision);
  const built = performance.now();
  const [loss] = await trainer.losses(1);
  const end = performance.now();
  const { pipelines } = runtime.counters;
  await runtime.dispose();
  // waiting for the job is no work of this process
  const phases = { start: loaded, open: ready - begun, build: built - ready, step: end - built };
  return { phases, pipelines, loss };
}
