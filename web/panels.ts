/** From columns and evaluations to lines of curves. */
import { PANELS } from "../src/report/run_panels.js";
import type { EvaluationPoint, Series } from "../src/watch/api.js";
import { COLOURS, type Line, type Point } from "./parts/line_chart.js";

/** Everything that the standing panels need. */
export const PANEL_KEYS: readonly string[] = ["success", ...PANELS.flatMap(({ keys }) => keys)];

/** A column as a line. @param stage only updates of this stage; undefined = all */
export function lineOf(series: Series, key: string, colour: number, name = key, stage?: string): Line {
  const values = series.values[key] ?? [];
  const points = series.step.map((step, index): Point => [step, values[index] ?? null]);
  const isShown = (_: Point, index: number) => stage === undefined || series.stage[index] === stage;
  return { name, colour, points: points.filter(isShown) };
}

/** Updates of a stage: those before its first one belong to others. */
export function stageStart(series: Series, stage: string | undefined): number {
  const at = stage === undefined ? -1 : series.stage.indexOf(stage);
  return at < 0 ? 0 : series.step[at] - 1;
}

/** Curves of evaluations, one for each split, mode and use of instructions. */
export function evaluationLines(points: readonly EvaluationPoint[], first: number): Line[] {
  const names = [...new Set(points.map(evaluationName))];
  return names.map((name, index) => {
    const own = points.filter((point) => evaluationName(point) === name);
    return {
      name,
      colour: first + index,
      dashed: first + index >= COLOURS,
      sparse: true,
      points: own.map(({ step, success }): Point => [step, success]),
      band: own.map(({ low, high }) => [low, high] as const),
    };
  });
}

export function evaluationName({ split, mode, instructions }: EvaluationPoint): string {
  return [split, mode, ...(instructions === null ? [] : [`${instructions} instructions`])].join(" ");
}

/** Success by task type in evaluations of one split and mode. */
export function typeLines(points: readonly EvaluationPoint[]): Line[] {
  const types = [...new Set(points.flatMap((point) => Object.keys(point.types)))].sort();
  return types.map((type, index) => {
    const own = points.flatMap(({ step, types: byType }) =>
      byType[type] ? [{ step, interval: byType[type] }] : [],
    );
    return {
      name: type,
      colour: index,
      sparse: true,
      points: own.map(({ step, interval }): Point => [step, interval[0]]),
      band: own.map(({ interval }) => [interval[1], interval[2]] as const),
    };
  });
}

/** Later lines behind earlier ones; a series that begins at 0, or that averages, replaces them. */
export function joined(before: Series | undefined, next: Series): Series {
  const isNext = before !== undefined && next.from === before.total && next.from > 0 && next.stride === 1;
  if (!isNext || before.generation !== next.generation) return next;
  return {
    ...next,
    from: 0,
    step: [...before.step, ...next.step],
    stage: [...before.stage, ...next.stage],
    values: Object.fromEntries(
      Object.keys(next.values).map((key) => [key, [...(before.values[key] ?? []), ...next.values[key]]]),
    ),
  };
}
