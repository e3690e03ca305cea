/** Opens Dawn instances. Every instance asks the Vulkan loader anew, so one process can look at one set of drivers after
 *  another; which set is decided by environment variables during the look. */

import { AdapterError } from "../../core/errors.js";
import { errorText } from "../files/error_codes.js";
import { captureStderr, withNativeEnvironment } from "./native.js";

/** WebGPU implementations that the package runs on. */
export type Backend = "vulkan" | "metal" | "d3d12";

/** What one look at the drivers found. */
export interface Look {
  /** keep it as long as the adapter or its device is in use */
  gpu: GPU;
  adapter: GPUAdapter | undefined;
  /** the same adapter anew, of the same GPU object */
  again: () => Promise<GPUAdapter | undefined>;
  /** device names of all adapters, filled when an adapter was asked for by a name that none has */
  names: string[];
  /** what loader, drivers and Dawn complained about, one line each */
  messages: string[];
}

/** What to look for. */
export interface LookOptions {
  /** options of Dawn's `create()` */
  options: readonly string[];
  /** part of the wanted device name, as the driver spells it; without it the best adapter is taken, GPUs first */
  deviceName?: string;
  /** environment variables for the Vulkan loader during this look */
  variables?: Readonly<Record<string, string>>;
}

/** No driver has a device of this name: asking for it makes Dawn list the devices there are. */
export const NO_SUCH_DEVICE = "no such device, list them";

/** Lines that every look prints, whatever the driver. */
const NOISE = /artificially reduced from|^\s+at |^ - While|^\s*$/;

export function backendOf(platform: NodeJS.Platform): Backend {
  if (platform === "darwin") return "metal";
  return platform === "win32" ? "d3d12" : "vulkan";
}

/** Asks Dawn for an adapter.
 *  @throws AdapterError when Dawn's binary for this platform is missing */
export async function lookForAdapter(backend: Backend, look: LookOptions): Promise<Look> {
  const { create } = await importDawn();
  const options = [`backend=${backend}`, ...look.options];
  if (look.deviceName !== undefined) options.push(`adapter=${look.deviceName}`);
  // Dawn finds and judges the adapters inside the call, before it returns the promise
  const quietly = <T>(ask: () => T) =>
    backend === "vulkan"
      ? captureStderr(() => withNativeEnvironment(look.variables ?? {}, ask))
      : { result: ask(), text: "" };
  const request = (gpu: GPU) => settle(gpu.requestAdapter({ powerPreference: "high-performance" }));
  const { result, text } = quietly(() => {
    const gpu = create(options);
    return { gpu, request: request(gpu) };
  });
  const { adapter, refusal } = await result.request;
  return {
    gpu: result.gpu,
    adapter,
    again: async () => (await quietly(() => request(result.gpu)).result).adapter,
    names: [...refusal.matchAll(/^ \* backend: '.*', name: '(.*)'$/gm)].map((match) => match[1]),
    messages: readMessages(text),
  };
}

/** @param text what was printed to stderr during a look
 *  @returns the complaints in it, without repetitions and stack lines */
export function readMessages(text: string): string[] {
  const lines = text.split("\n").filter((line) => !NOISE.test(line));
  return [...new Set(lines.map((line) => line.replace(/^(Warning|Error): /, "").trim()))];
}

/** Dawn rejects with a list of adapters when none has the wanted name, and resolves to null when there is none at all. */
async function settle(
  request: Promise<GPUAdapter | null>,
): Promise<{ adapter: GPUAdapter | undefined; refusal: string }> {
  try {
    return { adapter: (await request) ?? undefined, refusal: "" };
  } catch (error) {
    const refusal = errorText(error);
    if (/^no adapter /.test(refusal)) return { adapter: undefined, refusal };
    throw error;
  }
}

/** Loads the binary and makes WebGPU's constants (`GPUBufferUsage`, ...) global, as browsers do. @throws AdapterError */
export async function importDawn(): Promise<typeof import("webgpu")> {
  try {
    const dawn = await import("webgpu");
    Object.assign(globalThis, dawn.globals);
    return dawn;
  } catch (error) {
    throw new AdapterError(
      `[adapter] Dawn cannot be loaded: got ${errorText(error)}, expected the ` +
        `webgpu package's binary for ${process.platform}-${process.arch}. Run npm install on this machine; binaries ` +
        `exist for linux-x64, linux-arm64, darwin, win32-x64 and win32-arm64.`,
      { cause: error },
    );
  }
}
