/** The WGSL that kernels are made of: snapshots of one case of each, and every module read by a parser that is not Dawn's.
 *  `npx vitest run test/kernels/wgsl.test.ts -u` writes the snapshots anew; read the difference. */
import { describe, expect, test } from "vitest";
import { WgslReflect } from "wgsl_reflect/wgsl_reflect.module.js";
import { Trainer } from "../../bench/trainer.js";
import { trainingProblem } from "../../bench/workloads.js";
import type { KernelFacts } from "../../src/gpu/runtime.js";
import { Launcher } from "../../src/kernels/index.js";
import { opCases } from "../op_cases.js";
import { LARGE_GPU } from "../support/facts.js";
import { nullRuntime } from "../support/null_gpu.js";
import { runOp, variations } from "../support/op_check.js";
import { workloadNamed } from "../support/workloads.js";

interface Module {
  readonly label: string;
  readonly code: string;
  readonly accesses: readonly string[];
}

/** What CPU adapters report: lanes of a subgroup share a tile. */
const SMALL_CPU: Partial<KernelFacts> = { isSoftware: true, subgroupMinSize: 8, subgroupMaxSize: 8 };

/** Modules that `work` asks for, on a device that computes nothing. */
async function modulesOf(
  facts: Partial<KernelFacts>,
  work: (launcher: Launcher) => Promise<void>,
): Promise<Module[]> {
  const runtime = await nullRuntime({ maxStorageBuffers: 16, ...facts }, false);
  const modules: Module[] = [];
  const get = runtime.pipelines.get.bind(runtime.pipelines);
  runtime.pipelines.get = (label, code, accesses) => {
    modules.push({ label, code, accesses });
    return get(label, code, accesses);
  };
  await work(new Launcher(runtime));
  await runtime.dispose();
  return modules;
}

/** Every op, forward and backward, at the first sizes of its first row. */
async function runOps(launcher: Launcher): Promise<void> {
  const seen = new Set<string>();
  for (const row of opCases) {
    if (!seen.has(row.op.name)) await runOp(launcher, row, variations(row)[0]);
    seen.add(row.op.name);
  }
}

/** Every op with each set of its inputs. */
async function runVariations(launcher: Launcher): Promise<void> {
  for (const row of opCases) for (const variation of variations(row)) await runOp(launcher, row, variation);
}

/** A training step: what its layers merge into one module, and the optimiser. */
async function runTrainingStep(launcher: Launcher): Promise<void> {
  const workload = workloadNamed("tiny");
  const trainer = new Trainer(launcher, workload, trainingProblem(workload), "f32");
  await trainer.run(1);
  trainer.release();
}

/** What a module binds, as the pipeline is told. */
function bindingsOf({ uniforms, storage }: WgslReflect): string[] {
  const bound = [
    ...uniforms.map(({ group, binding }) => [group, binding, "uniform"] as const),
    ...storage.map(({ group, binding, access }) => [group, binding, access] as const),
  ];
  return bound.sort((a, b) => a[1] - b[1]).map(([group, binding, access]) => `${group}.${binding} ${access}`);
}

describe.each([
  ["GPUs", LARGE_GPU],
  ["CPUs", SMALL_CPU],
])("kernels for %s", async (family, facts) => {
  const ops = await modulesOf(facts, runOps);
  const step = await modulesOf(facts, runTrainingStep);

  test("another parser finds one entry point and the bindings of the pipeline", () => {
    expect(step.filter(({ label }) => label.includes(" + ")).length).toBeGreaterThan(3);
    for (const { label, code, accesses } of [...ops, ...step]) {
      const module = new WgslReflect(code);
      expect(
        module.entry.compute.map(({ name }) => name),
        label,
      ).toEqual(["main"]);
      const modes = accesses.map((access, i) => `0.${i + 1} ${access === "read" ? "read" : "read_write"}`);
      expect(bindingsOf(module), label).toEqual(["0.0 uniform", ...modes]);
    }
  });

  // eight is what WebGPU promises; kernels share a dispatch only as far as the adapter's own limit goes
  test("no kernel binds more storage buffers than every adapter has", async () => {
    const least = { ...facts, maxStorageBuffers: 8 };
    const modules = [
      ...(await modulesOf(least, runVariations)),
      ...(await modulesOf(least, runTrainingStep)),
    ];
    const most = new Map<string, number>();
    for (const { label, accesses } of modules)
      most.set(label, Math.max(most.get(label) ?? 0, accesses.length));
    expect([...most].filter(([, count]) => count > 8)).toEqual([]);
  });

  if (family === "CPUs") return;
  const first = new Map<string, string>();
  for (const { label, code } of [...ops, ...step]) if (!first.has(label)) first.set(label, code);
  test.each([...first])("%s", async (label, code) => {
    const file = label.replaceAll(" + ", "__").replaceAll(".", "_");
    await expect(`// ${label}\n${code}`).toMatchFileSnapshot(`../golden/wgsl/${file}.wgsl`);
  });
});
