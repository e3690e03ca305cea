/** Curves over updates, with bands of intervals, a cursor for keys, and the same in words. */
import type { ECharts } from "echarts/core";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Palette } from "../../src/report/palette.js";
import { figure } from "../text.js";
import { DataTable } from "./common.js";

/** One value at an update; null: none. */
export type Point = readonly [step: number, value: number | null];

export interface Line {
  readonly name: string;
  readonly points: readonly Point[];
  /** Low and high of each point's interval. */
  readonly band?: readonly (readonly [low: number, high: number])[];
  /** Measured now and then: marks, joined by straight lines. */
  readonly sparse?: boolean;
  /** Place in the palette; lines of one run have one colour where runs are compared. */
  readonly colour: number;
  /** Told apart from another line of the same colour. */
  readonly dashed?: boolean;
}

export interface LineChartProps {
  readonly title: string;
  /** What is drawn, in a sentence. */
  readonly about?: string;
  readonly lines: readonly Line[];
  readonly palette: Palette;
  /** Steps of the exponential mean that smooths dense lines; 0 = none. */
  readonly smoothing: number;
  /** Limits of the vertical axis, where they are known. */
  readonly range?: readonly [number, number];
  /** Somebody chose an update. */
  readonly onPick?: (step: number) => void;
}

export function LineChart(props: LineChartProps) {
  const { title, about, lines, onPick } = props;
  const known = useMemo(
    () => lines.filter(({ points }) => points.some(([, value]) => value !== null)),
    [lines],
  );
  const [hidden, setHidden] = useState<readonly string[]>([]);
  const drawn = useMemo(() => known.filter(({ name }) => !hidden.includes(name)), [known, hidden]);
  const steps = useMemo(() => allSteps(drawn), [drawn]);
  const [hasTable, setTable] = useState(false);
  const [cursor, setCursor] = useState<number>();
  const { box, place } = usePicture({ ...props, lines: drawn }, cursor);
  const move = (event: KeyboardEvent) => {
    const at = steps.indexOf(cursor ?? steps[steps.length - 1]);
    const next = {
      ArrowLeft: at - 1,
      ArrowRight: at + 1,
      Home: 0,
      End: steps.length - 1,
      PageUp: at - 10,
      PageDown: at + 10,
    }[event.key];
    if (next !== undefined) {
      event.preventDefault();
      setCursor(steps[Math.max(0, Math.min(steps.length - 1, next))]);
    } else if (event.key === "Enter" && cursor !== undefined) onPick?.(cursor);
  };
  if (known.length === 0) return null;
  const summary = drawn.map(inWords).join("; ");
  return (
    <figure class="panel">
      <figcaption>
        <h3>{title}</h3>
        {about !== undefined && <p class="quiet">{about}</p>}
      </figcaption>
      <div
        class="chart"
        ref={box}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the role is interactive, keys move its cursor
        tabIndex={0}
        role="application"
        aria-roledescription="chart"
        aria-label={`${title}. ${summary}. Arrow keys move from update to update${onPick ? ", Enter opens its groups" : ""}.`}
        onKeyDown={move}
        onBlur={() => setCursor(undefined)}
        onClick={(event) => {
          const step = place(event.offsetX);
          if (step !== undefined) onPick?.(nearest(steps, step));
        }}
      />
      <Legend lines={known} hidden={hidden} onToggle={setHidden} />
      <p class="readout" aria-live="polite">
        {cursor === undefined ? "" : `update ${cursor}: ${at(drawn, cursor)}`}
      </p>
      {/* a page has dozens of tables, and most are never opened */}
      <details onToggle={({ currentTarget }) => setTable(currentTarget.open)}>
        <summary>As a table</summary>
        {hasTable && <PointTable lines={drawn} steps={steps} />}
      </details>
    </figure>
  );
}

/** What the lines are; a line that is pressed is left out. */
function Legend({
  lines,
  hidden,
  onToggle,
}: {
  readonly lines: readonly Line[];
  readonly hidden: readonly string[];
  readonly onToggle: (hidden: readonly string[]) => void;
}) {
  return (
    <div class="legend">
      {lines.map(({ name, colour, dashed }) => {
        const isHidden = hidden.includes(name);
        return (
          <button
            type="button"
            class="key"
            key={name}
            aria-pressed={!isHidden}
            onClick={() => onToggle(isHidden ? hidden.filter((one) => one !== name) : [...hidden, name])}
          >
            <i class={`swatch fill${colour % COLOURS}${dashed ? " dashed" : ""}`} />
            {name}
          </button>
        );
      })}
    </div>
  );
}

/** Colours of lines; further lines are dashed. */
export const COLOURS = 8;

/** Rows of a table at most: a screen reader gets the course, not every update. */
const MOST_ROWS = 60;

function PointTable({
  lines,
  steps,
}: {
  readonly lines: readonly Line[];
  readonly steps: readonly number[];
}) {
  const every = Math.max(1, Math.ceil(steps.length / MOST_ROWS));
  const shown = steps.filter((_, index) => index % every === 0 || index === steps.length - 1);
  return (
    <DataTable label="Table of the curves" columns={["update", ...lines.map(({ name }) => name)]}>
      {shown.map((step) => (
        <tr key={step}>
          <td class="number">{step}</td>
          {lines.map((line) => (
            <td class="number" key={line.name}>
              {valueText(line, step)}
            </td>
          ))}
        </tr>
      ))}
    </DataTable>
  );
}

/** Draws, and draws again when something changes. @returns where to draw, and which update lies at a place */
function usePicture(props: LineChartProps, cursor: number | undefined) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<ECharts>(undefined);
  const [isReady, setReady] = useState(false);
  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    let isGone = false;
    let resizing: ResizeObserver | undefined;
    // charts out of sight are not made: a page has dozens
    const seen = new IntersectionObserver(async ([{ isIntersecting }]) => {
      if (!isIntersecting) return;
      seen.disconnect();
      const { init } = await import("./echarts.js");
      if (isGone) return;
      const made = init(element);
      chart.current = made;
      resizing = new ResizeObserver(() => made.resize());
      resizing.observe(element);
      setReady(true);
    });
    seen.observe(element);
    return () => {
      isGone = true;
      seen.disconnect();
      resizing?.disconnect();
      chart.current?.dispose();
    };
  }, []);
  useEffect(() => {
    if (isReady) chart.current?.setOption(optionOf(props, cursor), { notMerge: true });
  }, [isReady, props.lines, props.palette, props.smoothing, cursor]);
  const place = (x: number) => chart.current?.convertFromPixel({ xAxisIndex: 0 }, x) as number | undefined;
  return { box, place };
}

function optionOf({ lines, palette, smoothing, range }: LineChartProps, cursor: number | undefined) {
  const text = { color: palette.quiet, fontSize: 11 };
  const grid = { lineStyle: { color: palette.line } };
  return {
    animation: false,
    grid: { left: 52, right: 14, top: 12, bottom: 26 },
    tooltip: {
      trigger: "axis",
      // drawn on the canvas: no text becomes HTML
      renderMode: "richText",
      backgroundColor: palette.panel,
      borderColor: palette.line,
      textStyle: { color: palette.ink, fontSize: 12 },
      valueFormatter: (value: unknown) => figure(typeof value === "number" ? value : null),
      axisPointer: { lineStyle: { color: palette.quiet } },
    },
    xAxis: {
      type: "value",
      // a single update stands in the middle of its axis
      min: ({ min, max }: { readonly min: number; readonly max: number }) => (min === max ? min - 1 : min),
      max: ({ min, max }: { readonly min: number; readonly max: number }) => (min === max ? max + 1 : max),
      minInterval: 1,
      axisLabel: text,
      axisLine: grid,
      splitLine: { show: false },
    },
    yAxis: {
      type: "value",
      scale: true,
      ...(range && { min: range[0], max: range[1] }),
      axisLabel: { ...text, formatter: (value: number) => figure(value) },
      splitLine: grid,
    },
    series: lines.flatMap((line) => seriesOf(line, palette, smoothing, cursor)),
  };
}

/** Sizes that an axis can have. Differences of larger ones leave the range of numbers, ticks of smaller ones vanish: ECharts throws. */
const [SMALLEST, LARGEST] = [1e-100, 1e100];

function drawable(value: number | null): number | null {
  if (value === null || Math.abs(value) > LARGEST) return null;
  return Math.abs(value) < SMALLEST ? 0 : value;
}

function seriesOf(line: Line, palette: Palette, smoothing: number, cursor: number | undefined) {
  const { name, band, sparse, dashed } = line;
  const points = line.points.map(([step, value]): Point => [step, drawable(value)]);
  const color = palette.series[line.colour % COLOURS];
  const base = { type: "line", color, silent: true };
  const raw = { ...base, showSymbol: false, symbol: "none", sampling: "lttb", tooltip: { show: false } };
  const isSmoothed = !sparse && smoothing > 0;
  const main = {
    ...base,
    name,
    data: isSmoothed ? smoothed(points, smoothing) : points,
    showSymbol: sparse === true || points.length < 3,
    symbol: "circle",
    symbolSize: 6,
    lineStyle: { width: 1.8, type: dashed ? "dashed" : "solid" },
    ...(!sparse && { sampling: "lttb" }),
  };
  const under = isSmoothed ? [{ ...raw, data: points, lineStyle: { width: 1, opacity: 0.3 } }] : [];
  const bands = band ? bandSeries(line, band, raw) : [];
  const marks =
    cursor === undefined
      ? []
      : [
          {
            ...raw,
            data: points.filter(([step]) => step === cursor),
            showSymbol: true,
            symbol: "circle",
            symbolSize: 10,
          },
        ];
  return [...bands, ...under, main, ...marks];
}

/** The interval of each point as a bar between its limits. */
function bandSeries({ points }: Line, band: NonNullable<Line["band"]>, raw: object) {
  return points.map(([step], index) => ({
    ...raw,
    data: [
      [step, band[index][0]],
      [step, band[index][1]],
    ],
    lineStyle: { width: 2, opacity: 0.35 },
  }));
}

/** Exponential mean without the pull of its start. @param steps weight of the past: 1 - 1 / (steps + 1) */
function smoothed(points: readonly Point[], steps: number): Point[] {
  const keep = 1 - 1 / (steps + 1);
  let [sum, weight] = [0, 0];
  return points.map(([step, value]): Point => {
    if (value === null) return [step, null];
    sum = keep * sum + (1 - keep) * value;
    weight = keep * weight + (1 - keep);
    return [step, sum / weight];
  });
}

function allSteps(lines: readonly Line[]): number[] {
  return [...new Set(lines.flatMap(({ points }) => points.map(([step]) => step)))].sort((a, b) => a - b);
}

function nearest(steps: readonly number[], wanted: number): number {
  return steps.reduce(
    (best, step) => (Math.abs(step - wanted) < Math.abs(best - wanted) ? step : best),
    steps[0],
  );
}

function valueText({ points, band }: Line, step: number): string {
  const index = points.findIndex(([one]) => one === step);
  const value = index < 0 ? null : points[index][1];
  const limits = value === null ? undefined : band?.[index];
  return limits ? `${figure(value)} (${figure(limits[0])} to ${figure(limits[1])})` : figure(value);
}

function at(lines: readonly Line[], step: number): string {
  const known = lines.map((line) => [line.name, valueText(line, step)]).filter(([, text]) => text !== "–");
  return known.map(([name, text]) => `${name} ${text}`).join(", ");
}

/** Course of a line in words. */
function inWords({ name, points }: Line): string {
  const known = points.filter((point): point is readonly [number, number] => point[1] !== null);
  const values = known.map(([, value]) => value);
  const least = values.reduce((a, b) => Math.min(a, b));
  const most = values.reduce((a, b) => Math.max(a, b));
  const [[firstStep, first], [lastStep, last]] = [known[0], known[known.length - 1]];
  return (
    `${name}: ${known.length} points, ${figure(first)} at update ${firstStep}, ${figure(last)} at update ${lastStep}, ` +
    `between ${figure(least)} and ${figure(most)}`
  );
}
