/** Our own training step: forward, backward and AdamW of the decoder, checked against the float64 reference. */
import { Tape } from "../src/autograd/tape.js";
import type { Tensor } from "../src/autograd/tensor.js";
import type { Launcher } from "../src/kernels/engine/launch.js";
import { crossEntropy } from "../src/kernels/index.js";
import { packSequences } from "../src/model/packing.js";
import { parameterCount } from "../src/model/parameters.js";
import type { Qwen2Model } from "../src/model/qwen2.js";
import { AdamW } from "../src/optim/adamw.js";
import type { BenchRow } from "../src/report/bench_rows.js";
import { gpuTimes, type Work } from "./measure.js";
import { openModel, targetLogProbs } from "./model.js";
import { allowedLogProb, type Precision } from "./precision.js";
import { referenceLogProbs } from "./reference_model.js";
import type { TrainingProblem, Workload } from "./workloads.js";

/** FLOP that the reference, a loop in JavaScript, may take: a second or two. Fewer tokens are checked where it takes more. */
const REFERENCE_FLOPS = 1e9;
const FEWEST_CHECKED = 4;
const FEWEST_HOST_SAMPLES = 5;

/** What a check found: the losses of the first steps, and what is wrong as a sentence. */
export interface TrainingCheck {
  readonly error?: string;
  readonly losses: readonly number[];
}

/** Takes steps without readback between them, as a training that logs now and then would. */
export class Trainer implements Work {
  readonly #model: Qwen2Model;
  readonly #optimizer: AdamW;
  readonly #sequences: readonly (readonly number[])[];

  constructor(
    readonly launcher: Launcher,
    readonly workload: Workload,
    readonly problem: TrainingProblem,
    readonly precision: Precision,
  ) {
    this.#model = openModel(launcher, workload, problem, precision, true);
    const { parameters } = this.#model;
    const { learningRate: lr, beta1, beta2, epsilon: eps, weightDecay } = problem.optimizer;
    const options = {
      lr,
      betas: [beta1, beta2],
      eps,
      weightDecay,
      lossScale: precision === "mixed" ? {} : undefined,
    } as const;
    this.#optimizer = new AdamW({ parameters, launcher, ...options });
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

  /** Holds the fresh model against the reference, then takes steps, whose losses must fall. */
  async check(steps: number): Promise<TrainingCheck> {
    const error = await this.#mismatch();
    if (error) return { error, losses: [] };
    const losses = await this.losses(steps);
    const isFalling = losses.every((loss, i) => i === 0 || loss < losses[i - 1]);
    if (isFalling) return { losses };
    return { losses, error: `wrong losses: got ${losses.join(", ")}, expected them to fall` };
  }

  /** Compares log-probabilities of the first sequence, from its first token on. */
  async #mismatch(): Promise<string | undefined> {
    const { facts } = this.launcher;
    const { config } = this.workload;
    const { tokens, weights } = this.problem;
    const affordable = Math.floor(REFERENCE_FLOPS / (2 * parameterCount(config)));
    const T = Math.min(this.problem.T, Math.max(FEWEST_CHECKED, affordable));
    // tokens look back only, so the beginning of a sequence stands alone
    const targets = this.problem.targets.slice(0, T);
    const named = new Map(weights.map((weight) => [weight.name, weight]));
    const weightOf = async (name: string) => named.get(name) as (typeof weights)[number];
    const expected = await referenceLogProbs(facts, config, tokens, targets, weightOf);
    const actual = await targetLogProbs(this.#model, this.#sequences[0], 0, targets);
    for (let t = 0; t < T; t++) {
      if (!(Math.abs(actual[t] - expected[t]) <= allowedLogProb(facts, this.precision)))
        return `wrong log-probability at token ${t}: got ${actual[t]}, expected ${expected[t]}`;
    }
    return undefined;
  }

  /**
   * Launches, host time and memory of a step in the steady state.
   * @param hostMs for how long host time is sampled; its code grows faster over the first hundred steps
   */
  async figures(hostMs = 0): Promise<Partial<BenchRow>> {
    const { runtime } = this.launcher;
    await this.run(1);
    runtime.buffers.resetPeak();
    const before = runtime.counters.dispatches;
    const times: number[] = [];
    const until = performance.now() + hostMs;
    while (times.length < FEWEST_HOST_SAMPLES || performance.now() < until) {
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
    const tape = new Tape(this.launcher, { activations: model.activations });
    const hidden = model.hidden(tape, model.batch(tape, packSequences(this.#sequences)));
    const places = Uint32Array.from({ length: B * T }, (_, n) => n);
    const { log_prob } = model.score(tape, hidden, places, targets);
    const weight = tape.input(new Float32Array(B * T).fill(1 / (B * T)));
    const { lossScale } = this.#optimizer;
    const { d_log_prob, stats } = tape.apply(crossEntropy, { log_prob, weight, loss_scale: lossScale });
    const kept = stats.view(stats.shape, 0, false);
    tape.backward([[log_prob, d_log_prob]]);
    tape.release();
    this.#optimizer.step();
    return kept;
  }
}
