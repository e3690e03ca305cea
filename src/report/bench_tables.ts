/** Tables of a benchmark for a text: one for each adapter and preset, ours with its figures and how much slower peers are. */
import { groupBy } from "../core/group_by.js";
import { profileKernelTable, profileTable } from "./bench_profile.js";
import { type BenchReport, byAdapter, type Passport } from "./bench_report.js";
import { type BenchRow, PROGRAMS } from "./bench_rows.js";
import { FIGURE_COLUMNS, figure, markdownTable, NAME_COLUMNS, type TableCells } from "./bench_text.js";
import { MEASURES, scalingCurves, slopeText } from "./scaling.js";

const OWN = "uncouple";

/** Which rows a table has, and which of their figures, by the titles of columns. */
interface Selection {
  readonly wants: (row: BenchRow) => boolean;
  readonly figures: readonly string[];
  /** The op is the same in all rows. */
  readonly withoutOp?: true;
  /** Which measured peak a kernel comes nearest to, and how near. */
  readonly withRoof?: true;
}

const opIs =
  (...names: string[]) =>
  ({ op }: BenchRow) =>
    names.includes(op);
const WHOLE = [...PROGRAMS, "profile"];
const KERNEL_FIGURES = ["median ms", "GPU ms", "GFLOP/s", "GB/s", "dispatches"];

const SELECTIONS: Readonly<Record<string, Selection>> = {
  summary: {
    wants: ({ op, shape, direction }) =>
      (op === "matmul" && direction === "forward" && /^(512|1024|4096)x\1x\1 /.test(shape)) ||
      ["training_step", "first_step"].includes(op) ||
      (op === "rollout" && /B(8|64) /.test(shape)),
    figures: ["median ms", "GFLOP/s", "tokens/s"],
  },
  peaks: { wants: opIs("peak"), figures: ["median ms", "GPU ms", "GFLOP/s", "GB/s"], withoutOp: true },
  products: { wants: opIs("matmul"), figures: KERNEL_FIGURES, withoutOp: true, withRoof: true },
  kernels: {
    wants: ({ op }) => op !== "matmul" && !WHOLE.includes(op),
    figures: KERNEL_FIGURES,
    withRoof: true,
  },
  training: {
    wants: opIs("training_step"),
    figures: ["median ms", "GPU ms", "tokens/s", "GFLOP/s", "dispatches", "encode ms", "peak MiB"],
    withoutOp: true,
  },
  generation: {
    wants: opIs("rollout"),
    figures: ["median ms", "tokens/s", "dispatches", "peak MiB"],
    withoutOp: true,
  },
  iteration: {
    wants: opIs("iteration"),
    figures: ["median ms", "p10", "p90", "tokens/s", "phases, ms"],
    withoutOp: true,
  },
  first_step: {
    wants: opIs("first_step"),
    figures: ["median ms", "p90", "cold ms", "phases, ms", "pipelines"],
    withoutOp: true,
  },
  points: {
    wants: opIs("scaling"),
    figures: ["median ms", "tokens/s", "peak MiB", "attention MiB", "log-prob MiB", "working MiB"],
    withoutOp: true,
  },
};

/** Which rows a table is for, and what it makes of them. */
interface Drawn {
  readonly wants: (row: BenchRow) => boolean;
  readonly cells: (rows: readonly BenchRow[]) => TableCells;
}

const DRAWN: Readonly<Record<string, Drawn>> = {
  ...Object.fromEntries(
    Object.entries(SELECTIONS).map(([name, selection]): [string, Drawn] => [
      name,
      { wants: selection.wants, cells: (rows) => comparisonTable(rows, selection) },
    ]),
  ),
  coupling: { wants: opIs("coupling"), cells: couplingTable },
  gram_curves: { wants: opIs("gram_curves"), cells: gramCurvesTable },
  slopes: { wants: opIs("scaling"), cells: slopeTable },
  profile: { wants: opIs("profile"), cells: profileTable },
  profile_kernels: { wants: opIs("profile"), cells: profileKernelTable },
};

/** Everything that can stand between marks, by name. */
export const TABLES: Readonly<Record<string, (report: BenchReport) => string>> = {
  ...Object.fromEntries(
    Object.entries(DRAWN).map(([name, drawn]) => [name, (report: BenchReport) => perRunKind(report, drawn)]),
  ),
  passports: passportTable,
};

/** What the tables of a page are called, in their order. */
const PAGE_TABLES: readonly (readonly [name: string, title: string])[] = [
  ["peaks", "Peaks of the adapter"],
  ["products", "Matrix products"],
  ["kernels", "Other kernels"],
  ["training", "Training steps"],
  ["generation", "Generation"],
  ["iteration", "An iteration of RL"],
  ["first_step", "First step of a process"],
  ["coupling", "Gradient coupling, over a plain pass"],
  ["gram_curves", "Gram by path, over a plain pass"],
  ["profile", "Where a step's time goes"],
  ["profile_kernels", "Kernels that take most of it"],
  ["points", "Sizes"],
  ["slopes", "Slopes over sizes"],
];

/** Every table that some rows are for. @param rows of one adapter and preset */
export function tablesOf(rows: readonly BenchRow[]): (TableCells & { readonly title: string })[] {
  return PAGE_TABLES.flatMap(([name, title]) => {
    const { wants, cells } = DRAWN[name];
    const own = rows.filter(wants);
    return own.length === 0 ? [] : [{ title, ...cells(own) }];
  });
}

/** Parts with a heading for each adapter and preset. */
function perRunKind({ rows, passports }: BenchReport, { wants, cells }: Drawn): string {
  const draw = (own: readonly BenchRow[]) => {
    const { titles, body, names } = cells(own);
    return markdownTable(titles, body, names);
  };
  const parts: string[] = [];
  for (const [adapter, own] of byAdapter(rows.filter(wants))) {
    for (const preset of [...new Set(own.map((row) => row.preset ?? ""))]) {
      const { kind } = passports[own[0].run ?? ""] ?? {};
      // Mesa's name alone does not say that it computes on the CPU
      const title = `**${kind === "lavapipe" ? `lavapipe, ${adapter}` : adapter}**${preset && `, preset ${preset}`}`;
      parts.push(`${title}\n\n${draw(own.filter((row) => (row.preset ?? "") === preset))}`);
    }
  }
  return parts.length > 0 ? parts.join("\n\n") : "Nobody has measured this yet.";
}

/** A kernel is limited by what it comes nearest to; far from all of them, by latency, launches or the host. */
const ROOF = {
  title: "nearest peak",
  text: ({ fmaShare, copyShare, matrixShare }: BenchRow): string => {
    const shares = { arithmetic: fmaShare, memory: copyShare, matrices: matrixShare };
    const known = Object.entries(shares).flatMap(([name, share]) =>
      share === undefined ? [] : [{ name, share }],
    );
    if (known.length === 0) return "";
    const { name, share } = known.reduce((a, b) => (b.share > a.share ? b : a));
    return `${name} ${(100 * share).toFixed(0)} %`;
  },
};

/** A row for each measurement: our figures, then each peer's time over ours. */
function comparisonTable(rows: readonly BenchRow[], { figures, withoutOp, withRoof }: Selection): TableCells {
  const names = NAME_COLUMNS.filter(({ title, text }) => {
    if (title === "direction") return new Set(rows.map(text)).size > 1;
    return title === "op" ? !withoutOp : title === "shape" || title === "dtype";
  });
  const own = rows.filter(({ implementation }) => implementation === OWN);
  const columns = [...FIGURE_COLUMNS, ...(withRoof ? [ROOF] : [])].filter(
    ({ title, text }) => [...figures, ROOF.title].includes(title) && own.some((row) => text(row) !== ""),
  );
  const peers = [...new Set(rows.map(({ implementation }) => implementation))].filter((name) => name !== OWN);
  const body = own.map((row) => {
    const cells = [...names, ...columns].map(({ text }) => text(row));
    if (row.error !== undefined) cells[names.length] = row.error;
    return [...cells, ...peers.map((peer) => ratio(row, peerRow(rows, row, peer)))];
  });
  const titles = [...names, ...columns].map(({ title }) => title);
  return { titles: [...titles, ...peers], body, names: names.length };
}

/** The peer's row of the same measurement. Peers compute in f32 whatever our factors are. */
function peerRow(rows: readonly BenchRow[], own: BenchRow, peer: string): BenchRow | undefined {
  return rows.find(
    (row) =>
      row.implementation === peer &&
      row.op === own.op &&
      row.shape === own.shape &&
      row.direction === own.direction &&
      row.run === own.run,
  );
}

/** `2.5x`: the peer takes 2.5 times as long; below 1 it is faster. */
function ratio({ medianMs }: BenchRow, peer: BenchRow | undefined): string {
  if (peer?.medianMs !== undefined && medianMs)
    return `${Number((peer.medianMs / medianMs).toPrecision(2))}x`;
  return peer?.error === undefined ? "" : "fails";
}

const COUPLING: Readonly<Record<string, string>> = {
  gram: "Gram and gradient of the batch",
  directions: "products with the batch's gradient, norms, and that gradient",
  separate: "a backward pass for each sample",
};

/** Every implementation over its own plain pass. */
function couplingTable(rows: readonly BenchRow[]): TableCells {
  const figures = FIGURE_COLUMNS.filter(({ title }) =>
    ["median ms", "over plain", "peak over plain"].includes(title),
  );
  const body = rows.map((row) => {
    const { shape, implementation, version, direction, error } = row;
    const who = version ? `${implementation} (${version})` : implementation;
    const what = direction === "gram" && implementation !== OWN ? "Gram" : (COUPLING[direction] ?? direction);
    const cells = figures.map(({ text }) => text(row));
    if (error !== undefined) cells[0] = error;
    return [shape, what, who, ...cells];
  });
  const titles = ["shape", "what", "implementation", ...figures.map(({ title }) => title)];
  return { titles, body, names: 3 };
}

/** A line for each point: the Gram over the plain pass by either path and by the rule, the faster path in bold. */
function gramCurvesTable(rows: readonly BenchRow[]): TableCells {
  const points = groupBy(rows, ({ shape }) => shape.slice(0, shape.lastIndexOf(" ")));
  const peers = [...new Set(rows.map(({ implementation }) => implementation))].filter((name) => name !== OWN);
  const body = [...points].map(([point, all]) => {
    const of = (what: string, by = OWN) =>
      all.find(({ shape, implementation }) => shape === `${point} ${what}` && implementation === by);
    const [product, token, auto] = ["product", "token", "auto"].map((path) => of(path));
    const least = Math.min(...[product, token].map((row) => row?.ratio ?? Number.POSITIVE_INFINITY));
    const text = (row: BenchRow | undefined) => {
      const value = row?.error ?? figure(row?.ratio);
      return row?.ratio === least ? `**${value}**` : value;
    };
    const plain = (row: BenchRow | undefined) => row?.error ?? figure(row?.ratio);
    const choice = auto?.matrices === undefined ? "" : `${auto.tokenMatrices} of ${auto.matrices}`;
    return [
      point,
      text(product),
      text(token),
      plain(auto),
      plain(of("separate")),
      figure(auto?.medianMs),
      ...peers.flatMap((peer) => {
        const theirs = of("gram", peer);
        return [plain(theirs), plain(of("separate", peer)), figure(theirs?.medianMs)];
      }),
      choice,
    ];
  });
  const theirs = peers.flatMap((peer) => [`${peer}: Gram`, `${peer}: separate passes`, `${peer}: Gram, ms`]);
  const titles = ["product", "token", "rule", "separate passes", "rule, ms", ...theirs];
  return { titles: ["point", ...titles, "matrices by token"], body, names: 1 };
}

function slopeTable(rows: readonly BenchRow[]): TableCells {
  const body = scalingCurves(rows).map(({ subject, axis, measure, points, slope }) => {
    const [first, last] = [points[0], points[points.length - 1]];
    return [subject, axis, MEASURES[measure], `${first.size} to ${last.size}`, slopeText(slope)];
  });
  return { titles: ["what", "over", "figure", "sizes", "slope"], body, names: 4 };
}

function passportTable({ passports }: BenchReport): string {
  const text = (value: unknown) => (value === undefined || value === null ? "" : String(value));
  const commitOf = ({ commit, dirty }: Passport) =>
    `${text(commit).slice(0, 10)}${dirty ? " and changes" : ""}`;
  const body = Object.entries(passports).map(([run, passport]) => [
    run,
    text(passport.driver),
    commitOf(passport),
    `\`${text(passport.command)}\``,
    text(passport.node),
    text(passport.cpu),
    typeof passport.loadAverage === "number" ? figure(passport.loadAverage) : "",
    peakText(passport),
  ]);
  const titles = ["run", "driver", "commit", "command", "node", "CPU", "load", "peaks"];
  return markdownTable(titles, body, titles.length);
}

/** `fma f32 57.1 GFLOP/s, copy f32 2.4 GB/s` */
function peakText({ peaks }: Passport): string {
  const known = Object.entries((peaks ?? {}) as Record<string, { gflops?: number; gbps?: number }>);
  return known
    .map(([name, { gflops, gbps }]) => {
      const text = gflops ? `${figure(gflops)} GFLOP/s` : `${figure(gbps)} GB/s`;
      return `${name} ${text}`;
    })
    .join(", ");
}
