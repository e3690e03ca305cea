/** Profiles of a benchmark as tables: where the time of a step goes, by cause and by kernel. */
import { groupBy } from "../core/group_by.js";
import type { BenchRow, ProfilePart } from "./bench_rows.js";
import { figure, type TableCells } from "./bench_text.js";

/** Rows of op `profile` that have figures. */
export function profiledRows(rows: readonly BenchRow[]): (BenchRow & { readonly parts: ProfilePart[] })[] {
  return rows.flatMap((row) => (row.parts ? [{ ...row, parts: row.parts }] : []));
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

/** Milliseconds and share of each cause, in the order in which they first come. */
function causesOf(parts: readonly ProfilePart[]) {
  return [...groupBy(parts, ({ cause }) => cause)].map(([cause, own]) => ({
    cause,
    own,
    ms: own.reduce((sum, { ms }) => sum + ms, 0),
    share: own.reduce((sum, { share }) => sum + share, 0),
  }));
}

/** A line for each profile: its time, and the share of every cause. */
export function profileTable(rows: readonly BenchRow[]): TableCells {
  const profiles = profiledRows(rows).map((row) => ({ row, causes: causesOf(row.parts) }));
  const names = [...new Set(profiles.flatMap(({ causes }) => causes.map(({ cause }) => cause)))];
  const body = profiles.map(({ row, causes }) => [
    row.direction,
    row.shape,
    figure(row.medianMs),
    figure(row.unprofiledMs),
    figure(row.dispatches),
    ...names.map((name) => {
      const found = causes.find(({ cause }) => cause === name);
      return found ? percent(found.share) : "";
    }),
  ]);
  const titles = ["direction", "shape", "ms", "ms without timestamps", "dispatches", ...names];
  return { titles, body, names: 2 };
}

/** What a part must take of its step to have a line of its own in a text. */
const LEAST_SHARE = 0.03;

/** The kernels of every profile that take most of it. */
export function profileKernelTable(rows: readonly BenchRow[]): TableCells {
  const body = profiledRows(rows).flatMap(({ shape, direction, parts }) =>
    parts
      .filter(({ share, kernel }) => kernel && share >= LEAST_SHARE)
      .map((part) => [direction, shape, part.cause, ...partCells(part)]),
  );
  return { titles: ["direction", "shape", "cause", ...PART_TITLES], body, names: 5 };
}

/** One profile whole: causes by their time, and below each its kernels. */
export function wholeProfile({ parts }: { readonly parts: readonly ProfilePart[] }): TableCells {
  const body = causesOf(parts)
    .sort((a, b) => b.ms - a.ms)
    .flatMap(({ cause, own, ms, share }) => [
      [cause, "", "", "", figure(ms), percent(share), "", "", ""],
      ...own.filter(({ kernel }) => kernel).map((part) => ["", ...partCells(part)]),
    ]);
  return { titles: ["cause", ...PART_TITLES], body, names: 3 };
}

const PART_TITLES = ["kernel", "sizes", "launches", "ms", "share", "GFLOP/s", "GB/s", "nearest peak"];

function partCells({ kernel, sizes, launches, ms, share, gflops, gbps, ...shares }: ProfilePart): string[] {
  return [
    kernel,
    sizes,
    figure(launches),
    figure(ms),
    percent(share),
    figure(gflops),
    figure(gbps),
    nearest(shares),
  ];
}

function nearest({ fmaShare = 0, copyShare = 0 }: Pick<ProfilePart, "fmaShare" | "copyShare">): string {
  if (fmaShare === 0 && copyShare === 0) return "";
  const [name, share] = fmaShare > copyShare ? ["arithmetic", fmaShare] : ["memory", copyShare];
  return `${name} ${(100 * share).toFixed(0)} %`;
}
