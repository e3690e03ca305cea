/** `uncouple doctor`: which adapter is used, why, what it can do, and what is missing. */
import { ConfigError, DeviceError, UncoupleError } from "../../core/errors.js";
import { matrixConfigsOf } from "../../gpu/device_facts.js";
import { selfTest } from "../../gpu/self_test.js";
import { defaultCacheFolder } from "../../host/files/folders.js";
import { findOwnPackage, findPackage } from "../../host/files/packages.js";
import { findDriverTraces } from "../../host/gpu/diagnosis.js";
import { listAdapters } from "../../host/gpu/drivers.js";
import { checkMatrixProducts } from "../../host/gpu/matrix_check.js";
import { findSwiftShaderArchive } from "../../host/gpu/swiftshader.js";
import { tuningPath } from "../../host/tuning/tuning_record.js";
import { findScienceWorldJar, javaVersion } from "../../host/worlds/scienceworld_jar.js";
import { type CliContext, gpuCommand, type Register } from "../kit/options.js";
import { type GpuOptions, type GpuSession, withGpu } from "../kit/session.js";
import { advise } from "./doctor_advice.js";
import { type AdapterReport, type DoctorReport, renderReport } from "./doctor_report.js";

/** Variables that change which driver is found or how it behaves, and where worlds lie. */
const RELEVANT =
  /^(VK|UNCOUPLE|MESA|LP|GALLIUM|LIBGL|NVIDIA|DXVK|LD_LIBRARY|ALFWORLD|SCIENCEWORLD)_|^XDG_CACHE_HOME$/;

export const register: Register = (program, context) => {
  gpuCommand(program, "doctor", "Show the GPU adapter that would be used, why, and what is missing.")
    .option("--json", "print one JSON object")
    .action(async ({ json, ...options }) => {
      const { report, failure } = await examine(options, context);
      if (json) context.terminal.printJson(report);
      else context.terminal.print(renderReport(report, context.terminal));
      if (failure) throw failure;
    });
};

/** Looks at everything; a GPU that fails becomes a part of the report. */
async function examine(
  options: GpuOptions,
  context: CliContext,
): Promise<{ report: DoctorReport; failure?: UncoupleError }> {
  const archive = await findSwiftShaderArchive();
  const findings: Omit<DoctorReport, "advice"> = {
    versions: {
      uncouple: (await findOwnPackage())?.version ?? "unknown",
      node: process.version,
      webgpu: (await findPackage("webgpu"))?.version ?? "not installed",
      swiftshader: archive?.version ?? "not installed",
      platform: `${process.platform}-${process.arch}`,
    },
    environment: pickRelevant(context),
    traces: await findDriverTraces(),
    scienceWorld: await examineScienceWorld(context),
    installedAdapters: [],
  };
  let failure: UncoupleError | undefined;
  try {
    findings.installedAdapters = await listAdapters({
      ...options,
      env: context.env,
      logger: context.terminal,
    });
    findings.adapter = await withGpu(options, context, (session) =>
      examineAdapter(session, options, context),
    );
    if (!findings.adapter.computes) {
      throw new DeviceError(
        "[doctor] the adapter computes wrong results: got wrong sums from a small kernel, expected the right ones. " +
          "Update its driver or choose another adapter with --adapter.",
      );
    }
  } catch (error) {
    if (!(error instanceof UncoupleError)) throw error;
    failure = error;
    findings.error = error.message;
  }
  return { report: { ...findings, advice: advise(findings) }, failure };
}

async function examineAdapter(
  { adapter, choice, runtime, tuning }: GpuSession,
  options: GpuOptions,
  context: CliContext,
): Promise<AdapterReport> {
  const { computes, clock } = await selfTest(runtime.device);
  await runtime.finish();
  const limits: Record<string, number> = {};
  for (const name in adapter.limits) {
    const value: unknown = Reflect.get(adapter.limits, name);
    if (typeof value === "number") limits[name] = value;
  }
  const { subgroupMinSize, subgroupMaxSize } = runtime.facts;
  return {
    choice,
    computes,
    subgroupSizes: subgroupMinSize > 0 ? { min: subgroupMinSize, max: subgroupMaxSize } : undefined,
    matrixProducts: await examineProducts({ adapter, choice }, options, context),
    subgroupMatrices: matrixConfigsOf(adapter.info).map(
      ({ componentType, resultComponentType, M, N, K }) =>
        `${componentType} -> ${resultComponentType} ${M}x${N}x${K}`,
    ),
    tuning: {
      choices: tuning.choices,
      measured: tuning.record?.date,
      file: tuningPath(options.cacheDir ?? defaultCacheFolder(context.env), tuning.key),
    },
    clock,
    features: [...adapter.features].sort(),
    limits,
  };
}

/** Whether each precision that needs matrix hardware may be asked for. */
async function examineProducts(
  opened: Pick<GpuSession, "adapter" | "choice">,
  { cacheDir: cacheFolder }: GpuOptions,
  { env, terminal: logger }: CliContext,
): Promise<AdapterReport["matrixProducts"]> {
  const check = (precision: "f16" | "split_f16") =>
    checkMatrixProducts(precision, opened, { env, cacheFolder, logger });
  return { f16: await check("f16"), split_f16: await check("split_f16") };
}

/** A jar that is named wrongly counts as none; the advice names the cure. */
async function examineScienceWorld({ env }: CliContext): Promise<DoctorReport["scienceWorld"]> {
  const found = await findScienceWorldJar(env.SCIENCEWORLD_JAR).catch((error: unknown) => {
    if (error instanceof ConfigError) return undefined;
    throw error;
  });
  return { java: await javaVersion(), jar: found };
}

function pickRelevant({ env }: CliContext): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const [name, value] of Object.entries(env))
    if (value !== undefined && RELEVANT.test(name)) picked[name] = value;
  return picked;
}
