/** What a benchmark prints: one row for each op, direction, shape and implementation. */
import type { Cost } from "../src/kernels/op.js";
import type { Timing } from "./measure.js";

export interface BenchCase {
  readonly op: string;
  readonly direction: "forward" | "backward";
  readonly shape: string;
}

export interface BenchRow extends BenchCase {
  /** `uncouple`, or a peer's name. */
  readonly implementation: string;
  readonly version?: string;
  readonly dtype: "f32";
  readonly adapter: string;
  readonly medianMs?: number;
  readonly p10Ms?: number;
  readonly p90Ms?: number;
  readonly repeats?: number;
  readonly calls?: number;
  readonly gflops?: number;
  readonly gbps?: number;
  /** Why there is no number. */
  readonly error?: string;
}

/** Figures of a median time: 10^9 operations and 10^9 bytes a second. */
export function figures(timing: Timing, { flops, bytes }: Cost) {
  return {
    ...timing,
    gflops: flops / timing.medianMs / 1e6,
    gbps: bytes / timing.medianMs / 1e6,
  };
}
