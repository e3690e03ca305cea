/** Rollouts of one run, an update at a time: read when somebody looks, and kept for a while. */
import type { RolloutRow } from "../core/run_record.js";
import { stepName, stepOfName } from "../host/run/checkpoints.js";
import { parseRolloutRow } from "../host/run/rollout_rows.js";
import { RUN_FILES } from "../host/run/run_info.js";
import { JsonTail } from "./json_tail.js";
import type { RunTree } from "./run_tree.js";

export interface UpdateRollouts {
  readonly step: number;
  readonly rows: readonly RolloutRow[];
  /** Lines that are no rows. */
  readonly damaged: number;
}

/** Updates kept in memory, and rows of all of them together, beside the one that was asked for last. */
const KEPT_UPDATES = 16;
const KEPT_ROWS = 20_000;

/** Updates whose rollouts a run keeps, oldest first. */
export async function listRolloutSteps(tree: RunTree, run: string): Promise<number[]> {
  const names = (await tree.list(run, RUN_FILES.rollouts)).filter((name) => name.endsWith(".jsonl"));
  const steps = names.map((name) => stepOfName(name.slice(0, -".jsonl".length)));
  return steps.filter((step) => step !== undefined).sort((a, b) => a - b);
}

export class RolloutStore {
  /** Oldest use first. A file appears whole and is only replaced, so its inode and size tell whether it is the same. */
  readonly #kept = new Map<number, { readonly key: string; readonly rollouts: UpdateRollouts }>();

  constructor(
    private readonly tree: RunTree,
    private readonly run: string,
  ) {}

  /** @returns undefined when the run keeps none of that update */
  async update(step: number): Promise<UpdateRollouts | undefined> {
    const open = () => this.tree.open(this.run, RUN_FILES.rollouts, `${stepName(step)}.jsonl`);
    const handle = await open();
    if (handle === undefined) return undefined;
    const { ino, size, mtimeMs } = await handle.stat().finally(() => handle.close());
    const key = `${ino} ${size} ${mtimeMs}`;
    const known = this.#kept.get(step);
    this.#kept.delete(step);
    if (known?.key === key) {
      this.#kept.set(step, known);
      return known.rollouts;
    }
    const rows: RolloutRow[] = [];
    let malformed = 0;
    const tail = new JsonTail(
      open,
      (line) => {
        const row = parseRolloutRow(line);
        if (row === undefined) malformed++;
        else rows.push(row);
      },
      () => {
        rows.length = 0;
        malformed = 0;
      },
    );
    await tail.refresh();
    const rollouts = { step, rows, damaged: malformed + tail.damaged };
    this.#kept.set(step, { key, rollouts });
    this.#forget();
    return rollouts;
  }

  #forget(): void {
    const rows = () => [...this.#kept.values()].reduce((sum, { rollouts }) => sum + rollouts.rows.length, 0);
    while (this.#kept.size > 1 && (this.#kept.size > KEPT_UPDATES || rows() > KEPT_ROWS)) {
      const [oldest] = this.#kept.keys();
      this.#kept.delete(oldest);
    }
  }
}
