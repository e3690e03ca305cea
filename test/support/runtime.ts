/** Runtimes of a test file, disposed at its end. */
import { afterAll } from "vitest";
import { type KernelFacts, Runtime } from "../../src/gpu/runtime.js";
import { testAdapter } from "./gpu.js";

/** @param facts overrides, for example `{ isSoftware: false }` to run the GPU kernel family on this very adapter
 *  @param adapter by name; default: the one that the tests run on */
export async function testRuntime(facts: Partial<KernelFacts> = {}, adapter?: string): Promise<Runtime> {
  return disposedAtEnd(await Runtime.create(await testAdapter(adapter), { facts }));
}

/**
 * A runtime that gets the kernels for GPUs. Where tests run on a CPU it is SwiftShader without Dawn's guards, which compiles these
 * in a fifth of lavapipe's time; lavapipe tries them op by op, with the guards, in kernels/ops_gpu.
 */
export async function gpuFamilyRuntime(facts: Partial<KernelFacts> = {}): Promise<Runtime> {
  const own = await testAdapter();
  const open = own.choice.cpuFamily ? await testAdapter("swiftshader", "fast") : own;
  return disposedAtEnd(await Runtime.create(open, { facts: { ...facts, isSoftware: false } }));
}

function disposedAtEnd(runtime: Runtime): Runtime {
  afterAll(() => runtime.dispose());
  return runtime;
}
