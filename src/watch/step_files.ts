/** Files of one run that name their update, as rollouts and evaluated episodes: read when somebody looks, and kept for a while. */
import { stepName, stepOfName } from "../host/run/checkpoints.js";
import { JsonTail } from "./json_tail.js";
import { stampOf } from "./plain_files.js";
import type { RunTree } from "./run_tree.js";

/** What the file of one update holds. */
export interface UpdateRows<Row> {
  readonly step: number;
  readonly rows: readonly Row[];
  /** Lines that are no rows. */
  readonly damaged: number;
}

/** Updates kept in memory, and rows of all of them together, beside the one that was asked for last. */
const KEPT_UPDATES = 16;
const KEPT_ROWS = 20_000;

/** Updates that a folder of a run has files of, oldest first. */
export async function listSteps(tree: RunTree, run: string, folder: string): Promise<number[]> {
  const names = (await tree.list(run, folder)).filter((name) => name.endsWith(".jsonl"));
  const steps = names.map((name) => stepOfName(name.slice(0, -".jsonl".length)));
  return steps.filter((step) => step !== undefined).sort((a, b) => a - b);
}

export class StepFiles<Row> {
  /** Oldest use first. A file appears whole and is only replaced, so its inode and size tell whether it is the same. */
  readonly #kept = new Map<number, { readonly key: string; readonly read: UpdateRows<Row> }>();

  constructor(
    private readonly tree: RunTree,
    private readonly run: string,
    private readonly folder: string,
    /** @returns undefined for a line that is no row */
    private readonly parse: (line: unknown) => Row | undefined,
  ) {}

  /** @returns undefined when the run keeps none of that update */
  async update(step: number): Promise<UpdateRows<Row> | undefined> {
    const open = () => this.tree.open(this.run, this.folder, `${stepName(step)}.jsonl`);
    const handle = await open();
    if (handle === undefined) return undefined;
    const key = stampOf(await handle.stat().finally(() => handle.close()));
    const known = this.#kept.get(step);
    this.#kept.delete(step);
    if (known?.key === key) {
      this.#kept.set(step, known);
      return known.read;
    }
    const rows: Row[] = [];
    let malformed = 0;
    const tail = new JsonTail(
      open,
      (line) => {
        const row = this.parse(line);
        if (row === undefined) malformed++;
        else rows.push(row);
      },
      () => {
        rows.length = 0;
        malformed = 0;
      },
    );
    await tail.refresh();
    const read = { step, rows, damaged: malformed + tail.damaged };
    this.#kept.set(step, { key, read });
    this.#forget();
    return read;
  }

  #forget(): void {
    const rows = () => [...this.#kept.values()].reduce((sum, { read }) => sum + read.rows.length, 0);
    while (this.#kept.size > 1 && (this.#kept.size > KEPT_UPDATES || rows() > KEPT_ROWS)) {
      const [oldest] = this.#kept.keys();
      this.#kept.delete(oldest);
    }
  }
}
