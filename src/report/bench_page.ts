/** The results page of a benchmark: roofline, libraries beside each other, end-to-end figures. */
import { groupBy } from "../core/group_by.js";
import type { BenchReport } from "./bench_report.js";
import type { BenchRow } from "./bench_rows.js";
import { rooflineGroup, rooflinePoints } from "./roofline.js";
import { colour, element, label, picture, shortNumber } from "./svg.js";

const WIDTH = 960;
const MARGIN = 40;
const BAR = { left: 250, right: 760, height: 16 } as const;

/** A part of the page and how many pixels it takes. */
interface Block {
  readonly height: number;
  draw(top: number): string[];
}

/**
 * One page with everything of a run that a picture can say. Bars are wall-clock medians, shorter is better; a library
 * without a number has the reason in its place.
 * @returns a whole SVG document
 */
export function benchPageSvg(report: BenchReport): string {
  const blocks = [
    headBlock(report),
    ...(rooflinePoints(report.rows).length > 0 ? [rooflineBlock(report)] : []),
    ...comparisonBlocks(report.rows),
    ...endToEndBlock(report.rows),
  ];
  let top = 0;
  const content = blocks.flatMap((block) => {
    const drawn = block.draw(top);
    top += block.height;
    return drawn;
  });
  return picture(WIDTH, top + MARGIN, `Benchmark of ${report.rows[0]?.adapter ?? "no adapter"}`, content);
}

/** What fits a line of the head. */
const LINE_CHARACTERS = 125;

function headBlock({ passports, rows }: BenchReport): Block {
  const lines = Object.values(passports).map((passport) => {
    const keys = ["date", "commit", "command"].filter((key) => typeof passport[key] === "string");
    const line = keys
      .map((key) => (key === "commit" ? String(passport[key]).slice(0, 10) : passport[key]))
      .join(", ");
    return line.length > LINE_CHARACTERS ? `${line.slice(0, LINE_CHARACTERS)} ...` : line;
  });
  return {
    height: 70 + 18 * lines.length,
    draw: (top) => [
      label(MARGIN, top + 40, `uncouple bench on ${rows[0]?.adapter ?? "no adapter"}`, { size: 22 }),
      ...lines.map((line, index) => label(MARGIN, top + 66 + 18 * index, line, { fill: "#57606a" })),
    ],
  };
}

function rooflineBlock(report: BenchReport): Block {
  return {
    height: 580,
    draw: (top) => [element("g", { transform: `translate(0 ${top})` }, rooflineGroup(report))],
  };
}

/** A group of bars for each measurement that more than one library has taken part in. */
function comparisonBlocks(rows: readonly BenchRow[]): Block[] {
  const groups = groupBy(
    rows.filter(({ op }) => op !== "peak"),
    ({ op, direction, shape, dtype }) => `${op} ${direction}, ${shape}, ${dtype}`,
  );
  const compared = [...groups].filter(
    ([, group]) => new Set(group.map((row) => row.implementation)).size > 1,
  );
  if (compared.length === 0) return [];
  const names = [...new Set(compared.flatMap(([, group]) => group.map((row) => row.implementation)))];
  return [
    heading("Beside other libraries: milliseconds a call, median, p10 to p90"),
    ...compared.map(([name, group]) => barBlock(name, group, names)),
  ];
}

function barBlock(name: string, group: readonly BenchRow[], names: readonly string[]): Block {
  const slowest = group.reduce((most, { medianMs, p90Ms }) => Math.max(most, p90Ms ?? medianMs ?? 0), 0);
  const width = (time: number) => (slowest > 0 ? (time / slowest) * (BAR.right - BAR.left) : 0);
  const bar = (row: BenchRow, y: number): string[] => {
    const who = label(BAR.left - 8, y + 12, row.implementation, { anchor: "end" });
    const { medianMs, p10Ms, p90Ms, error } = row;
    if (medianMs === undefined)
      return [who, label(BAR.left, y + 12, shortened(error ?? "no number"), { fill: "#a40e26", size: 11 })];
    const low = BAR.left + width(p10Ms ?? medianMs);
    const high = BAR.left + width(p90Ms ?? medianMs);
    const middle = y + BAR.height / 2;
    return [
      who,
      element("rect", {
        x: BAR.left,
        y,
        width: width(medianMs),
        height: BAR.height - 3,
        fill: colour(names.indexOf(row.implementation)),
      }),
      element("line", { x1: low, x2: high, y1: middle - 1, y2: middle - 1, stroke: "#1b1f24" }),
      label(high + 8, y + 12, `${shortNumber(medianMs)} ms`, { size: 11 }),
    ];
  };
  return {
    height: 34 + BAR.height * group.length,
    draw: (top) => [
      label(MARGIN, top + 16, name, { "font-weight": "bold" }),
      ...group.flatMap((row, index) => bar(row, top + 24 + BAR.height * index)),
    ],
  };
}

/** Training steps and generation of ours, one line each. */
function endToEndBlock(rows: readonly BenchRow[]): Block[] {
  const own = rows.filter(
    ({ implementation, tokensPerSecond }) => implementation === "uncouple" && tokensPerSecond !== undefined,
  );
  if (own.length === 0) return [];
  const lines = own.map((row) => {
    const parts = [
      `${shortNumber(row.tokensPerSecond ?? 0)} tokens/s`,
      row.medianMs !== undefined && `${shortNumber(row.medianMs)} ms`,
      row.encodeMs !== undefined && `encoding ${shortNumber(row.encodeMs)} ms`,
      row.dispatches !== undefined && `${row.dispatches} dispatches`,
      row.bytesPeak !== undefined && `peak ${shortNumber(row.bytesPeak / 2 ** 20)} MiB`,
    ];
    return `${row.op}, ${row.shape}: ${parts.filter(Boolean).join(", ")}`;
  });
  return [
    heading("End to end"),
    {
      height: 20 + 20 * lines.length,
      draw: (top) => lines.map((line, index) => label(MARGIN, top + 16 + 20 * index, line)),
    },
  ];
}

function heading(text: string): Block {
  return { height: 44, draw: (top) => [label(MARGIN, top + 30, text, { size: 16 })] };
}

function shortened(text: string): string {
  return text.length <= 90 ? text : `${text.slice(0, 89)}…`;
}
