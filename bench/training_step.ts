/** A whole training step, forward, backward and AdamW, of ours and of every peer from the same weights and tokens. */
import { FlatParameters } from "../src/autograd/flat_parameters.js";
import { Tape } from "../src/autograd/tape.js";
import type { Tensor } from "../src/autograd/tensor.js";
import { crossEntropy } from "../src/kernels/index.js";
import type { Launcher } from "../src/kernels/launch.js";
import { packSequences } from "../src/model/packing.js";
import { storedShapes } from "../src/model/parameters.js";
import { Qwen2Model } from "../src/model/qwen2.js";
import { AdamW } from "../src/optim/adamw.js";
import type { BenchRow } from "../src/report/bench_rows.js";
import { type Effort, gpuTimes, type Timing, type Work } from "./measure.js";
import { type AnyPeer, peerEntries } from "./peers.js";
import { type Contestant, race } from "./race.js";
import { referenceLogProbs } from "./reference_model.js";
import {
  type TrainingProblem,
  trainingFlops,
  trainingProblem,
  type Workload,
  workloadLabel,
} from "./workloads.js";

export interface TrainingBench {
  readonly launcher: Launcher;
  readonly adapter: string;
  readonly peers: readonly AnyPeer[];
  readonly effort: Effort;
}

/** Steps whose losses every implementation must agree on: the first tests forward, the others backward and AdamW. */
const COMPARED_STEPS = 3;
/** Nats per token by which first losses, and later ones, may differ between implementations. */
const ALLOWED = { first: 1e-3, later: 1e-2 } as const;
/** Nats by which a log-probability may differ from the float64 reference. */
const ALLOWED_LOG_PROB = 2e-3;

/** Rows of one workload: ours and every peer's. */
export async function benchTrainingStep(bench: TrainingBench, workload: Workload): Promise<BenchRow[]> {
  const { launcher, adapter, effort } = bench;
  const problem = trainingProblem(workload);
  const tokens = problem.B * problem.T;
  const head = {
    op: "training_step",
    direction: "step" as const,
    shape: workloadLabel(workload),
    dtype: "f32",
    adapter,
  };
  let ours: readonly number[] = [];
  const perSecond = ({ medianMs }: Timing) => ({ tokensPerSecond: (1000 * tokens) / medianMs });
  const own = async (): Promise<Contestant> => {
    const trainer = new Trainer(launcher, workload, problem);
    return {
      work: trainer,
      async check() {
        const error = await trainer.mismatch();
        if (error) return error;
        ours = await trainer.losses(COMPARED_STEPS);
        const isFalling = ours.every((loss, i) => i === 0 || loss < ours[i - 1]);
        return isFalling ? undefined : `wrong losses: got ${ours.join(", ")}, expected them to fall`;
      },
      figures: async (timing) => ({
        firstLosses: [...ours],
        ...perSecond(timing),
        ...(await trainer.figures()),
      }),
      release: () => trainer.release(),
    };
  };
  const rivals = peerEntries(bench.peers, async (peer) => {
    const work = await peer.trainingStep(problem);
    let losses: readonly number[] = [];
    return {
      work,
      check: async () => {
        losses = await work.losses(COMPARED_STEPS);
        return lossMismatch(losses, ours);
      },
      figures: async (timing) => ({ firstLosses: [...losses], ...perSecond(timing) }),
      release: () => work.release(),
    };
  });
  const entries = [{ implementation: "uncouple", open: own }, ...rivals];
  const rows = await race(head, entries, undefined, effort);
  const flops = trainingFlops(workload);
  return rows.map((row) => (row.medianMs ? { ...row, gflops: flops / row.medianMs / 1e6 } : row));
}

/** What is wrong with a peer's losses, as a sentence. */
export function lossMismatch(losses: readonly number[], ours: readonly number[]): string | undefined {
  if (ours.length === 0) return "no loss of ours to compare with";
  for (const [step, expected] of ours.entries()) {
    const allowed = step === 0 ? ALLOWED.first : ALLOWED.later;
    if (!(Math.abs(losses[step] - expected) <= allowed))
      return `another loss at step ${step + 1}: got ${losses[step]}, expected ${expected} within ${allowed}`;
  }
  return undefined;
}

/** Our own training step without readback between steps, as a training that logs now and then would run it. */
class Trainer implements Work {
  readonly #model: Qwen2Model;
  readonly #optimizer: AdamW;
  readonly #sequences: readonly (readonly number[])[];

  constructor(
    readonly launcher: Launcher,
    readonly workload: Workload,
    readonly problem: TrainingProblem,
  ) {
    const { config } = workload;
    const parameters = new FlatParameters(launcher.runtime, storedShapes(config));
    for (const { name, data } of problem.weights) parameters.load(name, data);
    this.#model = new Qwen2Model(launcher, config, parameters);
    const { learningRate: lr, beta1, beta2, epsilon: eps, weightDecay } = problem.optimizer;
    this.#optimizer = new AdamW({ parameters, launcher, lr, betas: [beta1, beta2], eps, weightDecay });
    const { B, T, tokens } = problem;
    this.#sequences = Array.from({ length: B }, (_, b) => Array.from(tokens.subarray(b * T, (b + 1) * T)));
  }

  async run(calls: number): Promise<void> {
    for (let call = 0; call < calls; call++) {
      this.#step().release();
      await this.launcher.runtime.flush();
    }
    await this.launcher.runtime.finish();
  }

  gpuTimes(calls: number): Promise<readonly number[] | undefined> {
    return gpuTimes(this.launcher.runtime, this, calls);
  }

  async losses(steps: number): Promise<number[]> {
    const losses: number[] = [];
    for (let i = 0; i < steps; i++) {
      const stats = this.#step();
      losses.push((await stats.read())[1]);
      stats.release();
    }
    return losses;
  }

  /** Holds the log-probabilities of the first sequence against the float64 reference. */
  async mismatch(): Promise<string | undefined> {
    const { T, targets } = this.problem;
    const expected = referenceLogProbs(this.launcher.facts, this.workload.config, this.problem);
    const tape = new Tape(this.launcher, { record: false });
    const hidden = this.#model.hidden(tape, this.#model.batch(tape, packSequences([this.#sequences[0]])));
    const places = Uint32Array.from({ length: T }, (_, t) => t);
    const { log_prob } = this.#model.score(tape, hidden, places, targets.slice(0, T));
    const actual = await log_prob.read();
    tape.release();
    for (let t = 0; t < T; t++) {
      if (!(Math.abs(actual[t] - expected[t]) <= ALLOWED_LOG_PROB))
        return `wrong log-probability at token ${t}: got ${actual[t]}, expected ${expected[t]}`;
    }
    return undefined;
  }

  /** Launches, host time and memory of a step in the steady state. */
  async figures(): Promise<Partial<BenchRow>> {
    const { runtime } = this.launcher;
    await this.run(1);
    runtime.buffers.resetPeak();
    const before = runtime.counters.dispatches;
    const times: number[] = [];
    for (let i = 0; i < 5; i++) {
      const start = performance.now();
      this.#step().release();
      await runtime.flush();
      times.push(performance.now() - start);
      await runtime.finish();
    }
    return {
      dispatches: (runtime.counters.dispatches - before) / times.length,
      encodeMs: times.sort((a, b) => a - b)[Math.floor(times.length / 2)],
      bytesLive: runtime.buffers.liveBytes,
      bytesPeak: runtime.buffers.peakBytes,
    };
  }

  release(): void {
    this.#optimizer.release();
    this.#model.release();
    this.#model.parameters.release();
  }

  /** Appends one step. @returns statistics with the loss at index 1, of which the caller is the owner */
  #step(): Tensor {
    const { B, T, targets } = this.problem;
    const model = this.#model;
    model.parameters.clearGradients();
    const tape = new Tape(this.launcher);
    const hidden = model.hidden(tape, model.batch(tape, packSequences(this.#sequences)));
    const places = Uint32Array.from({ length: B * T }, (_, n) => n);
    const { log_prob } = model.score(tape, hidden, places, targets);
    const weight = tape.input(new Float32Array(B * T).fill(1 / (B * T)));
    const { d_log_prob, stats } = tape.apply(crossEntropy, { log_prob, weight });
    const kept = stats.view(stats.shape, 0, false);
    tape.backward([[log_prob, d_log_prob]]);
    tape.release();
    this.#optimizer.step();
    return kept;
  }
}
