/** The list of all runs. What was read of a run is kept until its files change, and of very many runs a part is told at first. */
import { RUN_FILES } from "../host/run/run_info.js";
import type { RunLine } from "./api.js";
import { runLine } from "./run_record.js";
import type { RunTree } from "./run_tree.js";

/** Runs that are read at the same time: each has several files open. */
const AT_ONCE = 16;
/** Milliseconds after which the list is told as far as it is known. */
const PATIENCE = 700;

export class RunList {
  readonly #known = new Map<string, { readonly stamp: string; readonly line: RunLine }>();
  #reading: Promise<void> | undefined;

  constructor(
    private readonly tree: RunTree,
    /** Milliseconds since 1970. */
    private readonly now: () => number,
  ) {}

  /**
   * Every run, the one that was active last first.
   * @param isWhole whether to wait until all are read; else those that were not have the status `unread` and stand last
   */
  async lines(isWhole: boolean): Promise<RunLine[]> {
    const names = await this.tree.runs();
    this.#reading ??= this.#read(names).finally(() => {
      this.#reading = undefined;
    });
    const reading = this.#reading;
    if (isWhole) await reading;
    else await patiently(reading);
    const lines = names.map((run) => this.#known.get(run)?.line ?? unreadLine(run));
    return lines.sort(
      (a, b) => (b.updated ?? "").localeCompare(a.updated ?? "") || a.run.localeCompare(b.run),
    );
  }

  async #read(names: readonly string[]): Promise<void> {
    const there = new Set(names);
    for (const known of this.#known.keys()) if (!there.has(known)) this.#known.delete(known);
    const left = [...names].reverse();
    const worker = async () => {
      for (let run = left.pop(); run !== undefined; run = left.pop()) await this.#readOne(run);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  }

  async #readOne(run: string): Promise<void> {
    const stamp = await this.tree.stamp(run, RUN_FILES.info, RUN_FILES.metrics, RUN_FILES.alerts);
    const known = this.#known.get(run);
    // whether a running one still gives signs of life is told by the time alone
    const isSettled = known !== undefined && !["running", "stale"].includes(known.line.status);
    if (isSettled && known.stamp === stamp) return;
    this.#known.set(run, { stamp, line: await runLine(this.tree, run, this.now()) });
  }
}

/** Waits for something, but not for long. @throws what it throws meanwhile */
async function patiently(work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const enough = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, PATIENCE);
  });
  // what is thrown later is thrown to whoever asks then
  work.catch(() => undefined);
  await Promise.race([work, enough]);
  clearTimeout(timer);
}

function unreadLine(run: string): RunLine {
  return {
    ...{
      run,
      status: "unread",
      reason: null,
      started: null,
      updated: null,
      step: 0,
      steps: null,
      seed: null,
    },
    ...{ world: null, algorithm: null, model: null, alert: null, success: null, evaluated: null },
  };
}
