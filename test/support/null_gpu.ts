/** Dawn without a driver: compiles shaders and validates calls, computes nothing. */
import { create, globals } from "webgpu";
import { type KernelFacts, Runtime } from "../../src/gpu/runtime.js";

/**
 * @param facts overrides, so that kernels are chosen as on an adapter that is not here
 * @param validates false: calls may go beyond the limits of this backend, which are the least that WebGPU allows
 */
export async function nullRuntime(facts: Partial<KernelFacts>, validates = true): Promise<Runtime> {
  Object.assign(globalThis, globals);
  const toggles = `allow_unsafe_apis,vulkan_enable_f16_on_nvidia${validates ? "" : ",skip_validation"}`;
  const gpu = create(["backend=null", `enable-dawn-features=${toggles}`]);
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error("Dawn has no null backend");
  return Runtime.create({ gpu, adapter }, { facts });
}

/** With as many bindings as Vulkan drivers of GPUs have. */
export const largeGpu = (): Promise<Runtime> =>
  nullRuntime({ isSoftware: false, maxStorageBuffers: 16 }, false);
