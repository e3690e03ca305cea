/** What a benchmark records: one row for each op, direction, shape and implementation, and the passport of the run. */
import { z } from "zod";
import { DataError } from "../core/errors.js";

/** `forward` and `backward` of an op, one training `step`, one `decode` step of a batch of sequences. */
const DIRECTIONS = ["forward", "backward", "step", "decode"] as const;

const number = z.number();
const rowSchema = z.looseObject({
  /** An op, `training_step`, `rollout`, or `peak`: what the adapter reaches at best. */
  op: z.string(),
  direction: z.enum(DIRECTIONS),
  shape: z.string(),
  /** `uncouple`, or a peer's name. */
  implementation: z.string(),
  version: z.string().optional(),
  dtype: z.string(),
  adapter: z.string(),
  /** Wall-clock milliseconds of one call, several calls being in flight. */
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
  /** Losses of the first training steps from the common weights, nats per token. */
  firstLosses: z.array(number).optional(),
  /** Median of the baseline's row, and this row's excess over it as a share. */
  baselineMs: number.optional(),
  slowdown: number.optional(),
  /** Why there is no number. */
  error: z.string().optional(),
  /** In rows that stand alone: what the run's `peak` rows say, the kernel choices in force, the rest of the passport. */
  peaks: z.record(z.string(), z.record(z.string(), number)).optional(),
  tuning: z.unknown().optional(),
  passport: z.record(z.string(), z.unknown()).optional(),
});

export type BenchRow = z.infer<typeof rowSchema>;

const reportSchema = z.looseObject({
  /** What is needed to repeat the run: command, commit, adapter, driver, preset and more. */
  passport: z.record(z.string(), z.unknown()).default({}),
  rows: z.array(rowSchema),
});

/** A saved benchmark. */
export type BenchReport = z.infer<typeof reportSchema>;

/**
 * Reads what `bench --save` or `bench --json` wrote: an object with rows, or the bare array.
 * @param json what `JSON.parse` gave
 * @param file name for messages
 * @throws DataError naming the first field that is wrong
 */
export function parseBenchReport(json: unknown, file: string): BenchReport {
  const result = reportSchema.safeParse(Array.isArray(json) ? { rows: json } : json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new DataError(
    `[${file}] not a benchmark: got ${issue.message} at ${issue.path.join(".") || "the top"}, expected what \`uncouple bench --save\` writes. Choose such a file.`,
  );
}

/** What makes two rows the same measurement. */
export function rowKey({ op, direction, implementation, shape, dtype, adapter }: BenchRow): string {
  return [op, direction, implementation, shape, dtype, adapter].join(" | ");
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

/** Rows that need no others to be judged: each with the peaks of its run, the kernel choices in force and the passport. */
export function standaloneRows({ passport: whole, rows }: BenchReport): BenchRow[] {
  const { tuning, ...passport } = whole;
  // several matrix shapes may have a peak: the last of equal names stays, which is the highest
  const rising = peakRows(rows).sort((a, b) => (a.gflops ?? 0) - (b.gflops ?? 0));
  const peaks = Object.fromEntries(
    rising.map(({ shape, dtype, gflops = 0, gbps = 0 }) => [
      `${shape.split(" ")[0]} ${dtype}`,
      { gflops, gbps },
    ]),
  );
  // rows of another run, read from a file, have their own
  return rows.map((row) => ({ peaks, ...(tuning !== undefined && { tuning }), passport, ...row }));
}

/** Fills in what share of the measured peaks each row of ours and of peers reaches. */
export function withShares(rows: readonly BenchRow[]): BenchRow[] {
  const peaks = peakRows(rows);
  return rows.map((row) => {
    if (row.op === "peak" || row.error !== undefined) return row;
    // peers have no GPU clock: theirs, and ours where the peak has none either, are held against wall-clock peaks
    const share = (peak: BenchRow | undefined, rate: "gflops" | "gbps") => {
      if (!peak) return undefined;
      const sameClock = row.gpuMs !== undefined && peak.gpuMs !== undefined;
      const own = sameClock ? kernelRates(row)?.[rate] : row[rate];
      const most = sameClock ? kernelRates(peak)?.[rate] : peak[rate];
      return own && most ? own / most : undefined;
    };
    const find = (name: string) =>
      peaks
        .filter(({ shape, dtype }) => shape.startsWith(name) && dtype === row.dtype)
        .sort((a, b) => (b.gflops ?? 0) - (a.gflops ?? 0))[0];
    const shares = {
      fmaShare: share(find("fma"), "gflops"),
      copyShare: share(
        peaks.find(({ shape }) => shape.startsWith("copy")),
        "gbps",
      ),
      matrixShare: share(find("matrix"), "gflops"),
    };
    return { ...row, ...withoutAbsent(shares) };
  });
}

function withoutAbsent(fields: Readonly<Record<string, number | undefined>>): Partial<BenchRow> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
