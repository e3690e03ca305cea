/** One line of cure for each thing that `uncouple doctor` misses. */
import { isSoftwareName } from "../../host/gpu/adapters.js";
import { isMesaTooOld, MESA_CURE } from "../../host/gpu/choice.js";
import { DRIVER_VARIABLES } from "../../host/gpu/drivers.js";
import type { AdapterReport, DoctorReport } from "./doctor_report.js";

type Findings = Omit<DoctorReport, "advice">;

/** Mesa below this major version is refused by Dawn, or not known to be accepted. */
const OLDEST_MESA = 23;

/** @returns what the user can do, most useful first; empty when nothing is missing */
export function advise(findings: Findings): string[] {
  const { adapter, installedAdapters } = findings;
  const lines: string[] = [];
  const hasHardware = installedAdapters.some((name) => !isSoftwareName(name));
  if (!hasHardware) lines.push(adviseHardware(findings), ...adviseMesa(findings));
  if (adapter) lines.push(...adviseFeatures(adapter));
  return [...lines, ...adviseScienceWorld(findings)];
}

/** Who has neither the jar nor its variable does not want that world. */
function adviseScienceWorld({ scienceWorld: { java, jar }, environment }: Findings): string[] {
  const lines: string[] = [];
  const named = environment.SCIENCEWORLD_JAR;
  if (jar === undefined && named !== undefined) {
    lines.push(
      `no ScienceWorld: SCIENCEWORLD_JAR names ${named}, which is no file; name the jar of its Python package`,
    );
  }
  if (java === undefined && (jar !== undefined || named !== undefined)) {
    lines.push("no Java for ScienceWorld; on Debian: apt install default-jre-headless");
  }
  return lines;
}

function adviseHardware({ traces, environment, versions }: Findings): string {
  const variable = DRIVER_VARIABLES.find((name) => environment[name]);
  if (variable) return `no GPU in use: ${variable} limits the drivers; unset it to see the others`;
  if (!versions.platform.startsWith("linux")) return "no GPU found: install the driver of its vendor";
  const [file] = traces.gpuFiles;
  if (file === undefined) {
    return "no GPU on this machine (no device file): use one with a GPU for real training, or give the container access to it";
  }
  if (file.endsWith("nvidiactl")) {
    return (
      "an NVIDIA GPU is here but Vulkan does not see it: install the Vulkan part of its driver (Debian " +
      "nvidia-vulkan-icd, Ubuntu libnvidia-gl-VERSION); in containers set NVIDIA_DRIVER_CAPABILITIES=all"
    );
  }
  if (file.endsWith("dxg")) {
    return "a GPU is here through WSL but Vulkan does not see it: run Node on Windows itself, or install Mesa's dzn driver";
  }
  return `a GPU is here (${file}) but Vulkan does not see it: install its driver, and let the user read that file (group render)`;
}

function adviseMesa({ adapter, error, installedAdapters, traces }: Findings): string[] {
  const isOld =
    isMesaTooOld(adapter?.choice.messages ?? [error ?? ""]) ||
    Number.parseInt(traces.mesaPackage ?? "", 10) < OLDEST_MESA;
  if (isOld) return [`the installed Mesa is too old for Dawn; on Debian 12: ${MESA_CURE}`];
  if (adapter?.choice.kind !== "swiftshader" || installedAdapters.some((name) => /llvmpipe/.test(name)))
    return [];
  return [
    `lavapipe is several times faster than SwiftShader: ${MESA_CURE} (Debian 12; elsewhere without -t)`,
  ];
}

function adviseFeatures({ choice, features, clock, computes }: AdapterReport): string[] {
  const lines: string[] = [];
  if (!computes) lines.push("wrong results: update the driver, or choose another adapter with --adapter");
  if (!features.includes("shader-f16")) {
    const cure =
      choice.kind === "swiftshader" ? "SwiftShader has none; lavapipe has" : "a newer driver may have it";
    lines.push(`no f16, kernels use f32: ${cure}`);
  }
  if (!features.includes("subgroups"))
    lines.push("no subgroups, slower kernels are used: a newer driver may have them");
  if (!features.includes("timestamp-query")) {
    lines.push("no timestamps, bench measures wall time only: a newer driver may have them");
  } else if (clock === undefined) {
    lines.push("the GPU's clock stands still, bench measures wall time only: update the driver");
  }
  return lines;
}
