/** What the adapter reaches at best: fused multiply-adds in registers, copying of memory, products of small matrices. */
import { Tensor } from "../src/autograd/tensor.js";
import type { KernelFacts } from "../src/gpu/runtime.js";
import type { Launcher } from "../src/kernels/engine/launch.js";
import type { Cost, Kernel, KernelUnit, ShaderInput } from "../src/kernels/engine/op.js";
import type { BenchRow } from "../src/report/bench_rows.js";
import { type Effort, gpuTimes, type Work } from "./measure.js";
import { race } from "./race.js";

export interface PeakBench {
  readonly launcher: Launcher;
  readonly adapter: string;
  readonly effort: Effort;
}

interface Peak {
  readonly shape: string;
  readonly dtype: string;
  readonly unit: KernelUnit;
  /** Elements of 4 bytes that the kernel reads and writes. */
  readonly source: number;
  readonly target: number;
  readonly cost: Cost;
}

/** Rows of op `peak` that every adapter has: copying and f32 arithmetic. Memory holds ones, so every sum stays finite. */
export function benchPeaks(bench: PeakBench): Promise<BenchRow[]> {
  const { facts } = bench.launcher;
  return bestOf(bench, [[copyPeak(facts)], ACCUMULATORS.map((count) => fmaPeak(facts, "f32", count))]);
}

/**
 * Rows of op `peak` for what only some adapters have, and some drivers only claim: f16 arithmetic and matrices.
 * @throws DeviceError when the driver fails; the device is of no use any more then
 */
export function benchHalfPeaks(bench: PeakBench): Promise<BenchRow[]> {
  const { facts } = bench.launcher;
  if (!facts.features.has("shader-f16")) return Promise.resolve([]);
  return bestOf(bench, [
    ACCUMULATORS.map((count) => fmaPeak(facts, "f16", count)),
    ...matrixPeaks(facts).map((peak) => [peak]),
  ]);
}

/** The best variant of each kind. */
async function bestOf(bench: PeakBench, kinds: readonly (readonly Peak[])[]): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  for (const variants of kinds) {
    const measured: BenchRow[] = [];
    for (const peak of variants) measured.push(await benchPeak(bench, peak));
    rows.push(measured.reduce((a, b) => (speed(b) > speed(a) ? b : a)));
  }
  return rows;
}

function speed({ gflops, gbps }: BenchRow): number {
  return (gflops ?? 0) + (gbps ?? 0);
}

async function benchPeak({ launcher, adapter, effort }: PeakBench, peak: Peak): Promise<BenchRow> {
  const { runtime } = launcher;
  const { shape, dtype, unit, cost } = peak;
  const open = async () => {
    const ones = new Float32Array(peak.source).fill(1);
    // two f16 ones in each word
    if (dtype === "f16") new Uint32Array(ones.buffer).fill(0x3c003c00);
    const source = Tensor.from(runtime, ones, undefined, { label: "peak source" });
    const target = Tensor.empty(runtime, [peak.target], "f32", "peak target");
    const work: Work = {
      async run(calls) {
        for (let call = 0; call < calls; call++) launcher.run(unit, { source, result: target }, {});
        await runtime.finish();
      },
      gpuTimes: (calls) => gpuTimes(runtime, work, calls),
    };
    return {
      work,
      async check() {
        await work.run(1);
        const count = Math.min(peak.target, CHECKED_WORDS);
        const tail = target.view([count], peak.target - count);
        const words = new Uint32Array((await tail.read()).buffer);
        tail.release();
        return words.every((word) => word !== 0) ? undefined : "wrong result: got zeros, expected numbers";
      },
      release: () => {
        source.release();
        target.release();
      },
    };
  };
  const head = { op: "peak", direction: "forward" as const, shape, dtype, adapter };
  const [row] = await race(head, [{ implementation: "uncouple", open }], cost, effort);
  return row;
}

const INVOCATIONS = 64;
/** The last words of the result that are looked at. */
const CHECKED_WORDS = 65_536;

function unitOf(entry: string, shader: Kernel["shader"], workgroups: number, element?: string): KernelUnit {
  return {
    op: "peak",
    scalars: {},
    kernel: {
      entry,
      shader,
      reads: ["source"],
      writes: ["result"],
      workgroups: () => workgroups,
      ...(element && { elements: () => ({ source: element, result: element }) }),
    },
  };
}

/** Reads and writes every byte once: 64 MiB on the CPU, 512 MiB on a GPU, which has larger caches. */
function copyPeak({ isSoftware, maxBindingBytes }: KernelFacts): Peak {
  const bytes = Math.min(isSoftware ? 2 ** 26 : 2 ** 29, 2 ** Math.floor(Math.log2(maxBindingBytes)));
  const shader = () => `
@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) i: u32) {
  let at = workgroup_index(group, groups) * ${INVOCATIONS}u + i;
  if (at < ${bytes / 16}u) { result[at] = source[at]; }
}`;
  return {
    shape: `copy ${bytes / 2 ** 20} MiB`,
    dtype: "f32",
    unit: unitOf("copy", shader, bytes / 16 / INVOCATIONS, "vec4<f32>"),
    source: bytes / 4,
    target: bytes / 4,
    cost: { flops: 0, bytes: 2 * bytes },
  };
}

/** Independent chains of vec4 multiply-adds that one invocation keeps in registers; which number is best differs. */
const ACCUMULATORS = [2, 4, 8] as const;
/** Multiply-adds of each chain. */
const STEPS = { software: 512, hardware: 4096 } as const;

/** One invocation owns `count` accumulators and writes their sum. No shared memory, no barrier. */
function fmaPeak(facts: KernelFacts, dtype: "f32" | "f16", count: number): Peak {
  const steps = facts.isSoftware ? STEPS.software : STEPS.hardware;
  const workgroups = facts.isSoftware ? 256 : 8192;
  const vector = `vec4<${dtype}>`;
  const names = Array.from({ length: count }, (_, i) => `sum${i}`);
  // the factor is read from memory, so that no compiler can fold the chain; with ones, sums grow by 2^-10 a step
  const shader = () => `${dtype === "f16" ? "enable f16;" : ""}
@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) i: u32) {
  let at = workgroup_index(group, groups) * ${INVOCATIONS}u + i;
  let factor = source[i];
  let addend = factor * ${dtype}(0.0009765625);
${names.map((name, i) => `  var ${name} = factor * ${dtype}(${i + 1});`).join("\n")}
  for (var step = 0u; step < ${steps}u; step += 4u) {
${[0, 1, 2, 3].flatMap(() => names.map((name) => `    ${name} = fma(${name}, factor, addend);`)).join("\n")}
  }
  result[at] = ${names.join(" + ")};
}`;
  const invocations = workgroups * INVOCATIONS;
  const words = dtype === "f32" ? 4 : 2;
  return {
    shape: `fma ${count} chains`,
    dtype,
    unit: unitOf(`fma_${dtype}_${count}`, shader, workgroups, vector),
    source: words * INVOCATIONS,
    target: words * invocations,
    cost: { flops: 2 * 4 * count * steps * invocations, bytes: 4 * words * invocations },
  };
}

/** Subgroups in a workgroup and result matrices that each keeps. */
const MATRIX_SUBGROUPS = 4;
const MATRIX_RESULTS = 4;
const MATRIX_STEPS = 2048;

/** Chains of products of f16 matrices held in registers, one chain for each result matrix. */
function matrixPeaks(facts: KernelFacts): Peak[] {
  if (facts.subgroupMaxSize === 0) return [];
  const useful = facts.matrixConfigs.filter(({ componentType }) => componentType === "f16");
  return useful.map(({ M, N, K, resultComponentType: result }) => {
    const workgroups = 2048;
    const invocations = MATRIX_SUBGROUPS * facts.subgroupMaxSize;
    const names = Array.from({ length: MATRIX_RESULTS }, (_, i) => `sum${i}`);
    const shader = (_input: ShaderInput) => `enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
@compute @workgroup_size(${invocations})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) i: u32) {
  let left = subgroupMatrixLoad<subgroup_matrix_left<f16, ${K}, ${M}>, row_major>(&source, 0u, ${K}u);
  let right = subgroupMatrixLoad<subgroup_matrix_right<f16, ${N}, ${K}>, row_major>(&source, 0u, ${N}u);
${names.map((name) => `  var ${name}: subgroup_matrix_result<${result}, ${N}, ${M}>;`).join("\n")}
  for (var step = 0u; step < ${MATRIX_STEPS}u; step++) {
${names.map((name) => `    ${name} = subgroupMatrixMultiplyAccumulate(left, right, ${name});`).join("\n")}
  }
  let subgroup = workgroup_index(group, groups) * ${MATRIX_SUBGROUPS}u + i / ${facts.subgroupMaxSize}u;
${names.map((name, i) => `  subgroupMatrixStore<row_major>(&result, (subgroup * ${MATRIX_RESULTS}u + ${i}u) * ${M * N}u, ${name}, ${N}u);`).join("\n")}
}`;
    const subgroups = workgroups * MATRIX_SUBGROUPS;
    const words = (MATRIX_RESULTS * subgroups * M * N) / (result === "f16" ? 2 : 1);
    const entry = `matrix_${M}_${N}_${K}_${result}`;
    const base = unitOf(entry, shader, workgroups);
    const unit: KernelUnit = {
      ...base,
      kernel: { ...base.kernel, elements: () => ({ source: "f16", result }) },
    };
    return {
      shape: `matrix ${M}x${N}x${K} to ${result}`,
      dtype: "f16",
      unit,
      source: Math.max(M * K, N * K),
      target: words,
      cost: { flops: 2 * M * N * K * MATRIX_STEPS * MATRIX_RESULTS * subgroups, bytes: 4 * words },
    };
  });
}
