/** Which kernels a command runs: as shipped, as measured before, or measured now. */

import { Option } from "@commander-js/extra-typings";
import Table from "cli-table3";
import { DeviceError } from "../../core/errors.js";
import { type MatmulPrecision, Runtime, type Tuning } from "../../gpu/runtime.js";
import { defaultCacheFolder } from "../../host/files/folders.js";
import { type AdapterChoice, type OpenGpuOptions, openGpu } from "../../host/gpu/drivers.js";
import { tuneKernels } from "../../host/tuning/tuner.js";
import {
  type KeptTuning,
  keepTuning,
  readTuning,
  type TuningRecord,
  tuningKey,
} from "../../host/tuning/tuning_record.js";
import { LEAST_GAIN, type TuningResult, tuningOf } from "../../kernels/tuning/tuning_search.js";

/**
 * `shipped`: nothing that was measured. `record`: what was measured before, if anything. `first_use`: the same, and on a GPU
 * that was not measured yet, do it. `again`: measure in any case.
 */
export type TuningWish = "shipped" | "record" | "first_use" | "again";

/** Where the choices in force come from; `run`: those that a resumed run began with. */
export type TuningSource = "shipped" | "record" | "measured" | "run";

/** The choices in force. */
export interface AppliedTuning extends KeptTuning {
  readonly source: TuningSource;
  /** All that was measured, also where the shipped variant stays; absent unless the record is in force. */
  readonly record?: TuningRecord;
}

export interface TuningRequest {
  readonly wish: TuningWish;
  /** Choices that a resumed run began with, by key: stronger than the wish. */
  readonly begun?: readonly KeptTuning[];
  readonly matmulPrecision: MatmulPrecision;
  readonly gpu: OpenGpuOptions;
  /** Default: on the adapter, opened a second time. @returns undefined when the device failed on the way */
  readonly measure?: (choice: AdapterChoice, request: TuningRequest) => Promise<TuningResult[] | undefined>;
}

/** Milliseconds that measuring may take, about. CPU drivers take tenths of a second to compile each variant. */
const BUDGET = { gpu: 8000, software: 15_000 } as const;

/** `--no-tune`, for commands that run kernels. */
export function noTuneOption() {
  return new Option("--no-tune", "run kernels as shipped, not as measured on this adapter (UNCOUPLE_TUNE=0)");
}

/** Whether flag and environment let measured choices be used. */
export function mayTune(flag: boolean | undefined, env: OpenGpuOptions["env"]): boolean {
  return flag !== false && env.UNCOUPLE_TUNE !== "0";
}

/** The choices to open a runtime with. Measuring opens the adapter a second time and closes it again. */
export async function chooseTuning(choice: AdapterChoice, request: TuningRequest): Promise<AppliedTuning> {
  const { wish, begun = [], matmulPrecision, gpu, measure = measureKernels } = request;
  const key = await tuningKey(choice, matmulPrecision);
  const own = begun.findLast((kept) => kept.key === key);
  if (own) return { ...own, source: "run" };
  if (wish === "shipped") return { key, choices: {}, source: "shipped" };
  const cacheFolder = gpu.cacheFolder ?? defaultCacheFolder(gpu.env);
  const known = wish === "again" ? undefined : await readTuning(cacheFolder, key, gpu.logger);
  if (known) return { key, choices: tuningOf(known.results), source: "record", record: known };
  // shipped choices were measured on CPU drivers, and measuring there takes longer than a short run gains by it
  if (wish === "record" || (wish === "first_use" && choice.isSoftware))
    return { key, choices: {}, source: "shipped" };
  const results = await measure(choice, request);
  if (!results) return { key, choices: {}, source: "shipped" };
  const record = { key, date: new Date().toISOString(), results };
  await keepTuning(cacheFolder, record, gpu.logger);
  return { key, choices: tuningOf(results), source: "measured", record };
}

async function measureKernels(
  { device, isSoftware }: AdapterChoice,
  { matmulPrecision, gpu }: TuningRequest,
): Promise<TuningResult[] | undefined> {
  const { logger } = gpu;
  logger.info(`measuring kernels on ${device}: some seconds, once for each driver and version`);
  try {
    const runtime = await Runtime.create(await openGpu(gpu), { matmulPrecision });
    try {
      return await tuneKernels(runtime, {
        now: () => performance.now(),
        budgetMs: isSoftware ? BUDGET.software : BUDGET.gpu,
        warn: (message) => logger.warn(message),
      });
    } finally {
      await runtime.dispose();
    }
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    logger.warn(`kernels run as shipped, measuring them failed: ${error.message}`);
    return undefined;
  }
}

const ORIGIN: Readonly<Record<TuningSource, string>> = {
  shipped: "as shipped",
  record: "as measured on this adapter before",
  measured: "as measured on this adapter now",
  run: "as when the run began",
};

/** One line: which kernels run, and what differs from the shipped ones. */
export function tuningLine({ source, choices }: Pick<AppliedTuning, "source" | "choices">): string {
  const changed = Object.entries(choices).map(([choice, variant]) => `${choice} ${variant}`);
  if (source === "shipped") return `kernels: ${ORIGIN.shipped}`;
  return `kernels: ${ORIGIN[source]}, ${changed.length === 0 ? "all as shipped" : changed.join(", ")}`;
}

/** Every choice that was measured, shipped and chosen variant side by side. */
export function tuningTable(results: readonly TuningResult[]): string {
  const table = new Table({
    head: ["choice", "measured on", "shipped", "ms", "chosen", "ms", "gain"],
    colAligns: ["left", "left", "left", "right", "left", "right", "right"],
    style: { head: [], border: [], compact: true },
  });
  const ms = (value: number) => value.toPrecision(3);
  for (const { choice, shape, shipped, shippedMs, chosen, chosenMs } of results) {
    const isSame = chosen === shipped;
    table.push([
      choice,
      shape,
      shipped,
      ms(shippedMs),
      isSame ? "the same" : chosen,
      isSame ? "" : ms(chosenMs),
      isSame ? "" : `${(100 * (shippedMs / chosenMs - 1)).toFixed(0)} %`,
    ]);
  }
  return `${table.toString()}\nA variant replaces the shipped one when it saves ${100 * LEAST_GAIN} % of its time, twice.`;
}

/** What benchmarks and reports say of the choices in force. */
export function tuningFacts({ source, choices, record }: AppliedTuning): {
  readonly source: TuningSource;
  readonly choices: Tuning;
  readonly measured?: string;
} {
  return { source, choices, ...(record && { measured: record.date }) };
}
