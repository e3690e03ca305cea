/** Opens a GPU in Node: finds the drivers of this machine, chooses an adapter and says why. */
import { availableParallelism } from "node:os";
import type { Environment } from "../../core/environment.js";
import type { Logger } from "../../core/logger.js";
import { type Preset, presetOptions } from "../../gpu/presets.js";
import type { Beside, Wait } from "../../gpu/runtime.js";
import { defaultCacheFolder } from "../files/folders.js";
import { type AdapterFacts, describeAdapter } from "./adapters.js";
import { type Candidate, chooseAdapter, type Machine } from "./choice.js";
import { type Backend, backendOf, lookForAdapter, NO_SUCH_DEVICE } from "./dawn.js";
import { loadLibrary } from "./native.js";
import { findSwiftShaderArchive, unpackSwiftShader } from "./swiftshader.js";
import { waitWithPauses } from "./waiting.js";

/** Variables by which a user tells the Vulkan loader which drivers exist, in the loader's order of precedence. */
export const DRIVER_VARIABLES = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] as const;

/** Where to look and what for. */
export interface OpenGpuOptions {
  /** `auto`, `gpu`, `hardware`, `lavapipe`, `swiftshader` or a part of an adapter's name; default: UNCOUPLE_ADAPTER of
   *  `env`, else `auto` */
  adapter?: string;
  preset: Preset;
  /** environment variables, as the process got them */
  env: Environment;
  /** where SwiftShader is unpacked; default: the user's cache folder */
  cacheFolder?: string;
  logger: Logger;
}

/** The adapter that was chosen, and why. */
export interface AdapterChoice extends AdapterFacts {
  /** what the user asked for, `auto` when nothing */
  requested: string;
  reason: string;
  backend: Backend;
  preset: Preset;
  /** whether kernels laid out for CPU drivers fit better than those for GPUs */
  cpuFamily: boolean;
  /** what loader, drivers and Dawn complained about during the search, one line each */
  messages: readonly string[];
}

/** An open adapter. `gpu` must be kept as long as anything made from it is in use. */
export interface OpenGpu {
  gpu: GPU;
  adapter: GPUAdapter;
  choice: AdapterChoice;
  /** With pauses where the adapter runs on the CPU. */
  wait?: Wait;
  /** On lavapipe with its cache on disk, where the machine has more than one core. */
  beside?: Beside;
}

/** Chooses and opens an adapter: what the user names, else GPU, else installed lavapipe, else SwiftShader from npm.
 *  @returns an adapter that has made no device yet; each call opens a new one
 *  @throws AdapterError when there is none; the message says what was tried and what to do
 *  @remarks never changes a user's VK_* variables; needs no root and no system Vulkan loader */
export async function openGpu(options: OpenGpuOptions): Promise<OpenGpu> {
  const requested = options.adapter || options.env.UNCOUPLE_ADAPTER || "auto";
  const machine = await inspectMachine(options);
  const { facts, handle, reason } = await chooseAdapter(requested, machine);
  const choice: AdapterChoice = {
    ...facts,
    requested,
    reason,
    backend: backendOf(process.platform),
    preset: options.preset,
    cpuFamily: facts.isSoftware,
    messages: machine.messages,
  };
  const { again, ...open } = handle;
  const devices = facts.kind === "lavapipe" && !hasNoCache(options.env) ? devicesBeside() : 0;
  return {
    ...open,
    choice,
    ...(facts.isSoftware && { wait: waitWithPauses }),
    ...(devices > 0 && { beside: { devices, open: again } }),
  };
}

/** Devices beside the first one for its pipelines' machine code: more than a few wait for the longest one. */
const devicesBeside = (): number => Math.min(availableParallelism(), 4) - 1;

/** Whether Mesa is told to keep no machine code: then no device finds what another made. */
function hasNoCache(env: Environment): boolean {
  const told = env.MESA_SHADER_CACHE_DISABLE ?? env.MESA_GLSL_CACHE_DISABLE;
  return /^(1|y|yes|t|true)$/i.test(told ?? "");
}

/** Device names of all adapters of the installed drivers, the chosen one included. */
export async function listAdapters(options: OpenGpuOptions): Promise<string[]> {
  return (await inspectMachine(options)).installedNames();
}

type Handle = Pick<OpenGpu, "gpu" | "adapter"> & { again: () => Promise<GPUAdapter | undefined> };

async function inspectMachine(options: OpenGpuOptions): Promise<Machine<Handle>> {
  const backend = backendOf(process.platform);
  const messages: string[] = [];
  const dawnOptions = presetOptions(options.preset);

  const look = async (deviceName?: string, variables?: Record<string, string>) => {
    const found = await lookForAdapter(backend, { options: dawnOptions, deviceName, variables });
    for (const message of found.messages) if (!messages.includes(message)) messages.push(message);
    return found;
  };
  const open = async (deviceName?: string, variables?: Record<string, string>) => {
    const { gpu, adapter, again } = await look(deviceName, variables);
    return adapter && { facts: describeAdapter(adapter.info), handle: { gpu, adapter, again } };
  };
  const machine: Machine<Handle> = {
    installed: (deviceName) => open(deviceName),
    installedNames: async () => (await look(NO_SUCH_DEVICE)).names,
    messages,
  };
  if (backend === "d3d12") machine.softwareName = "Microsoft";
  if (backend === "vulkan") await addLinuxDrivers(machine, options, open, messages);
  return machine;
}

/** On Linux: the user's variables, a Vulkan loader where the system has none, and SwiftShader from npm. */
async function addLinuxDrivers(
  machine: Machine<Handle>,
  options: OpenGpuOptions,
  open: (deviceName?: string, variables?: Record<string, string>) => Promise<Candidate<Handle> | undefined>,
  messages: string[],
): Promise<void> {
  const variable = DRIVER_VARIABLES.find((name) => options.env[name]);
  if (variable !== undefined) machine.userDrivers = `${variable}=${options.env[variable]}`;
  // The package holds x64 code only.
  const archive = process.arch === "x64" ? await findSwiftShaderArchive() : undefined;
  const cacheFolder = options.cacheFolder ?? defaultCacheFolder(options.env);
  if (!hasVulkanLoader() && archive !== undefined) {
    loadLibrary((await unpackSwiftShader(archive, cacheFolder, options.logger)).loader);
  }
  if (archive === undefined) {
    if (process.arch === "x64") {
      messages.push(
        "SwiftShader is not there: got no package @sparticuz/chromium, an optional dependency; npm install @sparticuz/chromium brings it",
      );
    }
    return;
  }
  machine.bundled = async () => {
    const { manifest } = await unpackSwiftShader(archive, cacheFolder, options.logger);
    // Loaders before 1.3.207 know only the older name.
    return open("SwiftShader", { VK_DRIVER_FILES: manifest, VK_ICD_FILENAMES: manifest });
  };
}

/** Loads the system's Vulkan loader, which Dawn would do next anyway. */
function hasVulkanLoader(): boolean {
  try {
    loadLibrary("libvulkan.so.1");
    return true;
  } catch {
    return false;
  }
}
