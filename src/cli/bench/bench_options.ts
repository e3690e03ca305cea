/** The options of `uncouple bench`. */
import type { Precision } from "../../../bench/precision.js";
import type { GpuOptions } from "../kit/session.js";
import type { OutputOptions } from "./bench_output.js";

export interface BenchOptions extends GpuOptions, OutputOptions {
  readonly filter?: string;
  readonly shape?: RegExp;
  readonly peers?: true;
  readonly peer?: readonly string[];
  readonly quick?: true;
  readonly profile?: true;
  readonly repeats?: number;
  readonly precision?: Precision;
  readonly from?: readonly string[];
  readonly baseline?: string;
  readonly failAbove: number;
}
