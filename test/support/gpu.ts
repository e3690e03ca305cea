/** The adapter that tests run on. */
import { silentLogger } from "../../src/core/logger.js";
import { PRESETS, type Preset } from "../../src/gpu/presets.js";
import { type OpenGpu, openGpu } from "../../src/host/gpu/drivers.js";

/** Opens the adapter that UNCOUPLE_ADAPTER names (default: the best one) under UNCOUPLE_PRESET (default: `checked`).
 *  @param adapter another one, by name
 *  @param otherwise preset where UNCOUPLE_PRESET names none
 *  @returns a fresh adapter for one device; keep `gpu` as long as the device lives
 *  @throws AdapterError when there is none: a machine without any adapter fails the tests */
export async function testAdapter(adapter?: string, otherwise: Preset = "checked"): Promise<OpenGpu> {
  const preset = PRESETS.find((name) => name === process.env.UNCOUPLE_PRESET) ?? otherwise;
  const options = { preset, env: process.env, logger: silentLogger, ...(adapter && { adapter }) };
  // test files that run side by side take all cores as it is
  const { beside: _, ...opened } = await openGpu(options);
  return opened;
}
