/** Per-sample gradients beside the plain forward and backward pass of the same batch: Gram, directions, and S separate passes. */
import { directions } from "../src/coupling/directions.js";
import { perSampleGram } from "../src/coupling/gram.js";
import type { GramPath } from "../src/coupling/paths.js";
import type { CouplingSample } from "../src/coupling/samples.js";
import { addBatchGradient } from "../src/coupling/separate.js";
import { relativeError, verifyGram } from "../src/coupling/verify.js";
import { presetConfig } from "../src/model/config.js";
import type { Qwen2Model } from "../src/model/qwen2.js";
import type { BenchRow } from "../src/report/bench_rows.js";
import { measureRounds, type Rounds, ratioOf, type Timing, type Work } from "./measure.js";
import { openModel } from "./model.js";
import type { AnyPeer, CouplingProblem, Peer, PeerBench, PeerWork } from "./peers.js";
import { programDtype } from "./precision.js";
import { trainingProblem, type Workload } from "./workloads.js";

/** Something that is held against the plain pass, and the fields of its row. */
interface CouplingWork {
  readonly row: Pick<BenchRow, "direction"> & Partial<BenchRow>;
  run(): Promise<void>;
}

export const ALLOWED = { f32: 1e-4, mixed: 3e-2 } as const;

/** Nano with 32 samples (B of the workload) of 128 tokens that are read, all but the first scored; a quick run has 8 of 16. */
export function couplingWorkloads(quick: boolean): Workload[] {
  if (quick) return [{ name: "tiny", config: presetConfig("nano", 64), B: 8, T: 16 }];
  return [{ name: "nano", config: presetConfig("nano", 512), B: 32, T: 128 }];
}

/** `nano S32 T128`, as rows name it. */
export const couplingLabel = ({ name, B, T }: Workload): string => `${name} S${B} T${T}`;

/** The sequences of a training problem: each answers all but its first token. */
export function samplesOf({ B, T, tokens, targets }: Sequences): CouplingSample[] {
  return Array.from({ length: B }, (_, b) => ({
    tokens: [...tokens.subarray(b * T, (b + 1) * T), targets[(b + 1) * T - 1] as number],
    responseStart: 1,
  }));
}

type Sequences = Pick<CouplingProblem, "B" | "T" | "tokens" | "targets">;

/** The plain pass, with the gradient of the batch. */
export function plainWork(model: Qwen2Model, samples: readonly CouplingSample[]): () => Promise<void> {
  const { parameters, launcher } = model;
  return async () => {
    parameters.clearGradients();
    addBatchGradient(model, samples);
    await launcher.runtime.finish();
  };
}

/** What is timed beside the plain pass. */
function worksOf(model: Qwen2Model, samples: readonly CouplingSample[]): CouplingWork[] {
  const { parameters } = model;
  const coefficients = samples.map(() => 1);
  const gradient = (stored: string) => parameters.get(stored).grad;
  return [
    {
      row: { direction: "gram" },
      run: async () => {
        parameters.clearGradients();
        await perSampleGram(model, samples, { coefficients });
      },
    },
    {
      row: { direction: "directions" },
      run: async () => {
        parameters.clearGradients();
        await directions(model, samples, [gradient], { coefficients });
      },
    },
    { row: { direction: "separate" }, run: separateWork(model, samples) },
  ];
}

/** A forward and backward pass for each sample, whose gradient stays where it is. */
export function separateWork(model: Qwen2Model, samples: readonly CouplingSample[]): () => Promise<void> {
  const { parameters, launcher } = model;
  return async () => {
    for (const sample of samples) {
      parameters.clearGradients();
      addBatchGradient(model, [sample]);
      await launcher.runtime.flush();
    }
    await launcher.runtime.finish();
  };
}

/** Most bytes of GPU buffers in use during one call, all that was there before included. */
async function peakOf(model: Qwen2Model, run: () => Promise<void>): Promise<number> {
  const { buffers } = model.launcher.runtime;
  buffers.resetPeak();
  await run();
  return buffers.peakBytes;
}

/**
 * Rows of one workload: `ratio` and `peakRatio` are time and memory over those of the plain pass, interleaved with it. Peers'
 * ratios are over their own plain pass, in the same rounds; their memory is not known.
 */
export async function benchCoupling(bench: PeerBench, workload: Workload): Promise<BenchRow[]> {
  const { launcher, adapter, precision, effort } = bench;
  const problem = trainingProblem(workload);
  const model = openModel(launcher, workload, problem, precision, true);
  const samples = samplesOf(problem);
  const common = { op: "coupling", shape: couplingLabel(workload), adapter };
  const head = { ...common, implementation: "uncouple", dtype: programDtype(launcher.facts, precision) };
  let rivals: Rivals | undefined;
  try {
    const { gram, error } = await checkedGram(model, samples, ALLOWED[precision]);
    if (error) return [{ ...head, direction: "gram", error }];
    rivals = await openRivals(bench.peers, problem, gram);
    const works = worksOf(model, samples);
    const plain = plainWork(model, samples);
    const own = [plain, ...works.map(({ run }) => run)];
    const ownWorks = own.map((run) => ({ run: repeated(run) }));
    const timings = await measureRounds([...ownWorks, ...rivals.works], effort);
    const timed = ratiosOf(timings.slice(0, own.length));
    const peaks: number[] = [];
    for (const run of own) peaks.push(await peakOf(model, run));
    const ours = works.map(({ row }, at) => ({
      ...head,
      ...row,
      ...timed[at],
      bytesPeak: peaks[at + 1],
      peakRatio: (peaks[at + 1] as number) / (peaks[0] as number),
    }));
    return [...ours, ...rivals.rows(timings.slice(own.length), common)];
  } finally {
    await rivals?.release();
    model.release();
    model.parameters.release();
  }
}

/** Timings of all but the first, and what share of the first they are. */
export function ratiosOf([plain, ...others]: readonly Rounds[]): (Timing & { readonly ratio: number })[] {
  return others.map((one) => ({ ...one.timing, ratio: ratioOf(one, plain as Rounds) }));
}

export const repeated =
  (run: () => Promise<void>): Work["run"] =>
  async (calls) => {
    for (let call = 0; call < calls; call++) await run();
  };

/** The Gram, held against a backward pass each of the first and the last sample. */
export async function checkedGram(
  model: Qwen2Model,
  samples: readonly CouplingSample[],
  allowed: number,
  path?: GramPath | "auto",
): Promise<{ readonly gram: Float64Array; readonly error: string | undefined }> {
  const result = await perSampleGram(model, samples, { path });
  const differences = await verifyGram(model, samples, result, [0, samples.length - 1]);
  const wrong = differences.find(({ error }) => !(error <= allowed));
  const error =
    wrong &&
    `wrong Gram of ${wrong.name}: got a relative error of ${wrong.error}, expected at most ${allowed}`;
  return { gram: result.gram, error };
}

/** The peers that take part, and rows of the others that say why they do not. */
export interface Rivals {
  readonly works: readonly Work[];
  /** @param timings of the works */
  readonly rows: (
    timings: readonly Rounds[],
    common: Pick<BenchRow, "op" | "shape" | "adapter">,
  ) => BenchRow[];
  readonly release: () => Promise<void>;
}

/** @param expected the Gram that theirs is held against */
export async function openRivals(
  peers: readonly AnyPeer[],
  problem: Omit<CouplingProblem, "mode">,
  expected: Float64Array,
): Promise<Rivals> {
  const rivals: Rival[] = [];
  const missing: { readonly name: string; readonly error: string }[] = [];
  for (const peer of peers) {
    const rival = await openRival(peer, problem, expected);
    if (rival && "error" in rival) missing.push({ name: peer.name, error: rival.error });
    else if (rival) rivals.push(rival);
  }
  return {
    works: rivals.flatMap(({ plain, others }) => [plain, ...others.map(({ work }) => work)]),
    rows: (timings, common) => {
      const left = [...timings];
      const rows = rivals.flatMap(({ peer, others }) => {
        const named = { ...common, implementation: peer.name, version: peer.version, dtype: "f32" };
        const ratios = ratiosOf(left.splice(0, others.length + 1));
        return others.map(({ direction }, at) => ({ ...named, direction, ...ratios[at] }));
      });
      const none = { ...common, direction: "gram", dtype: "f32" } as const;
      return [...missing.map(({ name, error }) => ({ ...none, implementation: name, error })), ...rows];
    },
    release: async () => {
      for (const { release } of rivals) await release();
    },
  };
}

/** A peer that can do it: its plain pass, and what it is held against that with. */
interface Rival {
  readonly peer: Peer;
  readonly plain: Work;
  readonly others: readonly { readonly direction: "gram" | "separate"; readonly work: Work }[];
  readonly release: () => Promise<void>;
}

/** @returns undefined for a peer without per-sample gradients */
async function openRival(
  peer: AnyPeer,
  problem: Omit<CouplingProblem, "mode">,
  expected: Float64Array,
): Promise<Rival | { readonly error: string } | undefined> {
  if ("error" in peer) return peer;
  if (!peer.coupling) return undefined;
  const open: PeerWork[] = [];
  const release = async () => {
    for (const work of open) await work.release();
  };
  try {
    for (const mode of ["plain", "gram", "separate"] as const)
      open.push(await peer.coupling({ ...problem, mode }));
    const [plain, gram, separate] = open as [PeerWork, PeerWork, PeerWork];
    const error = relativeError(await gram.result(), expected);
    if (!(error <= 1e-3))
      throw new Error(`another Gram: got a relative error of ${error}, expected at most 1e-3`);
    const others = [
      { direction: "gram" as const, work: gram },
      { direction: "separate" as const, work: separate },
    ];
    return { peer, plain, others, release };
  } catch (error) {
    await release();
    return { error: error instanceof Error ? error.message : String(error) };
  }
}
