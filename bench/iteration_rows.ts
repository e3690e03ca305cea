/** Rows of a whole iteration of RL: its time beside that of peers, or where its time goes. */
import type { KernelTime } from "../src/gpu/profiler.js";
import type { BenchRow, ProfilePart } from "../src/report/bench_rows.js";
import { microBatches } from "../src/rl/update/micro_batches.js";
import { type IterationCase, IterationWork, iterationLabel } from "./iteration.js";
import { type IterationPart, PLAY_PARTS, UPDATE_PARTS } from "./iteration_clock.js";
import { iterationMismatch, iterationProblem } from "./iteration_peers.js";
import type { Timing } from "./measure.js";
import { type PeerBench, peerEntries } from "./peers.js";
import { allowedLogProb, programDtype } from "./precision.js";
import { BETWEEN, causeOf, profileParts, withoutTimestamps } from "./profile.js";
import { type Contestant, type Entry, race } from "./race.js";

/** An iteration takes seconds, and its time varies with the load as any other: it has more time for its rounds. */
const BUDGET = 5;

/** Rows of one case: ours and every peer's, which computes what ours has played. */
export async function benchIteration(bench: PeerBench, one: IterationCase): Promise<BenchRow[]> {
  const { launcher, adapter, peers, effort, precision } = bench;
  const head = {
    op: "iteration",
    direction: "step" as const,
    shape: iterationLabel(one),
    dtype: programDtype(launcher.facts, precision),
    adapter,
  };
  let work: IterationWork | undefined;
  const own = async (): Promise<Contestant> => {
    work = await IterationWork.open(launcher, one, precision);
    const opened = work;
    return {
      work: opened,
      check: async () => sampledMismatch(await opened.iterate(), allowedLogProb(launcher.facts, precision)),
      figures: async ({ medianMs }: Timing) => ({
        phases: opened.phases,
        tokensPerSecond: (1000 * opened.sampledTokens) / medianMs,
      }),
      release: () => opened.release(),
    };
  };
  const rivals = peerEntries(peers, async (peer) => {
    if (!work) throw new Error("no iteration of ours to compute");
    if (!peer.iteration) throw new Error("has no loop of RL");
    const problem = await iterationProblem(work);
    const loop = await peer.iteration(problem);
    return {
      work: loop,
      check: async () => iterationMismatch(await loop.check(), problem),
      figures: async ({ medianMs }: Timing) => ({
        dtype: "f32",
        phases: await loop.phases(),
        tokensPerSecond: (1000 * problem.sampledTokens) / medianMs,
      }),
      release: () => loop.release(),
    };
  });
  const entries: Entry[] = [{ implementation: "uncouple", open: own }, ...rivals];
  return race(head, entries, undefined, { ...effort, budgetMs: BUDGET * effort.budgetMs });
}

/** Log-probabilities while sampling against those of the update, as training tells them; `allowed` in nats. */
function sampledMismatch(metrics: Readonly<Record<string, number>>, allowed: number): string | undefined {
  const most = metrics["sampling/logp_diff_max"];
  if (metrics["rows/computed"] > 0 && most <= allowed) return undefined;
  return `wrong log-probabilities: got ${metrics["rows/computed"]} rows computed that differ by up to ${most} from sampling, expected some within ${allowed}`;
}

/**
 * Two rows of op `profile`: the iteration by its parts, what they launch by cause, and its update by kernel.
 * @param rounds iterations with timestamps; the one of median length is shown
 */
export async function profileIteration(
  { launcher, adapter, precision }: Pick<PeerBench, "launcher" | "adapter" | "precision">,
  one: IterationCase,
  rounds: number,
): Promise<BenchRow[]> {
  const { runtime } = launcher;
  const shape = iterationLabel(one);
  const head = { direction: "step" as const, dtype: programDtype(launcher.facts, precision), adapter };
  const missing = withoutTimestamps({ ...head, shape }, runtime);
  if (missing) return [missing];
  const work = await IterationWork.open(launcher, one, precision);
  try {
    const runs: ProfiledIteration[] = [];
    const alone: ProfiledIteration[] = [];
    await profiledIteration(work, false);
    for (let round = 0; round < rounds; round++) {
      alone.push(await profiledIteration(work, false));
      runs.push(await profiledIteration(work, true));
    }
    const run = medianOf(runs);
    const unprofiled = medianOf(alone);
    const update = run.kernels("update");
    const updateMs = run.times.get("update") ?? 0;
    const shared = { ...head, op: "profile", implementation: "uncouple", repeats: rounds, calls: 1 };
    const gpuMs = (kernels: readonly KernelTime[]) =>
      kernels.reduce((sum, one) => sum + one.nanoseconds / 1e6, 0);
    return [
      {
        ...shared,
        shape,
        medianMs: run.wallMs,
        gpuMs: gpuMs(run.dispatches),
        unprofiledMs: unprofiled.wallMs,
        dispatches: run.dispatches.length,
        parts: iterationParts(run),
      },
      {
        ...shared,
        shape: `${shape} update`,
        medianMs: updateMs,
        gpuMs: gpuMs(update),
        unprofiledMs: unprofiled.times.get("update"),
        dispatches: update.length,
        parts: profileParts(
          { wallMs: updateMs, dispatches: update },
          { calls: 1, attended: attendedOf(work) },
        ),
      },
    ];
  } finally {
    await work.release();
  }
}

/** What is known of one iteration. */
export interface ProfiledIteration {
  readonly wallMs: number;
  /** Of play, by the metrics of training. */
  readonly rolloutMs: number;
  readonly updateMs: number;
  readonly times: ReadonlyMap<IterationPart, number>;
  readonly dispatches: readonly KernelTime[];
  /** Dispatches of one part. */
  kernels(part: IterationPart): readonly KernelTime[];
}

async function profiledIteration(work: IterationWork, isTimed: boolean): Promise<ProfiledIteration> {
  const { runtime } = work.launcher;
  await runtime.finish();
  const before = runtime.counters.dispatches;
  if (isTimed) runtime.profiler.start();
  const started = performance.now();
  const metrics = await work.iterate();
  const wallMs = performance.now() - started;
  const dispatches = isTimed ? await runtime.profiler.stop() : [];
  const stretches = [...work.clock.stretches];
  return {
    wallMs,
    rolloutMs: metrics["perf/step_ms/rollout"],
    updateMs: metrics["perf/step_ms/update"],
    times: new Map(work.clock.times),
    dispatches,
    kernels: (part) =>
      stretches.flatMap((one) =>
        one.part === part ? dispatches.slice(one.first - before, one.end - before) : [],
      ),
  };
}

function medianOf(runs: readonly ProfiledIteration[]): ProfiledIteration {
  return [...runs].sort((a, b) => a.wallMs - b.wallMs)[Math.floor((runs.length - 1) / 2)];
}

/** Parts that add up to the wall clock: those of the clock, what is left of play and of the update, and what is left of all. */
export function iterationParts(run: ProfiledIteration): ProfilePart[] {
  const { wallMs, rolloutMs, updateMs, times } = run;
  const line = (cause: string, kernel: string, ms: number, launches = 0): ProfilePart => {
    return { cause, kernel, sizes: "", launches, ms, share: ms / wallMs };
  };
  const sumOf = (parts: readonly IterationPart[]) =>
    parts.reduce((sum, part) => sum + (times.get(part) ?? 0), 0);
  const partLines = (part: IterationPart): ProfilePart[] => {
    const ms = times.get(part) ?? 0;
    const kernels = run.kernels(part);
    if (kernels.length === 0) return ms > 0 ? [line(part, "", ms)] : [];
    const byCause = new Map<string, { ms: number; launches: number }>();
    let rest = ms;
    for (const kernel of kernels) {
      const cause = causeOf(kernel.kernels);
      const own = kernel.nanoseconds / 1e6;
      const sum = byCause.get(cause) ?? { ms: 0, launches: 0 };
      byCause.set(cause, { ms: sum.ms + own, launches: sum.launches + 1 });
      rest -= own;
    }
    const lines = [...byCause].sort(([, a], [, b]) => b.ms - a.ms);
    return [
      ...lines.map(([cause, sum]) => line(part, cause, sum.ms, sum.launches)),
      line(part, BETWEEN, rest),
    ];
  };
  return [
    ...PLAY_PARTS.flatMap(partLines),
    line("rest of play", "", rolloutMs - sumOf(PLAY_PARTS)),
    ...UPDATE_PARTS.flatMap(partLines),
    line("rest of the update", "", updateMs - sumOf(UPDATE_PARTS)),
    line("not explained", "", wallMs - rolloutMs - updateMs),
  ];
}

/** Of N by N scores of a micro-batch of N tokens, those within its sequences. */
function attendedOf({ record, config }: IterationWork) {
  const shares = new Map<number, number>();
  for (const { rows } of record.updates) {
    for (const { packed } of microBatches(rows, config.grpo.tokens_per_micro_batch)) {
      const N = packed.tokens.length;
      const lengths = Array.from(packed.offsets.slice(1), (end, index) => end - packed.offsets[index]);
      shares.set(N, lengths.reduce((sum, length) => sum + length ** 2, 0) / N ** 2);
    }
  }
  return ({ sizes: { N } }: { readonly sizes: Readonly<Record<string, number>> }) => shares.get(N) ?? 1;
}
