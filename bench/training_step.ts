/** A whole training step, forward, backward and AdamW, of ours and of every peer from the same weights and tokens. */
import type { BenchRow } from "../src/report/bench_rows.js";
import type { Timing } from "./measure.js";
import { type PeerBench, peerEntries } from "./peers.js";
import { type Precision, programDtype } from "./precision.js";
import { benchProfile } from "./profile.js";
import { type Contestant, race } from "./race.js";
import { Trainer } from "./trainer.js";
import { trainingFlops, trainingProblem, type Workload, workloadLabel } from "./workloads.js";

/** Steps whose losses every implementation must agree on: the first tests forward, the others backward and AdamW. */
const COMPARED_STEPS = 3;
/** Milliseconds for which host time is sampled. */
const HOST_MS = 2000;
/** Nats per token by which first losses, and later ones, may differ between implementations. */
const ALLOWED = { f32: { first: 1e-3, later: 1e-2 }, mixed: { first: 1e-2, later: 5e-2 } } as const;
/** Rows of one workload: ours and every peer's. */
export async function benchTrainingStep(bench: PeerBench, workload: Workload): Promise<BenchRow[]> {
  const { launcher, adapter, precision, effort } = bench;
  const problem = trainingProblem(workload);
  const tokens = problem.B * problem.T;
  const head = {
    op: "training_step",
    direction: "step" as const,
    shape: workloadLabel(workload),
    dtype: programDtype(launcher.facts, precision),
    adapter,
  };
  let ours: readonly number[] = [];
  const perSecond = ({ medianMs }: Timing) => ({ tokensPerSecond: (1000 * tokens) / medianMs });
  const own = async (): Promise<Contestant> => {
    const trainer = new Trainer(launcher, workload, problem, precision);
    return {
      work: trainer,
      async check() {
        const { error, losses } = await trainer.check(COMPARED_STEPS);
        ours = losses;
        return error;
      },
      figures: async (timing) => ({
        firstLosses: [...ours],
        ...perSecond(timing),
        ...(await trainer.figures(HOST_MS)),
      }),
      release: () => trainer.release(),
    };
  };
  const rivals = peerEntries(bench.peers, async (peer) => {
    const isHalf = precision === "mixed" && peer.half === true;
    const work = await peer.trainingStep({ ...problem, precision: isHalf ? "mixed" : "f32" });
    let losses: readonly number[] = [];
    return {
      work,
      check: async () => {
        losses = await work.losses(COMPARED_STEPS);
        return lossMismatch(losses, ours, precision);
      },
      figures: async (timing) => ({
        dtype: isHalf ? precision : "f32",
        firstLosses: [...losses],
        ...perSecond(timing),
      }),
      release: () => work.release(),
    };
  });
  const entries = [{ implementation: "uncouple", open: own }, ...rivals];
  const rows = await race(head, entries, undefined, effort);
  const flops = trainingFlops(workload);
  return rows.map((row) => (row.medianMs ? { ...row, gflops: flops / row.medianMs / 1e6 } : row));
}

/** Steps of a profiled run, and runs. */
const PROFILED = { full: { calls: 3, rounds: 5 }, quick: { calls: 1, rounds: 3 } } as const;

/** A row of op `profile`: a steady step by its kernels. */
export async function profileTrainingStep(
  {
    launcher,
    adapter,
    precision,
    quick,
  }: Pick<PeerBench, "launcher" | "adapter" | "precision"> & { readonly quick: boolean },
  workload: Workload,
): Promise<BenchRow> {
  const { calls, rounds } = quick ? PROFILED.quick : PROFILED.full;
  const trainer = new Trainer(launcher, workload, trainingProblem(workload), precision);
  const head = {
    direction: "step" as const,
    shape: workloadLabel(workload),
    dtype: programDtype(launcher.facts, precision),
    adapter,
  };
  const work = {
    calls,
    // every token sees those of its own sequence only
    attended: () => 1 / workload.B,
    run: async (begin: () => Promise<void>) => {
      await begin();
      await trainer.run(calls);
    },
  };
  try {
    return await benchProfile(head, launcher.runtime, work, rounds);
  } finally {
    trainer.release();
  }
}

/** What is wrong with a peer's losses, as a sentence. */
export function lossMismatch(
  losses: readonly number[],
  ours: readonly number[],
  precision: Precision = "f32",
): string | undefined {
  if (ours.length === 0) return "no loss of ours to compare with";
  for (const [step, expected] of ours.entries()) {
    const allowed = step === 0 ? ALLOWED[precision].first : ALLOWED[precision].later;
    if (!(Math.abs(losses[step] - expected) <= allowed))
      return `another loss at step ${step + 1}: got ${losses[step]}, expected ${expected} within ${allowed}`;
  }
  return undefined;
}
