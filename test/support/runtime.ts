/** One runtime per test file, disposed at its end. */
import { afterAll } from "vitest";
import { type DeviceFacts, Runtime } from "../../src/gpu/runtime.js";
import { testAdapter } from "./gpu.js";

/** @param facts overrides, for example `{ isSoftware: false }` to run the GPU kernel family on a software adapter */
export async function testRuntime(facts: Partial<DeviceFacts> = {}): Promise<Runtime> {
  const runtime = await Runtime.create(await testAdapter(), { facts });
  afterAll(() => runtime.dispose());
  return runtime;
}
