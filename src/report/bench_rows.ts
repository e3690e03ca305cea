/** What a benchmark records of one measurement: an op, direction, shape, dtype and implementation, and its figures. */
import { z } from "zod";

/**
 * `forward` and `backward` of an op, a `step` of training or of both, one `decode` step of a batch of sequences; of op
 * `coupling` the `gram` of per-sample gradients, their dot products with `directions`, and `separate` passes for each sample.
 */
const DIRECTIONS = ["forward", "backward", "step", "decode", "gram", "directions", "separate"] as const;

const number = z.number();

/** What `op` says of rows that are of no op: measurements of whole programs, in the order in which they are made. */
export const PROGRAMS: readonly string[] = [
  "peak",
  "training_step",
  "coupling",
  "gram_curves",
  "rollout",
  "iteration",
  "first_step",
  "scaling",
];

/** A kernel in a profile, and what it took in one call of the work. */
const profilePartSchema = z.object({
  /** What it is there for: products, attention, optimiser ... */
  cause: z.string(),
  /** `op.entry`, several where they share a dispatch; empty for what lies between dispatches. */
  kernel: z.string(),
  sizes: z.string(),
  launches: number,
  ms: number,
  /** Of the whole. */
  share: number,
  gflops: number.optional(),
  gbps: number.optional(),
  /** Shares of the run's own `peak` rows. */
  fmaShare: number.optional(),
  copyShare: number.optional(),
});
export type ProfilePart = z.infer<typeof profilePartSchema>;

export const benchRowSchema = z.looseObject({
  /**
   * An op, `training_step`, `coupling`, `gram_curves`, `rollout`, `iteration`, `first_step`, `scaling`, `profile`, or `peak`: what the
   * adapter reaches at best.
   */
  op: z.string(),
  direction: z.enum(DIRECTIONS),
  shape: z.string(),
  /** `uncouple`, or a peer's name. */
  implementation: z.string(),
  version: z.string().optional(),
  dtype: z.string(),
  adapter: z.string(),
  /** Dawn's toggles, `checked` or `fast`. */
  preset: z.string().optional(),
  /** Name of the run among the report's passports. */
  run: z.string().optional(),
  /** Wall-clock milliseconds of one call, several calls being under way. */
  medianMs: number.optional(),
  p10Ms: number.optional(),
  p90Ms: number.optional(),
  /** Samples taken, each of `calls` calls. */
  repeats: number.optional(),
  calls: number.optional(),
  /** 10^9 operations and 10^9 bytes a second, by wall clock. */
  gflops: number.optional(),
  gbps: number.optional(),
  /** Milliseconds that the GPU spent in the kernels of one call, by its own clock. */
  gpuMs: number.optional(),
  gpuP10Ms: number.optional(),
  gpuP90Ms: number.optional(),
  /** Shares of the run's own `peak` rows, of one dtype, by GPU time where both have it, else by wall clock. */
  fmaShare: number.optional(),
  copyShare: number.optional(),
  matrixShare: number.optional(),
  /** Kernel launches of one call. */
  dispatches: number.optional(),
  /** Milliseconds of host time until one call is handed to the GPU. */
  encodeMs: number.optional(),
  /** Bytes of GPU buffers held after a call, and the most during it. */
  bytesLive: number.optional(),
  bytesPeak: number.optional(),
  tokensPerSecond: number.optional(),
  /**
   * Of ops `coupling` and `gram_curves`: time, and most bytes at once, over those of the same implementation's plain forward and
   * backward pass of the batch.
   */
  ratio: number.optional(),
  peakRatio: number.optional(),
  /** Of op `gram_curves`: matrices whose Gram is made of products of tokens, and how many there are. */
  tokenMatrices: number.optional(),
  matrices: number.optional(),
  /** Of op `scaling`: what is measured, the size that is varied, and its value in this row. */
  subject: z.string().optional(),
  axis: z.string().optional(),
  size: number.optional(),
  /** Most bytes at once of what attention, or the vocabulary head, has made: results, saved and scratch arrays, gradients. */
  attentionBytes: number.optional(),
  logProbBytes: number.optional(),
  /** Most bytes at once of an op beyond its inputs and their gradients. */
  workingBytes: number.optional(),
  /** Of op `first_step`: the same with an empty shader cache, and where the median run spent its milliseconds. */
  coldMs: number.optional(),
  phases: z.record(z.string(), number).optional(),
  /** Pipelines that were compiled. */
  pipelines: number.optional(),
  /**
   * Of op `profile`: where the milliseconds of `medianMs` went, which add up to it; and the same work without timestamps, in between.
   */
  parts: z.array(profilePartSchema).optional(),
  unprofiledMs: number.optional(),
  /** Losses of the first training steps from the common weights, nats per token. */
  firstLosses: z.array(number).optional(),
  /** Median of the baseline's row, and this row's excess over it as a share. */
  baselineMs: number.optional(),
  slowdown: number.optional(),
  /** Why there is no number. */
  error: z.string().optional(),
});

export type BenchRow = z.infer<typeof benchRowSchema>;

/** What makes two rows the same measurement. */
export function rowKey({ op, direction, implementation, shape, dtype, adapter, preset }: BenchRow): string {
  return [op, direction, implementation, shape, dtype, adapter, preset ?? ""].join(" | ");
}

/** Time of one call to reckon with: the GPU's own where it is known, else wall clock. */
function kernelMs({ gpuMs, medianMs }: BenchRow): number | undefined {
  return gpuMs ?? medianMs;
}

/** Rates by `kernelMs`, for shares and pictures: 10^9 operations and 10^9 bytes a second. */
export function kernelRates(row: BenchRow): { readonly gflops: number; readonly gbps: number } | undefined {
  const time = kernelMs(row);
  if (!time || !row.medianMs) return undefined;
  const faster = row.medianMs / time;
  return { gflops: (row.gflops ?? 0) * faster, gbps: (row.gbps ?? 0) * faster };
}

/** Rows of `peak` by name: `fma`, `copy`, `matrix ...`. */
export function peakRows(rows: readonly BenchRow[]): BenchRow[] {
  return rows.filter((row) => row.op === "peak" && row.error === undefined);
}

/** Fills in what share of the measured peaks each row of ours and of peers reaches. */
export function withShares(rows: readonly BenchRow[]): BenchRow[] {
  const peaks = peakRows(rows);
  return rows.map((row) => {
    if (row.op === "peak" || row.error !== undefined) return row;
    if (row.parts)
      return { ...row, parts: row.parts.map((part) => ({ ...part, ...partShares(part, peaks, row.dtype) })) };
    // peers have no GPU clock: theirs, and ours where the peak has none either, are held against wall-clock peaks
    const share = (peak: BenchRow | undefined, rate: "gflops" | "gbps") => {
      if (!peak) return undefined;
      const sameClock = row.gpuMs !== undefined && peak.gpuMs !== undefined;
      const own = sameClock ? kernelRates(row)?.[rate] : row[rate];
      const most = sameClock ? kernelRates(peak)?.[rate] : peak[rate];
      return own && most ? own / most : undefined;
    };
    const shares = {
      fmaShare: share(highest(peaks, "fma", row.dtype), "gflops"),
      copyShare: share(copyPeak(peaks), "gbps"),
      matrixShare: share(highest(peaks, "matrix", row.dtype), "gflops"),
    };
    return { ...row, ...withoutAbsent(shares) };
  });
}

/** The peak of a name and type that is highest. */
function highest(peaks: readonly BenchRow[], name: string, type: string): BenchRow | undefined {
  return peaks
    .filter(({ shape, dtype }) => shape.startsWith(name) && dtype === type)
    .sort((a, b) => (b.gflops ?? 0) - (a.gflops ?? 0))[0];
}

const copyPeak = (peaks: readonly BenchRow[]) => peaks.find(({ shape }) => shape.startsWith("copy"));

/** Parts are timed by the GPU's clock, and so are the peaks that they are held against. */
function partShares({ gflops, gbps }: ProfilePart, peaks: readonly BenchRow[], dtype: string) {
  const share = (rate: number | undefined, peak: BenchRow | undefined, of: "gflops" | "gbps") => {
    const most = peak && kernelRates(peak)?.[of];
    return rate && most ? rate / most : undefined;
  };
  return withoutAbsent({
    fmaShare: share(gflops, highest(peaks, "fma", dtype), "gflops"),
    copyShare: share(gbps, copyPeak(peaks), "gbps"),
  });
}

function withoutAbsent(fields: Readonly<Record<string, number | undefined>>): Partial<BenchRow> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
