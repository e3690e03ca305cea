/** Facts of adapters that are not here, as far as choices of kernels ask for them. */
import type { KernelFacts, Tuning } from "../../src/gpu/runtime.js";

export const factsOf = (facts: Partial<KernelFacts>, tuning: Tuning = {}) =>
  ({ matmulPrecision: "f32", matrixConfigs: [], features: new Set(), ...facts, tuning }) as KernelFacts;

/** What Vulkan reports of a large GPU. */
export const LARGE_GPU: Partial<KernelFacts> = {
  isSoftware: false,
  subgroupMinSize: 32,
  subgroupMaxSize: 32,
  maxWorkgroupInvocations: 1024,
  maxWorkgroupBytes: 49_152,
};
