/** The folder of one run: made once, written while training goes on, gone on with after a stop or a kill. */
import { appendFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { Alert } from "../../core/alerts.js";
import { ConfigError, DataError } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import {
  type Checkpoint,
  type Evaluation,
  type EvaluationTranscript,
  type Metrics,
  OLDEST_RESUMABLE,
  RECORD_VERSION,
  type RolloutRow,
  type RunInfo,
  type RunSession,
  type RunSink,
  type RunStatus,
} from "../../core/run_record.js";
import type { LoraAdapter } from "../../model/lora.js";
import { pathExists, readIfPresent, recoverEntries, writeFileAtomic } from "../files/files.js";
import { jsonText } from "../files/json_file.js";
import { AppendFile, jsonLine, readJsonLines } from "../files/json_lines.js";
import { type AdapterBase, writeAdapterFolder } from "../model/adapter_folder.js";
import { type ModelFolderContent, writeModelFolder, writeModelParts } from "../model/model_folder_write.js";
import {
  finite,
  type LoadedCheckpoint,
  readNewestCheckpoint,
  setAsideAfter,
  settleCheckpoints,
  stepName,
  writeCheckpoint,
} from "./checkpoints.js";
import type { GitSnapshot } from "./git.js";
import { dropRecordsAfter } from "./records_after.js";
import { abandonedOnError, claimFolder, releasedOnError, type WantedFolder } from "./run_claim.js";
import { BASE_FILE, configSum, RUN_FILES, readRunInfo } from "./run_info.js";
import { RunLock } from "./run_lock.js";
import { writeTranscripts } from "./transcripts.js";

/** What a process tells about itself. */
export type SessionFacts = Omit<RunSession, "started" | "fromStep" | "git"> & {
  readonly git: GitSnapshot | null;
};

/** What both ways to open a run folder need. */
export interface RunFolderOptions {
  /** YAML of the resolved configuration. */
  readonly config: string;
  /** YAML as the user gave it: files and overrides. */
  readonly input: string;
  readonly session: SessionFacts;
  /** How many checkpoints stay; null = all. */
  readonly keepCheckpoints: number | null;
  readonly clock: () => Date;
  readonly logger: Logger;
}

export interface NewRunOptions extends RunFolderOptions, WantedFolder {
  readonly seed: number;
}

/** A run that goes on. */
export interface ResumedRun {
  readonly folder: RunFolder;
  /** Undefined when the run never came to its first checkpoint: it starts again. */
  readonly checkpoint: LoadedCheckpoint | undefined;
  /** Evaluations that were recorded after the checkpoint's very step. */
  readonly evaluated: readonly Evaluation[];
  /** Metrics of the updates up to the checkpoint. */
  readonly metrics: readonly Metrics[];
}

/** An open run folder, which no other process can open meanwhile. Close it with `finish`. */
export class RunFolder implements RunSink {
  #info: RunInfo;
  /** What a resumed run said before: put back when the session fails before it has recorded anything. */
  #before: { readonly info: RunInfo; readonly config: Buffer | undefined } | undefined;

  private constructor(
    /** Absolute. */
    readonly path: string,
    info: RunInfo,
    private readonly files: {
      readonly metrics: AppendFile;
      readonly evaluations: AppendFile;
      readonly log: AppendFile;
    },
    private readonly options: RunFolderOptions,
    private readonly lock: RunLock,
  ) {
    this.#info = info;
  }

  /**
   * Makes the folder of a new run.
   * @throws ConfigError when the name is taken and `taken` is `refuse`
   */
  static async create(options: NewRunOptions): Promise<RunFolder> {
    const { path, lock } = await claimFolder(options);
    return abandonedOnError(path, lock, async () => {
      const now = options.clock().toISOString();
      await writeFileAtomic(join(path, RUN_FILES.config), options.config);
      await writeFileAtomic(join(path, RUN_FILES.input), options.input);
      return RunFolder.#open(path, options, lock, {
        recordVersion: RECORD_VERSION,
        name: path.slice(dirname(path).length + 1),
        seed: options.seed,
        status: "running",
        started: now,
        updated: now,
        step: 0,
        configSum: configSum(options.config),
        sessions: [],
      });
    });
  }

  /**
   * Goes on with a run: loads its newest complete checkpoint and drops every record of later updates, so that its files
   * become what they had been without the interruption.
   * @throws DataError when the folder holds no run, or its checkpoints cannot be read: nothing is changed then
   * @throws ConfigError when another process trains in it
   */
  static async resume(path: string, options: RunFolderOptions): Promise<ResumedRun> {
    const folder = resolve(path);
    await readRunInfo(folder);
    const lock = await RunLock.take(folder);
    return releasedOnError(lock, () => RunFolder.#goOn(folder, options, lock));
  }

  static async #goOn(folder: string, options: RunFolderOptions, lock: RunLock): Promise<ResumedRun> {
    const info = await readRunInfo(folder);
    checkResumable(folder, info);
    const checkpoints = join(folder, RUN_FILES.checkpoints);
    const { checkpoint, damaged } = await readNewestCheckpoint(checkpoints, options.logger);
    // the record follows each checkpoint: it never tells of one that was not whole
    const isGone = damaged.length === 0 && info.step > (checkpoint?.step ?? 0);
    if (isGone) tellGone(checkpoints, info.step, checkpoint, options.logger);
    await recoverEntries(folder);
    // without a checkpoint everything is made again, what was recorded before the first update too
    const step = checkpoint?.step ?? -1;
    const { logger } = options;
    await dropRecordsAfter(folder, step, { keepCopies: isGone || damaged.length > 0, logger });
    await setAsideAfter(checkpoints, step, logger);
    if (checkpoint) await settleCheckpoints(checkpoints, step, options.keepCheckpoints);
    const before = { info, config: await readIfPresent(join(folder, RUN_FILES.config)) };
    await writeFileAtomic(join(folder, RUN_FILES.config), options.config);
    const { reason: _old, ...kept } = { ...info, recordVersion: RECORD_VERSION };
    const opened = await RunFolder.#open(folder, options, lock, {
      ...kept,
      status: "running",
      step: Math.max(0, step),
      configSum: configSum(options.config),
    });
    opened.#before = before;
    const evaluations = (await readJsonLines(join(folder, RUN_FILES.evaluations))) as Evaluation[];
    return {
      folder: opened,
      checkpoint,
      evaluated: evaluations.filter((row) => row.step === step),
      metrics: (await readJsonLines(join(folder, RUN_FILES.metrics))) as Metrics[],
    };
  }

  static async #open(
    path: string,
    options: RunFolderOptions,
    lock: RunLock,
    info: RunInfo,
  ): Promise<RunFolder> {
    const { git, ...facts } = options.session;
    const session: RunSession = {
      ...facts,
      started: options.clock().toISOString(),
      fromStep: info.step,
      git: git && { commit: git.commit, dirty: git.dirty },
    };
    const number = info.sessions.length + 1;
    const diffFile = number === 1 ? RUN_FILES.diff : `code.${number}.diff`;
    if (git?.dirty) await writeFileAtomic(join(path, diffFile), git.diff);
    const sessions = [...info.sessions, session];
    const opened: AppendFile[] = [];
    const append = async (name: string) => {
      const file = await AppendFile.open(join(path, name));
      opened.push(file);
      return file;
    };
    try {
      const files = {
        metrics: await append(RUN_FILES.metrics),
        evaluations: await append(RUN_FILES.evaluations),
        log: await append(RUN_FILES.log),
      };
      const folder = new RunFolder(path, { ...info, sessions }, files, options, lock);
      await folder.#writeInfo({});
      return folder;
    } catch (error) {
      // nothing was appended yet: there is nothing to flush that the error would not tell of
      await Promise.allSettled(opened.map((file) => file.close()));
      throw error;
    }
  }

  /** As in `run.json`. */
  get info(): RunInfo {
    return this.#info;
  }

  async metrics(row: Metrics): Promise<void> {
    await this.lock.check();
    this.#before = undefined;
    await this.files.metrics.append(jsonLine(this.#stamped(row)));
  }

  async evaluation(row: Evaluation): Promise<void> {
    this.#before = undefined;
    await this.files.evaluations.append(jsonLine(this.#stamped(row)));
  }

  async transcripts(step: number, episodes: readonly EvaluationTranscript[]): Promise<void> {
    await this.lock.check();
    await writeTranscripts(this.path, step, episodes);
  }

  /** Records what was noticed. It happens rarely, so the file is opened for it. */
  async alert(alert: Alert): Promise<void> {
    await appendFile(join(this.path, RUN_FILES.alerts), jsonLine(this.#stamped(alert)));
  }

  async rollouts(step: number, rows: Iterable<RolloutRow>): Promise<void> {
    await this.lock.check();
    await writeFileAtomic(join(this.path, RUN_FILES.rollouts, `${stepName(step)}.jsonl`), encodeRows(rows));
  }

  /** Saves a checkpoint. All records written before it are on the disk before it exists. */
  async checkpoint(checkpoint: Checkpoint): Promise<void> {
    await this.lock.check();
    this.#before = undefined;
    await this.files.metrics.flush();
    await this.files.evaluations.flush();
    const folder = join(this.path, RUN_FILES.checkpoints);
    await writeCheckpoint(folder, checkpoint, this.options.keepCheckpoints);
    await this.#writeInfo({ step: checkpoint.step });
  }

  /** Adds a line to `run.log`. */
  log(message: string): void {
    // a failed write is thrown by `finish`, and must not go unheard when nobody waits for this one
    this.files.log.append(`${this.options.clock().toISOString()} ${message}\n`).catch(() => {});
  }

  /** A logger that writes to `run.log` beside another one. */
  logger(beside: Logger): Logger {
    const tee = (level: "info" | "warn") => (message: string) => {
      this.log(level === "warn" ? `warning: ${message}` : message);
      beside[level](message);
    };
    return { info: tee("info"), warn: tee("warn") };
  }

  /**
   * Keeps configuration and tokenizer of the policy that training begins with: with a checkpoint they are all that the run needs,
   * wherever it is taken, and who looks at its rollouts can read their tokens.
   * @param fingerprint of a model below an adapter, which the run does not keep
   */
  async keepModel(content: Omit<ModelFolderContent, "tensors">, fingerprint?: string): Promise<void> {
    const path = join(this.path, RUN_FILES.model);
    if (await pathExists(path)) return;
    await writeModelParts(path, content, fingerprint === undefined ? {} : { [BASE_FILE]: { fingerprint } });
  }

  /** Writes the trained policy to `export/` in Hugging Face's layout, in place of an older export. */
  async exportModel(content: ModelFolderContent): Promise<string> {
    await this.lock.check();
    const path = join(this.path, RUN_FILES.export);
    await writeModelFolder(
      path,
      { ...content, tensors: finite(content.tensors, "export") },
      { replace: true },
    );
    return path;
  }

  /** Writes the trained adapter to `adapter/` in PEFT's layout, in place of an older one. @param base the model below */
  async exportAdapter(adapter: LoraAdapter, base: AdapterBase): Promise<void> {
    await this.lock.check();
    await writeAdapterFolder(join(this.path, RUN_FILES.adapter), adapter, base);
  }

  /**
   * Records how the run ended, closes its files and lets other processes in.
   * @param step updates done; default: those of the last checkpoint
   * @param reason why it stopped or failed
   */
  async finish(status: RunStatus, step = this.#info.step, reason?: string): Promise<void> {
    try {
      const closed = await Promise.allSettled(Object.values(this.files).map((file) => file.close()));
      for (const end of closed) if (end.status === "rejected") throw end.reason;
      await this.lock.check();
      if (status === "failed" && this.#before !== undefined) await this.#putBack(this.#before);
    } catch (error) {
      await this.lock.release();
      throw error;
    }
    if (status === "failed" && this.#before !== undefined) return this.lock.release();
    try {
      await this.#writeInfo({ status, step, ...(reason !== undefined && { reason }) });
    } finally {
      await this.lock.release();
    }
  }

  /** A session that did nothing leaves the run as it was; its log says what happened. */
  async #putBack({
    info,
    config,
  }: {
    readonly info: RunInfo;
    readonly config: Buffer | undefined;
  }): Promise<void> {
    if (config !== undefined) await writeFileAtomic(join(this.path, RUN_FILES.config), config);
    await writeFileAtomic(join(this.path, RUN_FILES.info), jsonText(info));
  }

  #stamped<T extends object>(row: T): T & { time: number } {
    return { ...row, time: this.options.clock().getTime() / 1000 };
  }

  async #writeInfo(changes: Partial<RunInfo>): Promise<void> {
    this.#info = { ...this.#info, ...changes, updated: this.options.clock().toISOString() };
    await writeFileAtomic(join(this.path, RUN_FILES.info), jsonText(this.#info));
  }
}

/** Checkpoints that were there are not. @throws DataError when none is left: the run would begin again over its records */
function tellGone(
  folder: string,
  step: number,
  left: LoadedCheckpoint | undefined,
  logger: RunFolderOptions["logger"],
): void {
  const got = left === undefined ? "none" : `${stepName(left.step)} as the newest`;
  const problem = `[${folder}] checkpoints are gone: got ${got}, expected ${stepName(step)}, which ${RUN_FILES.info} tells of.`;
  if (left === undefined) {
    throw new DataError(`${problem} Bring the folder back; to begin again, start a run of another name.`);
  }
  logger.warn(`${problem} The run goes on from there; its later records are set aside.`);
}

function checkResumable(path: string, { recordVersion }: RunInfo): void {
  if (recordVersion >= OLDEST_RESUMABLE) return;
  throw new ConfigError(
    `[${path}] run cannot be gone on with: got records of version ${recordVersion}, expected ${OLDEST_RESUMABLE} to ` +
      `${RECORD_VERSION}. Go on with it by the version of the program that wrote it; its records can still be read.`,
  );
}

function* encodeRows(rows: Iterable<RolloutRow>): Generator<Uint8Array> {
  const encoder = new TextEncoder();
  for (const row of rows) yield encoder.encode(jsonLine(row));
}
