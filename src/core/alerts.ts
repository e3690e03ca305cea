/** Signs in the metrics that a run goes wrong in a way that its curves show late: each is told once, until it is over. */
import { mean, quantile } from "./statistics.js";

export type AlertKind =
  | "entropy_collapse"
  | "valid_idleness"
  | "all_groups_dead"
  | "skipped_update"
  | "log_prob_mismatch"
  | "stalled_world";

/** What was noticed after an update. */
export interface Alert {
  readonly step: number;
  readonly kind: AlertKind;
  /** What it is, in a sentence, with its numbers. */
  readonly text: string;
}

type Row = Readonly<Record<string, unknown>> & { readonly step: number };

/** Updates that are looked at together. */
const WINDOW = 10;
/** Shares that count as a fall of success and of invalid actions. */
const FALL = 0.1;
/** Share of its value at the start below which entropy has collapsed, and updates that say what the start was. */
const COLLAPSED = 0.1;
const START = 5;
/** Updates in a row whose groups are all dead. */
const DEAD_UPDATES = 3;
/** Differences of log-probabilities between sampling and training, nats: mean, and largest of a token. */
const MISMATCH_MEAN = 0.01;
const MISMATCH_MAX = 0.5;
/** A rollout that takes so many times the median of those before, and so many milliseconds at least. */
const STALLED = 10;
const STALLED_MS = 30_000;
/** Share of failed episodes. */
const FAILED = 0.2;

/** Each tells what it sees in the newest of the rows of the RL stage; undefined: nothing. @source ours, all of them */
const SIGNS: Readonly<Record<AlertKind, (rows: readonly Row[]) => string | undefined>> = {
  entropy_collapse: (rows) => {
    const entropies = column(rows, "entropy");
    if (entropies.length < 2 * START) return undefined;
    const [start, now] = [mean(entropies.slice(0, START)), mean(entropies.slice(-START))];
    if (!(now < COLLAPSED * start)) return undefined;
    return `entropy has collapsed: ${shown(now)} nats a token after ${shown(start)} at the start. Answers hardly differ any more`;
  },
  valid_idleness: (rows) => {
    const [before, now] = [rows.slice(-2 * WINDOW, -WINDOW), rows.slice(-WINDOW)];
    if (before.length < WINDOW) return undefined;
    const fall = (key: string) => mean(column(before, key)) - mean(column(now, key));
    const [success, invalid] = [fall("success"), fall("episodes/invalid_action_rate")];
    if (!(success >= FALL && invalid >= FALL)) return undefined;
    return `success falls by ${shown(success)} while invalid actions fall by ${shown(invalid)}: the policy may avoid penalties by doing nothing of use`;
  },
  all_groups_dead: (rows) => {
    const shares = rows.slice(-DEAD_UPDATES).map((row) => row["dead_groups/before_penalties"]);
    if (shares.length < DEAD_UPDATES || !shares.every((share) => share === 1)) return undefined;
    return `all groups of ${DEAD_UPDATES} updates are dead: no two episodes of a group end differently, so outcomes teach nothing`;
  },
  skipped_update: (rows) => {
    const { skipped } = rows[rows.length - 1];
    if (typeof skipped !== "number" || skipped === 0) return undefined;
    return `${skipped} optimiser ${skipped === 1 ? "step was" : "steps were"} skipped: gradients are not finite. The learning rate may be too high`;
  },
  log_prob_mismatch: (rows) => {
    const last = rows[rows.length - 1];
    const [average, most] = [last["sampling/logp_diff_mean"], last["sampling/logp_diff_max"]];
    if (!(Number(average) > MISMATCH_MEAN || Number(most) > MISMATCH_MAX)) return undefined;
    return `log-probabilities of sampling and training differ: mean ${shown(Number(average))}, at most ${shown(Number(most))} nats`;
  },
  stalled_world: (rows) => {
    const failed = Number(rows[rows.length - 1]["episodes/failed_rate"]);
    if (failed > FAILED) return `the world failed in ${shown(failed)} of the episodes`;
    const times = column(rows.slice(-2 * WINDOW), "perf/step_ms/rollout");
    const [before, now] = [times.slice(0, -1), times[times.length - 1]];
    if (before.length < START || !(now > STALLED_MS && now > STALLED * quantile(before, 0.5)))
      return undefined;
    return `a rollout took ${shown(now / 1000)} s, usual are ${shown(quantile(before, 0.5) / 1000)} s: the world or the machine stalls`;
  },
};

/** Looks at the metrics of one update after the other. */
export class AlertWatch {
  /** The first and the last ones. */
  readonly #rows: Row[] = [];
  readonly #raised = new Set<AlertKind>();

  /** @param hasLossScale mixed precision: skipped updates are a part of the loss scale's search, and none of the signs */
  constructor(private readonly hasLossScale: boolean) {}

  /**
   * @param row metrics of the next update
   * @returns what is newly wrong: a sign that stays is told once, one that comes again is told again
   */
  look(row: Row): Alert[] {
    // imitation plays nothing: its numbers say nothing of play
    if (row.stage !== "grpo") return [];
    this.#rows.push(row);
    // the first say what the start was, the last what is now; nobody asks for those between
    if (this.#rows.length > START + 2 * WINDOW) this.#rows.splice(START, 1);
    const { step } = row;
    return (Object.keys(SIGNS) as AlertKind[]).flatMap((kind) => {
      const text = kind === "skipped_update" && this.hasLossScale ? undefined : SIGNS[kind](this.#rows);
      const isNew = text !== undefined && !this.#raised.has(kind);
      if (text === undefined) this.#raised.delete(kind);
      else this.#raised.add(kind);
      return isNew ? [{ step, kind, text }] : [];
    });
  }
}

/** Numbers of the rows that have one. */
function column(rows: readonly Row[], key: string): number[] {
  return rows.map((row) => row[key]).filter((value) => typeof value === "number");
}

function shown(value: number): string {
  return String(Number(value.toPrecision(3)));
}
