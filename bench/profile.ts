/** Where the time of a work goes: its dispatches by kernel and by cause, and what lies between them. */
import { quantile } from "../src/core/statistics.js";
import type { KernelTime, LaunchedKernel, OpApplication } from "../src/gpu/profiler.js";
import type { Runtime } from "../src/gpu/runtime.js";
import { allOps } from "../src/kernels/index.js";
import type { BenchRow, ProfilePart } from "../src/report/bench_rows.js";
import type { RowHead } from "./race.js";

/** Something of which a part is profiled. */
export interface ProfiledWork {
  /** Steps between `begin` and the end, all alike: figures are of one. */
  readonly calls: number;
  /** What of the declared cost of an attention there really is, since that depends on lengths; default 1. */
  readonly attended?: (application: OpApplication) => number;
  /** Awaits `begin` where the part starts; resolves when all is executed, and the part ends there. */
  run(begin: () => Promise<void>): Promise<void>;
}

/** One run: its wall-clock milliseconds from `begin` on, and every dispatch in them. */
export interface ProfiledRun {
  readonly wallMs: number;
  readonly dispatches: readonly KernelTime[];
}

/** What is left of the wall clock when all dispatches are taken off. */
export const BETWEEN = "gaps and host";

/**
 * A row of op `profile`: the parts of the run of median length, and with it what lies between dispatches, add up to its wall clock.
 * @param rounds runs with timestamps, each after one without
 */
export async function benchProfile(
  head: Omit<RowHead, "op">,
  runtime: Runtime,
  work: ProfiledWork,
  rounds: number,
): Promise<BenchRow> {
  const missing = withoutTimestamps(head, runtime);
  if (missing) return missing;
  const row = { ...head, op: "profile", implementation: "uncouple" };
  await runOnce(runtime, work, false);
  const runs: ProfiledRun[] = [];
  const alone: number[] = [];
  for (let round = 0; round < rounds; round++) {
    alone.push((await runOnce(runtime, work, false)).wallMs);
    runs.push(await runOnce(runtime, work, true));
  }
  const [run] = runs.sort((a, b) => a.wallMs - b.wallMs).slice(Math.floor((rounds - 1) / 2));
  const { calls } = work;
  const parts = profileParts(run, work);
  return {
    ...row,
    medianMs: run.wallMs / calls,
    gpuMs: parts.reduce((sum, { kernel, ms }) => sum + (kernel ? ms : 0), 0),
    unprofiledMs: quantile(alone, 0.5) / calls,
    dispatches: run.dispatches.length / calls,
    repeats: rounds,
    calls,
    parts,
  };
}

/** The row of an adapter that has no timestamps; undefined where it has. */
export function withoutTimestamps(head: Omit<RowHead, "op">, runtime: Runtime): BenchRow | undefined {
  if (runtime.profiler.available) return undefined;
  const error = "no timestamps: the adapter has no timestamp-query";
  return { ...head, op: "profile", implementation: "uncouple", error };
}

async function runOnce(runtime: Runtime, work: ProfiledWork, isTimed: boolean): Promise<ProfiledRun> {
  let started = 0;
  await work.run(async () => {
    await runtime.finish();
    if (isTimed) runtime.profiler.start();
    started = performance.now();
  });
  const wallMs = performance.now() - started;
  return { wallMs, dispatches: isTimed ? await runtime.profiler.stop() : [] };
}

/** Kernels of one cause, name and size as one part, the longest first; at the end what lies between dispatches. */
export function profileParts(
  { wallMs, dispatches }: ProfiledRun,
  { calls, attended = () => 1 }: Pick<ProfiledWork, "calls" | "attended">,
): ProfilePart[] {
  const costs = declaredCosts(dispatches, attended);
  const parts = new Map<string, ProfilePart & { flops: number; bytes: number }>();
  for (const dispatch of dispatches) {
    const { label, kernels, nanoseconds } = dispatch;
    const [cause, sizes] = [causeOf(kernels), sizesOf(kernels)];
    const key = `${cause}|${label}|${sizes}`;
    const cost = costOf(dispatch, costs);
    const before = parts.get(key);
    parts.set(key, {
      cause,
      kernel: label,
      sizes,
      launches: (before?.launches ?? 0) + 1 / calls,
      ms: (before?.ms ?? 0) + nanoseconds / 1e6 / calls,
      share: 0,
      flops: (before?.flops ?? 0) + cost.flops / calls,
      bytes: (before?.bytes ?? 0) + cost.bytes / calls,
    });
  }
  const whole = wallMs / calls;
  const rated = [...parts.values()].map(({ flops, bytes, ...part }): ProfilePart => {
    const rate = (count: number) => (count > 0 && part.ms > 0 ? count / part.ms / 1e6 : undefined);
    const [gflops, gbps] = [rate(flops), rate(bytes)];
    return {
      ...part,
      share: part.ms / whole,
      ...(gflops !== undefined && { gflops }),
      ...(gbps !== undefined && { gbps }),
    };
  });
  const rest = whole - rated.reduce((sum, { ms }) => sum + ms, 0);
  return [
    ...rated.sort((a, b) => b.ms - a.ms),
    { cause: BETWEEN, kernel: "", sizes: "", launches: 0, ms: rest, share: rest / whole },
  ];
}

const isProduct = ({ op, entry }: LaunchedKernel): boolean => op === "matmul" && entry !== "sum";
const productFlops = ({ sizes: { B, M, N, K } }: LaunchedKernel): number => 2 * B * M * N * K;

/** The vocabulary head with its products, and the losses above it. */
const LOSSES: readonly string[] = ["linear_log_prob", "token_log_prob", "cross_entropy", "policy_loss"];
const SAMPLING: readonly string[] = ["sample", "advance"];

/** What a dispatch is there for. */
export function causeOf(kernels: readonly LaunchedKernel[]): string {
  const isOf = (names: readonly string[]) =>
    kernels.some(({ op, application }) => names.includes(op) || names.includes(application?.op ?? ""));
  if (isOf(LOSSES)) return "head and loss";
  if (kernels.some(isProduct)) return "products";
  const attention = kernels.find(({ op }) => op.startsWith("attention") || op === "kv_append");
  if (attention) return `attention ${attention.application?.direction ?? "forward"}`;
  if (isOf(["adamw"])) return "optimiser";
  return isOf(SAMPLING) ? "sampling" : "norms and layers";
}

/** `1024x192x64` (M, N, K) of products, `N1024 C64` of others: axes are named by capitals. */
function sizesOf(kernels: readonly LaunchedKernel[]): string {
  return kernels
    .map((kernel) => {
      const { M, N, K } = kernel.sizes;
      if (isProduct(kernel)) return `${M}x${N}x${K}`;
      const axes = Object.entries(kernel.sizes).filter(([name]) => /^[A-Z]/.test(name));
      return axes.map(([name, size]) => `${name}${size}`).join(" ");
    })
    .filter((text, index, all) => all.indexOf(text) === index)
    .join(" + ");
}

interface Cost {
  readonly flops: number;
  readonly bytes: number;
}

/** What an application of an op declares, less its products, for each millisecond of its other dispatches. */
interface DeclaredCost {
  readonly flopsPerMs: number;
  /** Of one launch; undefined where the application has several kernels. */
  readonly bytes: number | undefined;
}

/** FLOP of a product are its own; an op's other kernels share what is left of its declared FLOP by their time. */
function costOf(
  { kernels, bytes, nanoseconds }: KernelTime,
  costs: ReadonlyMap<OpApplication, DeclaredCost>,
): Cost {
  if (kernels.some(isProduct))
    return { flops: kernels.filter(isProduct).reduce((sum, kernel) => sum + productFlops(kernel), 0), bytes };
  const application = kernels[0]?.application;
  const declared = application && costs.get(application);
  if (!declared) return { flops: 0, bytes };
  return { flops: (declared.flopsPerMs * nanoseconds) / 1e6, bytes: declared.bytes ?? bytes };
}

function declaredCosts(
  dispatches: readonly KernelTime[],
  attended: (application: OpApplication) => number,
): Map<OpApplication, DeclaredCost> {
  interface Sum {
    ms: number;
    products: number;
    /** Times that its first kernel was launched: repeated work is the same application again. */
    times: number;
    readonly first: LaunchedKernel;
  }
  const sums = new Map<OpApplication, Sum>();
  for (const { kernels, nanoseconds } of dispatches) {
    for (const kernel of kernels) {
      const { application } = kernel;
      if (!application) continue;
      const sum = sums.get(application) ?? { ms: 0, products: 0, times: 0, first: kernel };
      sums.set(application, sum);
      if (kernel === sum.first) sum.times++;
      if (isProduct(kernel)) sum.products += productFlops(kernel);
    }
    const own = kernels[0]?.application && sums.get(kernels[0].application);
    if (own && !kernels.some(isProduct)) own.ms += nanoseconds / 1e6;
  }
  const ops = new Map(allOps().map((op) => [op.name, op]));
  return new Map(
    [...sums].map(([application, { ms, products, times }]) => {
      const op = ops.get(application.op);
      const cost = op?.cost(application.sizes)[application.direction];
      const share = application.op.startsWith("attention") ? attended(application) : 1;
      const flops = Math.max(0, (cost?.flops ?? 0) * share * times - products);
      const plan = op?.[application.direction];
      // arrays bound to the single kernel of an op may be read in part only, as tables are
      const isSingle = Array.isArray(plan) && plan.length === 1;
      return [
        application,
        { flopsPerMs: ms > 0 ? flops / ms : 0, bytes: isSingle ? cost?.bytes : undefined },
      ];
    }),
  );
}
