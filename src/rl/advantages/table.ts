/** The table of steps that advantages are estimated from: its columns, its checks, and its order. */
import { ArgumentError } from "../../core/errors.js";
import type { ResolvedOptions } from "./options.js";

/** Name or number of a group or episode. */
export type Identity = number | string;

/** One environment step. Columns that the estimator in use does not need may be left out; of rows beside these it reads none. */
export interface AdvantageRow {
  /** Episodes of one group share task and start. */
  readonly group: Identity;
  /** The episode within its group, or within the rollout. */
  readonly episode: Identity;
  /** Step within the episode; consecutive ones but for grpo and rloo. */
  readonly step: number;
  /** Reward of the whole episode, repeated on each of its rows. */
  readonly outcome: number;
  /** Reward of this step alone (gigpo, hgpo; rlvmr with `tag_reward: step_reward`). */
  readonly stepReward?: number;
  /** Identity of the state acted in (gigpo, hgpo). Undefined or null: the state is compared with none. */
  readonly anchorKey?: string | null;
  /** Kind of step that the answer announced (rlvmr): planning, explore, reflection, monitor; undefined or null for none. */
  readonly tag?: string | null;
  /** The command as text (rlvmr with `tag_reward: rules`). */
  readonly action?: string;
  /** The answer is well formed, and acceptable where the caller says so (penalties, rlvmr). */
  readonly valid?: boolean;
  /** The command is one that the world acts upon (rlvmr); default: as `valid`. */
  readonly admissible?: boolean;
  /** The answer hit the token limit before it ended (`mask_truncated`). */
  readonly truncated?: boolean;
  /** A further amount to take from the row, 0 or more, for example `overlongPenalty`. */
  readonly penalty?: number;
}

/** Rows of one episode, in the order of their steps. */
export interface EpisodeRows {
  readonly rows: readonly number[];
  readonly outcome: number;
}

/** Rows of one group, ordered by episode and step. */
export interface GroupRows {
  readonly episodes: readonly EpisodeRows[];
  readonly rows: readonly number[];
}

/** A checked table. All sums run in the order of groups, episodes and steps, so no result depends on the order of rows. */
export interface Table {
  readonly rows: readonly AdvantageRow[];
  readonly groups: readonly GroupRows[];
}

/** Numbers before texts, each in ascending order. */
function compare(a: Identity, b: Identity): number {
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return a < b ? -1 : Number(a > b);
}

const placeOf = ({ group, episode, step }: AdvantageRow) =>
  `group ${group}, episode ${episode}, step ${step}`;

function wrongRow(row: AdvantageRow, column: string, got: unknown, expected: string): ArgumentError {
  const shown = typeof got === "string" ? JSON.stringify(got) : String(got);
  return new ArgumentError(
    `[advantages] ${column} is wrong at ${placeOf(row)}: got ${shown}, expected ${expected}. Correct the table.`,
  );
}

function isIdentity(value: unknown): boolean {
  return typeof value === "string" || (typeof value === "number" && Number.isFinite(value));
}

const isNumber = (value: unknown) => typeof value === "number" && Number.isFinite(value);

/** Tags that rlvmr knows, and `none`. */
const TAGS = ["planning", "explore", "reflection", "monitor", "none"] as const;

interface Column {
  readonly name: keyof AdvantageRow;
  readonly expected: string;
  readonly holds: (value: unknown) => boolean;
  /** Every row must have it; else rows may leave it out. */
  readonly needed: boolean;
}

const bool = (value: unknown) => typeof value === "boolean";
const text = (value: unknown) => typeof value === "string";

/** Columns that the options need, and what values of any column must be. */
function columnsOf(options: ResolvedOptions): Column[] {
  const { algo, tag_reward, invalid_action_penalty, mask_truncated } = options;
  const isTagged = algo === "rlvmr";
  const byRules = isTagged && tag_reward === "rules";
  const needsStepReward = algo === "gigpo" || algo === "hgpo" || (isTagged && !byRules);
  const orNone = (holds: Column["holds"]) => (value: unknown) => value === null || holds(value);
  const isTag = (value: unknown) => TAGS.some((tag) => tag === value);
  return [
    { name: "group", expected: "a finite number or a text", holds: isIdentity, needed: true },
    { name: "episode", expected: "a finite number or a text", holds: isIdentity, needed: true },
    {
      name: "step",
      expected: "an integer, 0 or more",
      holds: (value) => Number.isInteger(value) && (value as number) >= 0,
      needed: true,
    },
    { name: "outcome", expected: "a finite number", holds: isNumber, needed: true },
    { name: "stepReward", expected: "a finite number", holds: isNumber, needed: needsStepReward },
    { name: "anchorKey", expected: "a text, null or undefined", holds: orNone(text), needed: false },
    {
      name: "tag",
      expected: isTagged ? `${TAGS.join(", ")}, null or undefined` : "a text, null or undefined",
      holds: orNone(isTagged ? isTag : text),
      needed: false,
    },
    { name: "action", expected: "a text", holds: text, needed: byRules },
    {
      name: "valid",
      expected: "true or false",
      holds: bool,
      needed: isTagged || invalid_action_penalty > 0,
    },
    { name: "admissible", expected: "true or false", holds: bool, needed: false },
    { name: "truncated", expected: "true or false", holds: bool, needed: mask_truncated },
    {
      name: "penalty",
      expected: "a number, 0 or more",
      holds: (value) => isNumber(value) && (value as number) >= 0,
      needed: false,
    },
  ];
}

/** A column whose values may be undefined row by row, but which must be there. */
function requireColumn(rows: readonly AdvantageRow[], algo: string, name: keyof AdvantageRow): void {
  if (rows.length === 0 || rows.some((row) => Object.hasOwn(row, name))) return;
  throw new ArgumentError(
    `[advantages] column ${name} is missing: got no row with it, expected it for algo ${algo}. Add it; rows without a ` +
      "value have undefined or null.",
  );
}

/**
 * Checks rows and puts them in order.
 * @throws ArgumentError naming column and row for a missing or wrong value, for two rows of one step, a gap between the
 *   steps of an episode where returns or histories run along it, or an episode with two outcomes
 */
export function readTable(rows: readonly AdvantageRow[], options: ResolvedOptions): Table {
  const columns = columnsOf(options);
  for (const row of rows) {
    for (const { name, expected, holds, needed } of columns) {
      const value = row[name];
      if (value === undefined ? needed : !holds(value)) {
        const why = value === undefined ? `${expected} for algo ${options.algo} and these options` : expected;
        throw wrongRow(row, name, value, why);
      }
    }
  }
  if (options.algo === "gigpo" || options.algo === "hgpo") requireColumn(rows, options.algo, "anchorKey");
  if (options.algo === "rlvmr") requireColumn(rows, options.algo, "tag");
  const order = [...rows.keys()].sort((a, b) => {
    const [one, other] = [rows[a], rows[b]];
    return (
      compare(one.group, other.group) || compare(one.episode, other.episode) || compare(one.step, other.step)
    );
  });
  const groups = runs(order, (a, b) => rows[a].group === rows[b].group).map((members): GroupRows => {
    const episodes = runs(members, (a, b) => rows[a].episode === rows[b].episode);
    const isGapless = options.algo !== "grpo" && options.algo !== "rloo";
    return { rows: members, episodes: episodes.map((steps) => readEpisode(rows, steps, isGapless)) };
  });
  return { rows, groups };
}

/** Cuts a list where neighbours differ. */
function runs(list: readonly number[], isSame: (a: number, b: number) => boolean): number[][] {
  const result: number[][] = [];
  list.forEach((value, at) => {
    if (at > 0 && isSame(list[at - 1], value)) result[result.length - 1].push(value);
    else result.push([value]);
  });
  return result;
}

function readEpisode(
  rows: readonly AdvantageRow[],
  steps: readonly number[],
  isGapless: boolean,
): EpisodeRows {
  const { outcome } = rows[steps[0]];
  for (let at = 1; at < steps.length; at++) {
    const [before, row] = [rows[steps[at - 1]], rows[steps[at]]];
    if (row.step === before.step)
      throw wrongRow(row, "step", row.step, "one row for each step of an episode");
    if (isGapless && row.step !== before.step + 1)
      throw wrongRow(row, "step", row.step, `${before.step + 1}: steps without a gap`);
    if (row.outcome !== outcome)
      throw wrongRow(row, "outcome", row.outcome, `${outcome} as in earlier rows of the episode`);
  }
  return { rows: steps, outcome };
}

/** Whether every row has an action. */
export function haveActions(rows: readonly AdvantageRow[]): boolean {
  return rows.length > 0 && rows.every(({ action }) => action !== undefined);
}
