/** Milliseconds from the start of a process to the end of its first training step, with the driver's shader cache warm. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Preset } from "../src/gpu/presets.js";
import type { MatmulPrecision, Tuning } from "../src/gpu/runtime.js";
import type { BenchRow } from "../src/report/bench_rows.js";
import { spread } from "./measure.js";
import type { Precision } from "./precision.js";
import { type Workload, workloadLabel } from "./workloads.js";

/** What the child process is asked: how to open the adapter and what to train. */
export interface FirstStepJob {
  readonly adapter: string;
  readonly preset: Preset;
  readonly cacheFolder?: string;
  readonly matmulPrecision: MatmulPrecision;
  readonly tuning: Tuning;
  readonly precision: Precision;
  readonly workload: Workload;
}

/** What it answers. */
export interface FirstStepAnswer {
  /** Milliseconds, one after the other: start of Node and loading of modules, adapter and device, weights, step. */
  readonly phases?: {
    readonly start: number;
    readonly open: number;
    readonly build: number;
    readonly step: number;
  };
  readonly pipelines?: number;
  readonly loss?: number;
  readonly error?: string;
}

export interface FirstStepBench {
  /** Name of the adapter in rows. */
  readonly adapter: string;
  /** What its rows say. */
  readonly dtype: string;
  readonly job: Omit<FirstStepJob, "workload">;
  /** environment variables of the child */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly quick: boolean;
  /** JavaScript that takes a FirstStepJob by message and answers a FirstStepAnswer; tests give their own build of it */
  readonly script?: string;
}

const SCRIPT = fileURLToPath(new URL("./first_step_child.js", import.meta.url));
const TIME_LIMIT = 120_000;
/** Of what a child printed. */
const LAST_CHARACTERS = 300;

/** The row of one workload: one process with an empty shader cache, then some that find it filled. */
export async function benchFirstStep(bench: FirstStepBench, workload: Workload): Promise<BenchRow> {
  const { adapter, dtype, job, quick } = bench;
  const cache = await mkdtemp(join(tmpdir(), "uncouple-shaders-"));
  const row: BenchRow = {
    op: "first_step",
    direction: "step",
    shape: workloadLabel(workload),
    implementation: "uncouple",
    dtype,
    adapter,
  };
  try {
    const runs: Required<Omit<FirstStepAnswer, "error">>[] = [];
    for (let run = 0; run < (quick ? 2 : 4); run++) {
      const answer = await ask(bench, { ...job, workload }, cache);
      const error = answer.error ?? mistake(answer, workload);
      if (error !== undefined) return { ...row, error };
      runs.push(answer as (typeof runs)[number]);
    }
    const [cold, ...warm] = runs;
    warm.sort((a, b) => total(a) - total(b));
    const { phases, pipelines } = warm[Math.floor((warm.length - 1) / 2)];
    return { ...row, ...spread(warm.map(total)), calls: 1, coldMs: total(cold), phases, pipelines };
  } finally {
    await rm(cache, { recursive: true, force: true });
  }
}

/** A fresh model spreads its guesses over the vocabulary. */
function mistake({ loss = Number.NaN }: FirstStepAnswer, { config }: Workload): string | undefined {
  const expected = Math.log(config.vocab_size);
  return Math.abs(loss - expected) < 1 ? undefined : `wrong loss: got ${loss}, expected about ${expected}`;
}

function total({ phases }: Required<Pick<FirstStepAnswer, "phases">>): number {
  return Object.values(phases).reduce((sum, time) => sum + time, 0);
}

async function ask(
  { env, script = SCRIPT }: FirstStepBench,
  job: FirstStepJob,
  cache: string,
): Promise<FirstStepAnswer> {
  // where Mesa's and NVIDIA's drivers keep compiled shaders; others have no such variable, or no cache
  const caches = { MESA_SHADER_CACHE_DIR: cache, __GL_SHADER_DISK_CACHE_PATH: cache };
  const child = fork(script, {
    execArgv: [],
    env: { ...env, ...caches },
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  let answer: FirstStepAnswer | undefined;
  let printed = "";
  child.once("message", (message: FirstStepAnswer) => {
    answer = message;
  });
  child.stderr?.on("data", (bytes: Buffer) => {
    printed = (printed + bytes.toString("utf8")).slice(-LAST_CHARACTERS);
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), TIME_LIMIT);
  const closed = once(child, "close");
  // a child that is gone by now tells so by its end
  child.send(job, () => {});
  const [code, signal] = await closed;
  clearTimeout(timer);
  const reason = printed.trim().split("\n").at(-1);
  return answer ?? { error: `the process ended (${signal ?? `exit code ${code}`}) ${reason ?? ""}`.trim() };
}
