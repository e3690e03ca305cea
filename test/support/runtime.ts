/** One runtime per test file, disposed at its end. */
import { afterAll } from "vitest";
import { type KernelFacts, Runtime } from "../../src/gpu/runtime.js";
import { testAdapter } from "./gpu.js";

/** @param facts overrides, for example `{ isSoftware: false }` to run the GPU kernel family on a software adapter
 *  @param adapter by name; default: the one that the tests run on */
export async function testRuntime(facts: Partial<KernelFacts> = {}, adapter?: string): Promise<Runtime> {
  const runtime = await Runtime.create(await testAdapter(adapter), { facts });
  afterAll(() => runtime.dispose());
  return runtime;
}
