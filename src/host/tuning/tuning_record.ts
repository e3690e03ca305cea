/** What the autotuner found on an adapter, kept in the user's cache folder by adapter, driver and versions. */
import { join } from "node:path";
import { z } from "zod";
import { hashText } from "../../core/hash.js";
import type { Logger } from "../../core/logger.js";
import type { MatmulPrecision, Tuning } from "../../gpu/runtime.js";
import type { TuningResult } from "../../kernels/tuning/tuning_search.js";
import { readIfPresent, writeFileAtomic } from "../files/files.js";
import { jsonText } from "../files/json_file.js";
import { findOwnPackage, findPackage } from "../files/packages.js";
import type { AdapterChoice } from "../gpu/drivers.js";

const recordSchema = z.object({
  /** What it holds for; see `tuningKey`. */
  key: z.string(),
  /** ISO 8601 */
  date: z.string(),
  results: z.array(
    z.object({
      choice: z.string(),
      shape: z.string(),
      shipped: z.string(),
      shippedMs: z.number(),
      chosen: z.string(),
      chosenMs: z.number(),
      dropped: z.record(z.string(), z.string()),
    }),
  ),
});

export interface TuningRecord {
  readonly key: string;
  readonly date: string;
  readonly results: readonly TuningResult[];
}

/** Choices that a run was made with, as its folder keeps them. */
export interface KeptTuning {
  readonly key: string;
  readonly choices: Tuning;
}

/** Everything that may change which variant is fastest: adapter, driver, toggles, precision, versions of this package and Dawn. */
export async function tuningKey(
  { vendor, architecture, device, description, backend, preset }: AdapterChoice,
  matmulPrecision: MatmulPrecision,
): Promise<string> {
  const versions = [(await findOwnPackage())?.version, (await findPackage("webgpu"))?.version];
  const adapter = [vendor, architecture, device, description, backend, preset];
  return JSON.stringify([...adapter, matmulPrecision, ...versions]);
}

export function tuningPath(cacheFolder: string, key: string): string {
  return join(cacheFolder, `tuning-${hashText(key).toString(16).padStart(8, "0")}.json`);
}

/** @returns undefined when there is none, or one that cannot be used, which is said */
export async function readTuning(
  cacheFolder: string,
  key: string,
  logger: Logger,
): Promise<TuningRecord | undefined> {
  const path = tuningPath(cacheFolder, key);
  try {
    const bytes = await readIfPresent(path);
    if (bytes === undefined) return undefined;
    const record = recordSchema.parse(JSON.parse(bytes.toString("utf8")));
    if (record.key === key) return record;
    logger.warn(`${path} is not used: it holds what was measured on another adapter or by another version`);
  } catch (error) {
    const reason = error instanceof z.ZodError ? error.issues[0].message : (error as Error).message;
    logger.warn(`${path} is not used: it is no tuning record (${reason})`);
  }
  return undefined;
}

/** Keeps a record; a folder that cannot be written costs another measurement, and is said. */
export async function keepTuning(cacheFolder: string, record: TuningRecord, logger: Logger): Promise<void> {
  try {
    await writeFileAtomic(tuningPath(cacheFolder, record.key), jsonText(record));
  } catch (error) {
    logger.warn(`the tuning cannot be kept: got ${(error as Error).message}`);
  }
}
