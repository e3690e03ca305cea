/** The whole benchmark in its order: peaks, every op, training steps, generation, first steps, scaling. */
import { DeviceError } from "../src/core/errors.js";
import type { Launcher } from "../src/kernels/index.js";
import { allOps, type OpDefinition } from "../src/kernels/index.js";
import { type BenchRow, PROGRAMS, withShares } from "../src/report/bench_rows.js";
import { attentionRivals } from "./attention.js";
import { benchCoupling, couplingLabel, couplingWorkloads } from "./coupling.js";
import { benchCouplingCurve, curvePoints } from "./coupling_curves.js";
import { benchFirstStep, type FirstStepBench } from "./first_step.js";
import { iterationCases, iterationLabel } from "./iteration.js";
import { benchIteration, profileIteration } from "./iteration_rows.js";
import { benchProduct, productLabel, productsFor } from "./matmul.js";
import type { Effort } from "./measure.js";
import { benchOp } from "./ops.js";
import { benchHalfPeaks, benchPeaks } from "./peaks.js";
import type { AnyPeer } from "./peers.js";
import { type Precision, programDtype } from "./precision.js";
import { benchRollout, profileRollout, rolloutCases, rolloutLabel } from "./rollout.js";
import { benchScalingPoint, scalingPoints } from "./scaling.js";
import { benchMemoryPoint, memoryPoints } from "./scaling_memory.js";
import { benchTrainingStep, profileTrainingStep } from "./training_step.js";
import { benchWorkloads, profiledWorkloads, type Workload, workloadLabel } from "./workloads.js";

export interface Suite {
  readonly launcher: Launcher;
  /** Name of the adapter in rows. */
  readonly adapter: string;
  readonly peers: readonly AnyPeer[];
  readonly quick: boolean;
  /** Of whole programs. */
  readonly precision: Precision;
  readonly effort: Effort;
  /** How processes open the adapter that train from their start. */
  readonly firstStep: Pick<FirstStepBench, "job" | "env">;
  /** Whether rows of this op, or of this shape, are wanted. */
  readonly wantsOp: (name: string) => boolean;
  readonly wantsShape: (shape: string) => boolean;
  /** Where the time of programs goes, in place of all else. */
  readonly profile?: boolean;
  /** Told before each measurement. */
  readonly onProgress: (what: string) => void;
  /** Given all rows so far after each measurement. */
  readonly onRows?: (rows: readonly BenchRow[]) => Promise<void>;
}

/** What can be profiled. */
export const PROFILED: readonly string[] = ["training_step", "rollout", "iteration"];

/** Everything that a filter can choose: ops by name, and the measurements of whole programs. */
export function benchNames(): string[] {
  return [...allOps().map(({ name }) => name), ...PROGRAMS];
}

/** All rows that are wanted, and the peaks. @throws DeviceError when the device is lost */
export async function runSuite(suite: Suite): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  for await (const more of measurements(suite)) {
    rows.push(...more);
    await suite.onRows?.(withShares(rows));
  }
  return withShares(rows);
}

async function* measurements(suite: Suite): AsyncGenerator<readonly BenchRow[]> {
  const { wantsOp, onProgress } = suite;
  onProgress("peaks of the adapter");
  yield await benchPeaks(suite);
  if (suite.profile) {
    yield* profiles(suite);
    return;
  }
  for (const op of allOps().filter(({ name }) => wantsOp(name))) {
    if (op.name === "matmul") yield* products(suite);
    else yield await opRows(suite, op);
  }
  if (wantsOp("training_step")) yield* trainingSteps(suite);
  if (wantsOp("coupling")) yield* couplings(suite);
  if (wantsOp("gram_curves")) yield* gramCurves(suite);
  if (wantsOp("rollout")) yield* rollouts(suite);
  if (wantsOp("iteration")) yield* iterations(suite);
  if (wantsOp("first_step")) yield* firstSteps(suite);
  if (wantsOp("scaling")) yield* scaling(suite);
  yield await halfPeaks(suite);
}

async function* products(suite: Suite): AsyncGenerator<readonly BenchRow[]> {
  const scale = { facts: suite.launcher.facts, quick: suite.quick };
  for (const product of productsFor(scale)) {
    const label = productLabel(product);
    if (!suite.wantsShape(label)) continue;
    suite.onProgress(`matmul ${label}`);
    yield await benchProduct(suite, product);
  }
}

function opRows(suite: Suite, op: OpDefinition): Promise<BenchRow[]> {
  const { launcher, quick, peers, wantsShape, onProgress } = suite;
  onProgress(op.name);
  const rivals = op.name === "attention" ? attentionRivals(peers) : undefined;
  return benchOp({ ...suite, scale: { facts: launcher.facts, quick }, wants: wantsShape }, op, rivals);
}

function workloads({ quick, launcher }: Suite): Workload[] {
  return benchWorkloads(quick, launcher.facts.isSoftware);
}

async function* trainingSteps(suite: Suite): AsyncGenerator<readonly BenchRow[]> {
  for (const workload of workloads(suite)) {
    if (!suite.wantsShape(workloadLabel(workload))) continue;
    suite.onProgress(`training step ${workloadLabel(workload)}`);
    yield await benchTrainingStep(suite, workload);
  }
}

async function* profiles(suite: Suite): AsyncGenerator<readonly BenchRow[]> {
  const { wantsOp, wantsShape, onProgress, quick, launcher } = suite;
  const { isSoftware } = launcher.facts;
  for (const workload of wantsOp("training_step") ? profiledWorkloads(quick, isSoftware) : []) {
    const label = workloadLabel(workload);
    if (!wantsShape(label)) continue;
    onProgress(`profile of a training step, ${label}`);
    yield [await profileTrainingStep(suite, workload)];
  }
  for (const workload of wantsOp("rollout") ? workloads(suite) : []) {
    for (const one of rolloutCases(quick, isSoftware)) {
      const label = rolloutLabel(workload, one);
      if (!wantsShape(label)) continue;
      onProgress(`profile of a decode step, ${label}`);
      yield [await profileRollout(suite, workload, one)];
    }
  }
  if (wantsOp("iteration")) yield* iterations(suite);
}

async function* couplings(suite: Suite): AsyncGenerator<readonly BenchRow[]> {
  for (const workload of couplingWorkloads(suite.quick)) {
    const label = couplingLabel(workload);
    if (!suite.wantsShape(label)) continue;
    suite.onProgress(`coupling ${label}`);
    yield await benchCoupling(suite, workload);
  }
}

async function* gramCurves(suite: Suite): AsyncGenerator<readonly BenchRow[]> {
  for (const workload of curvePoints(suite.quick)) {
    const label = couplingLabel(workload);
    if (!suite.wantsShape(label)) continue;
    suite.onProgress(`gram curves ${label}`);
    yield await benchCouplingCurve(suite, workload);
  }
}

async function* rollouts(suite: Suite): AsyncGenerator<readonly BenchRow[]> {
  for (const workload of workloads(suite)) {
    for (const one of rolloutCases(suite.quick, suite.launcher.facts.isSoftware)) {
      const label = rolloutLabel(workload, one);
      if (!suite.wantsShape(label)) continue;
      suite.onProgress(`rollout ${label}`);
      yield [await benchRollout(suite, workload, one)];
    }
  }
}

async function* iterations(suite: Suite): AsyncGenerator<readonly BenchRow[]> {
  const { quick, profile, wantsShape, onProgress } = suite;
  for (const one of iterationCases(quick)) {
    const label = iterationLabel(one);
    if (!wantsShape(label)) continue;
    onProgress(`${profile ? "profile of an iteration" : "iteration"} of RL, ${label}`);
    yield await (profile ? profileIteration(suite, one, quick ? 1 : 5) : benchIteration(suite, one));
  }
}

/** First steps of small models only. With a published model most of the time goes into drawing and uploading weights, so its first step
 *  would not show how long kernels take to compile. */
async function* firstSteps(suite: Suite): AsyncGenerator<readonly BenchRow[]> {
  const { launcher, adapter, quick, precision, firstStep } = suite;
  const dtype = programDtype(launcher.facts, precision);
  for (const workload of workloads(suite).filter(({ name }) => !name.startsWith("qwen"))) {
    const label = workloadLabel(workload);
    if (!suite.wantsShape(label)) continue;
    suite.onProgress(`first step ${label}`);
    yield [await benchFirstStep({ adapter, dtype, quick, ...firstStep }, workload)];
  }
}

/** Ascending sizes: one that does not fit into memory loses no smaller one. */
async function* scaling(suite: Suite): AsyncGenerator<readonly BenchRow[]> {
  const { launcher, adapter, quick, wantsShape, onProgress } = suite;
  const { isSoftware } = launcher.facts;
  for (const point of memoryPoints(quick, isSoftware).filter(({ label }) => wantsShape(label))) {
    onProgress(`scaling ${point.label}`);
    yield [await benchMemoryPoint(launcher, adapter, point)];
  }
  for (const point of scalingPoints(quick, isSoftware).filter(({ label }) => wantsShape(label))) {
    onProgress(`scaling ${point.label}`);
    yield await benchScalingPoint(suite, point);
  }
}

/** Last, because a driver that claims too much may take the device with it: a row that says so loses nothing else. */
async function halfPeaks(suite: Suite): Promise<BenchRow[]> {
  suite.onProgress("peaks of half precision");
  try {
    return await benchHalfPeaks(suite);
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    const row = {
      op: "peak",
      direction: "forward" as const,
      shape: "fma",
      dtype: "f16",
      adapter: suite.adapter,
    };
    return [{ ...row, implementation: "uncouple", error: error.message }];
  }
}
