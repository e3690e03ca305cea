/** Everything that is needed to repeat a benchmark, and to judge it. */
import { cpus, loadavg } from "node:os";
import type { ClockResolution } from "../../gpu/self_test.js";
import { findOwnPackage } from "../../host/files/packages.js";
import { readGitState } from "../../host/run/git.js";
import type { Passport } from "../../report/bench_report.js";
import type { CliContext } from "../kit/options.js";
import type { GpuSession } from "../kit/session.js";
import { tuningFacts } from "../kit/tuning.js";
import type { BenchOptions } from "./bench_options.js";

/** The passport of a run on an open GPU. */
export async function benchPassport(
  { choice, runtime, tuning }: GpuSession,
  options: BenchOptions,
  { env }: CliContext,
  clock: ClockResolution | undefined,
): Promise<Passport> {
  const own = await findOwnPackage();
  const git = own && (await readGitState(own.folder, env));
  const { features, tuning: _choices, ...facts } = runtime.facts;
  const processors = cpus();
  return {
    command: commandLine(options),
    uncouple: own?.version,
    commit: git?.commit ?? null,
    dirty: git?.dirty ?? null,
    node: process.version,
    adapter: choice.device,
    kind: choice.kind,
    driver: choice.driver,
    backend: choice.backend,
    preset: options.preset,
    facts: { ...facts, features: [...features].sort() },
    tuning: tuningFacts(tuning),
    clock: clock ? { stepNs: clock.step, smallestNs: clock.smallest } : null,
    cpu: `${processors.length} x ${processors[0]?.model ?? "unknown"}`,
    loadAverage: loadavg()[0],
    date: new Date().toISOString(),
  };
}

function commandLine(options: BenchOptions): string {
  const { filter, shape, peers, peer, quick, profile, repeats, precision, adapter, preset, matmul, tune } =
    options;
  const words = [
    "uncouple bench",
    filter,
    shape && `--shape "${shape.source}"`,
    peer ? `--peer ${peer.join(" ")}` : peers && "--peers",
    profile && "--profile",
    quick && "--quick",
    repeats && `--repeats ${repeats}`,
    precision && precision !== "f32" && `--precision ${precision}`,
    `--adapter ${adapter}`,
    `--preset ${preset}`,
    matmul && matmul !== "f32" && `--matmul ${matmul}`,
    tune === false && "--no-tune",
  ];
  return words.filter(Boolean).join(" ");
}
