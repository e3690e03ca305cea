/** Shaped memory as kernels see it. */
import type { BufferRange } from "../../gpu/runtime.js";

/** Element type in memory. Kernels compute in f32 whatever the storage. */
export type DType = "f32" | "f16" | "u32";

/** A shaped array on the GPU. It does not own its buffer. */
export interface ArrayView {
  readonly range: BufferRange;
  readonly shape: readonly number[];
  readonly dtype: DType;
}
