/** The one place where a command opens the GPU and where it is closed again. */

import type { Preset } from "../../gpu/presets.js";
import { type MatmulPrecision, Runtime } from "../../gpu/runtime.js";
import { type OpenGpu, openGpu } from "../../host/gpu/drivers.js";
import { checkedPrecision } from "../../host/gpu/matrix_check.js";
import type { KeptTuning } from "../../host/tuning/tuning_record.js";
import type { CliContext } from "./options.js";
import { type AppliedTuning, chooseTuning, mayTune, type TuningWish } from "./tuning.js";

/** The options that `gpuCommand` gives. */
export interface GpuOptions {
  adapter: string;
  preset: Preset;
  cacheDir?: string;
  /** of matrix products */
  matmul: MatmulPrecision;
  /** false after --no-tune */
  tune?: boolean;
  /** default: `record` */
  tuning?: TuningWish;
  /** choices that a resumed run began with */
  begun?: readonly KeptTuning[];
}

/** An open GPU, for the length of one command. */
export interface GpuSession extends OpenGpu {
  runtime: Runtime;
  /** the choices that kernels run with */
  tuning: AppliedTuning;
}

/** Opens the GPU, runs `action` and closes the GPU, also when the action fails.
 *  @returns what the action returns
 *  @throws AdapterError when no adapter fits, DeviceError when it refuses a device, and what the action throws */
export async function withGpu<T>(
  options: GpuOptions,
  { env, terminal }: CliContext,
  action: (session: GpuSession) => Promise<T>,
): Promise<T> {
  const { adapter, preset, matmul } = options;
  // a variable that is set to nothing counts as not set
  const cacheFolder = options.cacheDir || undefined;
  const gpu = { adapter, preset, env, cacheFolder, logger: terminal };
  const opened = await openGpu(gpu);
  const { choice } = opened;
  terminal.info(`adapter: ${choice.driver || choice.device} on ${choice.backend} (${choice.reason})`);
  for (const message of choice.messages) terminal.detail(`driver: ${message}`);
  const matmulPrecision = await checkedPrecision(matmul, opened, { env, cacheFolder, logger: terminal });
  const wish = mayTune(options.tune, env) || options.tuning === "again" ? options.tuning : "shipped";
  const request = { wish: wish ?? "record", begun: options.begun, matmulPrecision, gpu };
  const tuning = await chooseTuning(choice, request);
  const session: GpuSession = {
    ...opened,
    runtime: await Runtime.create(opened, { logger: terminal, matmulPrecision, tuning: tuning.choices }),
    tuning,
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
