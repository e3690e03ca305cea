/** The pictures of an experiment, by file name. */

import { curvesSvg } from "./experiment_curves.js";
import { type Dot, type DotChart, type DotPanel, dotChart } from "./experiment_dots.js";
import type { ExperimentResult, SplitResult } from "./experiment_rows.js";
import {
  byCell,
  type Estimate,
  evaluated,
  hasMode,
  pairedDifference,
  splitOf,
  successEstimate,
  successOf,
  tEstimate,
} from "./experiment_statistics.js";

type Cells = ReadonlyMap<string, readonly ExperimentResult[]>;

const INTERVALS =
  "dot: mean over seeds, small dots: seeds, line: 95 % interval (one seed: Wilson; several: Student's t, at least Wilson)";
const SEED_INTERVALS =
  "dot: mean over seeds, small dots: seeds, line: 95 % interval over seeds (Student's t)";
const PAIRED =
  "percentage points, pairs of runs with the same seed; line: 95 % bootstrap interval over seeds";

/** Name of the file without its ending -> SVG document. Pictures without data are left out. */
export function experimentCharts(results: readonly ExperimentResult[]): Map<string, string> {
  const cells = byCell(results);
  const { splits, modes } = evaluated(results);
  const charts = new Map<string, string>();
  const add = (name: string, svg: string | undefined) => svg !== undefined && charts.set(name, svg);
  for (const mode of modes) {
    const file = mode.replaceAll(/\W+/g, "_");
    add(`success_${file}`, successChart(cells, splits, mode));
    add(`differences_${file}`, differenceChart(cells, splits, mode));
    add(`types_${file}`, typeChart(cells, splits, mode));
    add(`habits_${file}`, habitChart(cells, splits, mode));
    for (const split of splits) {
      const hasCurve = results.some(({ kind, curve }) => kind === "cell" && pointsOf(curve, split, mode) > 1);
      if (hasCurve) add(`curves_${split}_${file}`, curvesSvg(results, { split, mode }));
    }
  }
  add("curves_training", curvesSvg(results, null));
  add("cost", costChart(cells));
  return charts;
}

function pointsOf(curve: ExperimentResult["curve"], split: string, mode: string): number {
  return curve.filter((point) => point.split === split && point.mode === mode).length;
}

/** Cells of one baseline have one colour. */
function colours(cells: Cells): DotChart["colourOf"] {
  const groups = [...new Set([...cells].map(([cell, [first]]) => first.baseline ?? cell))];
  return (cell) => groups.indexOf(cells.get(cell)?.[0].baseline ?? cell);
}

/** A panel of numbers of the cells; undefined when no cell has one. */
function panel(
  title: string,
  cells: Cells,
  dotOf: (own: readonly ExperimentResult[], cell: string) => Dot | undefined,
  reach: readonly number[],
): DotPanel | undefined {
  const dots = new Map<string, Dot>();
  for (const [cell, own] of cells) {
    const dot = dotOf(own, cell);
    if (dot) dots.set(cell, dot);
  }
  return dots.size === 0 ? undefined : { title, dots, reach };
}

function chart(
  title: string,
  note: string,
  cells: Cells,
  rows: readonly (readonly (DotPanel | undefined)[])[],
): string | undefined {
  const panels = rows.map((row) => row.filter((one) => one !== undefined)).filter((row) => row.length > 0);
  if (panels.length === 0) return undefined;
  return dotChart({ title, note, cells: [...cells.keys()], panels, colourOf: colours(cells) });
}

/** Shares as percentages. */
function scaled({ value, low, high, seeds }: Estimate, factor: number): Estimate {
  return {
    value: factor * value,
    low: low === null ? null : factor * low,
    high: high === null ? null : factor * high,
    seeds,
  };
}

function found(own: readonly ExperimentResult[], split: string, mode: string): SplitResult[] {
  return own.flatMap((result) => splitOf(result, split, mode) ?? []);
}

function successDot(
  counts: readonly { readonly wins: number; readonly episodes: number }[],
): Dot | undefined {
  const estimate = successEstimate(counts);
  if (estimate === undefined) return undefined;
  const seeds = counts
    .filter(({ episodes }) => episodes > 0)
    .map(({ wins, episodes }) => (100 * wins) / episodes);
  return { estimate: scaled(estimate, 100), seeds };
}

function successChart(cells: Cells, splits: readonly string[], mode: string): string | undefined {
  const row = splits.map((split) =>
    panel(split, cells, (own) => successDot(found(own, split, mode)), [0, 100]),
  );
  return chart(`Success in percent, ${mode}`, INTERVALS, cells, [row]);
}

function typeChart(cells: Cells, splits: readonly string[], mode: string): string | undefined {
  const rows = splits.map((split) => {
    const all = [...cells.values()].flatMap((own) => found(own, split, mode));
    const types = [...new Set(all.flatMap((one) => Object.keys(one.types)))];
    return types.map((type) =>
      panel(
        `${split}: ${type}`,
        cells,
        (own) => successDot(found(own, split, mode).flatMap((one) => one.types[type] ?? [])),
        [0, 100],
      ),
    );
  });
  return chart(`Success by task type in percent, ${mode}`, INTERVALS, cells, rows);
}

function differenceChart(cells: Cells, splits: readonly string[], mode: string): string | undefined {
  const compared = new Map(
    [...cells].filter(
      ([, [first]]) => first.baseline !== null && cells.has(first.baseline) && hasMode(first, mode),
    ),
  );
  const row = splits.map((split) => {
    const numberOf = (result: ExperimentResult) => successOf(result, split, mode);
    return panel(
      split,
      compared,
      (own) => {
        const baseline = cells.get(own[0].baseline as string) as readonly ExperimentResult[];
        const estimate = pairedDifference(own, baseline, numberOf);
        if (estimate === undefined) return undefined;
        const seeds = own.flatMap((result) => {
          const one = pairedDifference([result], baseline, numberOf);
          return one === undefined ? [] : [100 * one.value];
        });
        return { estimate: scaled(estimate, 100), seeds };
      },
      [-5, 5],
    );
  });
  return chart(`Difference of success from the baseline, ${mode}`, PAIRED, compared, [row]);
}

/** Numbers of one value a seed. */
function seedDot(values: readonly (number | null)[]): Dot | undefined {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? undefined : { estimate: tEstimate(known), seeds: known };
}

const HABITS: readonly (readonly [title: string, of: (one: SplitResult) => number | null, factor: number])[] =
  [
    ["repeated actions, %", (one) => one.repeated_action_rate, 100],
    ["repeated in the same state, %", (one) => one.repeated_action_in_state_rate, 100],
    ["invalid actions, %", (one) => one.invalid_action_rate, 100],
    ["steps of an episode", (one) => one.mean_length, 1],
  ];

function habitChart(cells: Cells, splits: readonly string[], mode: string): string | undefined {
  const rows = HABITS.map(([title, of, factor]) =>
    splits.map((split) =>
      panel(
        `${split}: ${title}`,
        cells,
        (own) => {
          const values = found(own, split, mode).map(of);
          return seedDot(values.map((value) => (value === null ? null : factor * value)));
        },
        [0],
      ),
    ),
  );
  return chart(`Habits, ${mode}`, SEED_INTERVALS, cells, rows);
}

function costChart(cells: Cells): string | undefined {
  const of = (title: string, number: (result: ExperimentResult) => number) =>
    panel(title, cells, (own) => seedDot(own.map(number)), [0]);
  const row = [of("tokens", ({ tokens }) => tokens), of("seconds", ({ seconds }) => seconds)];
  return chart("Cost of training, evaluations not counted", SEED_INTERVALS, cells, [row]);
}
