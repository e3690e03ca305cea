/** May products be computed by matrix hardware here? Tried once in a process of its own, and remembered in the cache folder. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Environment } from "../../core/environment.js";
import { hashText } from "../../core/hash.js";
import type { Logger } from "../../core/logger.js";
import { matrixConfigsOf } from "../../gpu/device_facts.js";
import type { MatmulPrecision } from "../../gpu/runtime.js";
import { readIfPresent, writeFileAtomic } from "../files/files.js";
import { defaultCacheFolder } from "../files/folders.js";
import { jsonText } from "../files/json_file.js";
import { findOwnPackage, findPackage } from "../files/packages.js";
import type { OpenGpu, OpenGpuOptions } from "./drivers.js";

/** What the child process is asked. */
export interface MatrixJob extends Omit<OpenGpuOptions, "logger"> {
  matmulPrecision: MatmulPrecision;
}

/** What it answers: nothing but right products has no mistake. */
export interface MatrixAnswer {
  mistake?: string;
}

/** Tries one job; a crash or a hang becomes a mistake as well. */
export type MatrixRunner = (job: MatrixJob) => Promise<MatrixAnswer>;

/** Whether products may be computed by matrix hardware at one precision. */
export interface MatrixVerdict {
  usable: boolean;
  /** one line for people */
  reason: string;
}

export interface MatrixCheckOptions {
  /** environment variables, as the process got them */
  env: Environment;
  /** where verdicts are kept; default: the user's cache folder */
  cacheFolder?: string;
  logger: Logger;
  /** default: a child process with 10 seconds */
  run?: MatrixRunner;
}

const TIME_LIMIT = 10_000;
/** Of what a crashing driver printed. */
const LAST_CHARACTERS = 300;

/**
 * The precision to open a runtime with: the wanted one, or `f32` with a warning where this adapter and driver do not
 * compute it right.
 * @param opened the adapter in use; nothing is done to it
 */
export async function checkedPrecision(
  wanted: MatmulPrecision,
  opened: Pick<OpenGpu, "adapter" | "choice">,
  options: MatrixCheckOptions,
): Promise<MatmulPrecision> {
  if (wanted === "f32") return wanted;
  const { usable, reason } = await checkMatrixProducts(wanted, opened, options);
  if (usable) return wanted;
  options.logger.warn(`matrix products of ${wanted} are not used, but those of f32: ${reason}`);
  return "f32";
}

/**
 * Tries products by matrix hardware in a child process, unless adapter, driver and versions are those of an earlier try.
 * Adapters without fitting hardware cost nothing.
 */
export async function checkMatrixProducts(
  matmulPrecision: Exclude<MatmulPrecision, "f32">,
  { adapter, choice }: Pick<OpenGpu, "adapter" | "choice">,
  { env, cacheFolder = defaultCacheFolder(env), logger, run = runInChild }: MatrixCheckOptions,
): Promise<MatrixVerdict> {
  const configs = matrixConfigsOf(adapter.info).filter(
    ({ componentType, resultComponentType }) => componentType === "f16" && resultComponentType === "f32",
  );
  if (configs.length === 0)
    return { usable: false, reason: "the adapter lists no f16 matrices with f32 sums" };
  const { vendor, device, description, preset } = choice;
  const versions = [(await findOwnPackage())?.version, (await findPackage("webgpu"))?.version];
  const key = JSON.stringify([vendor, device, description, configs, ...versions, preset, matmulPrecision]);
  const path = join(cacheFolder, `matrix-${hashText(key).toString(16).padStart(8, "0")}.json`);
  const known = parseVerdict(await readIfPresent(path), key);
  if (known) return known;
  logger.info(`trying matrix products of ${matmulPrecision} on ${device}`);
  const { mistake } = await run({ adapter: choice.requested, preset, env, cacheFolder, matmulPrecision });
  const verdict: MatrixVerdict =
    mistake === undefined
      ? { usable: true, reason: "small products were right" }
      : { usable: false, reason: `${mistake}. To try again, delete ${path}` };
  await keep(path, jsonText({ key, ...verdict }), logger);
  return verdict;
}

/** A damaged file, or one of another key with the same hash, counts as none. */
function parseVerdict(bytes: Buffer | undefined, key: string): MatrixVerdict | undefined {
  if (bytes === undefined) return undefined;
  try {
    const value = JSON.parse(bytes.toString("utf8"));
    return value?.key === key && typeof value.usable === "boolean" && typeof value.reason === "string"
      ? { usable: value.usable, reason: value.reason }
      : undefined;
  } catch {
    return undefined;
  }
}

async function keep(path: string, text: string, logger: Logger): Promise<void> {
  try {
    await writeFileAtomic(path, text);
  } catch (error) {
    logger.warn(`the result of the matrix test cannot be kept: got ${(error as Error).message}`);
  }
}

/** @param script that takes a MatrixJob and answers a MatrixAnswer
 *  @param timeLimit in milliseconds, after which the process is killed */
export async function runInChild(
  job: MatrixJob,
  script = fileURLToPath(new URL("./matrix_child.js", import.meta.url)),
  timeLimit = TIME_LIMIT,
): Promise<MatrixAnswer> {
  const child = fork(script, { execArgv: [], stdio: ["ignore", "ignore", "pipe", "ipc"] });
  let answer: MatrixAnswer | undefined;
  let printed = "";
  let isLate = false;
  child.once("message", (message: MatrixAnswer) => {
    answer = message;
  });
  child.stderr?.on("data", (bytes: Buffer) => {
    printed = (printed + bytes.toString("utf8")).slice(-LAST_CHARACTERS);
  });
  const timer = setTimeout(() => {
    isLate = true;
    child.kill("SIGKILL");
  }, timeLimit);
  const closed = once(child, "close");
  // a child that is gone by now tells so by its end
  child.send(job, () => {});
  const [code, signal] = await closed;
  clearTimeout(timer);
  if (answer) return answer;
  if (isLate) return { mistake: `the driver gave no result in ${timeLimit / 1000} s` };
  const words = printed.trim().replaceAll("\n", " | ");
  return {
    mistake: `the driver ended the process (${signal ?? `exit code ${code}`})${words && `: ${words}`}`,
  };
}
