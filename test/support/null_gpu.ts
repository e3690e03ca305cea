/** Dawn without a driver: compiles shaders and validates calls, computes nothing. */
import { create, globals } from "webgpu";
import { type DeviceFacts, Runtime } from "../../src/gpu/runtime.js";

/** @param facts overrides, so that kernels are chosen as on an adapter that is not here */
export async function nullRuntime(facts: Partial<DeviceFacts>): Promise<Runtime> {
  Object.assign(globalThis, globals);
  const gpu = create(["backend=null", "enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia"]);
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error("Dawn has no null backend");
  return Runtime.create({ gpu, adapter }, { facts });
}
