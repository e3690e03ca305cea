/** The one place where a command opens the GPU and where it is closed again. */

import type { Preset } from "../gpu/presets.js";
import { type MatmulPrecision, Runtime } from "../gpu/runtime.js";
import { type OpenGpu, openGpu } from "../host/drivers.js";
import { checkedPrecision } from "../host/matrix_check.js";
import type { CliContext } from "./options.js";

/** The options that `gpuCommand` gives. */
export interface GpuOptions {
  adapter: string;
  preset: Preset;
  cacheDir?: string;
  /** of matrix products */
  matmul: MatmulPrecision;
}

/** An open GPU, for the length of one command. */
export interface GpuSession extends OpenGpu {
  runtime: Runtime;
}

/** Opens the GPU, runs `action` and closes the GPU, also when the action fails.
 *  @returns what the action returns
 *  @throws AdapterError when no adapter fits, DeviceError when it refuses a device, and what the action throws */
export async function withGpu<T>(
  options: GpuOptions,
  { env, terminal }: CliContext,
  action: (session: GpuSession) => Promise<T>,
): Promise<T> {
  const { adapter, preset, cacheDir: cacheFolder, matmul } = options;
  const opened = await openGpu({ adapter, preset, env, cacheFolder, logger: terminal });
  const { choice } = opened;
  terminal.info(`adapter: ${choice.driver || choice.device} on ${choice.backend} (${choice.reason})`);
  for (const message of choice.messages) terminal.detail(`driver: ${message}`);
  const matmulPrecision = await checkedPrecision(matmul, opened, { env, cacheFolder, logger: terminal });
  const session: GpuSession = {
    ...opened,
    runtime: await Runtime.create(opened, { logger: terminal, matmulPrecision }),
  };
  let result: T;
  try {
    result = await action(session);
  } catch (error) {
    // The action's error is the one to show; closing a device that failed may fail as well.
    await session.runtime.dispose().catch((failure) => terminal.detail(`closing the GPU failed: ${failure}`));
    throw error;
  }
  await session.runtime.dispose();
  return result;
}
