import { expect, test } from "vitest";
import { type BenchRow, withShares } from "../../src/report/bench_rows.js";
import { benchCsv, benchMarkdown } from "../../src/report/bench_text.js";

const head = { direction: "forward", implementation: "uncouple", dtype: "f32", adapter: "A 1.0" } as const;
const peaks: BenchRow[] = [
  { ...head, op: "peak", shape: "copy 64 MiB", medianMs: 2, gpuMs: 1, gflops: 0, gbps: 50 },
  { ...head, op: "peak", shape: "fma 4 chains", medianMs: 2, gpuMs: 1, gflops: 500, gbps: 0.1 },
  { ...head, op: "peak", shape: "matrix 16x16x16 to f32", dtype: "f16", medianMs: 1, gflops: 9000, gbps: 1 },
];

test("shares compare by the same clock: GPU time where both have it, else wall clock", () => {
  const ours: BenchRow = { ...head, op: "add", shape: "N1", medianMs: 4, gpuMs: 1, gflops: 50, gbps: 10 };
  const peer: BenchRow = { ...ours, implementation: "other", gpuMs: undefined };
  const [, , , own, other] = withShares([...peaks, ours, peer]);
  // by GPU time: 200 of 1000 GFLOP/s and 40 of 100 GB/s
  expect(own).toMatchObject({ fmaShare: 0.2, copyShare: 0.4 });
  // by wall clock: 50 of 500 GFLOP/s and 10 of 50 GB/s
  expect(other).toMatchObject({ fmaShare: 0.1, copyShare: 0.2 });
  expect(own.matrixShare).toBeUndefined();
});

test("half precision is held against the matrix peak, and rows without numbers against nothing", () => {
  const half: BenchRow = {
    ...head,
    op: "matmul",
    shape: "s",
    dtype: "f16",
    medianMs: 1,
    gflops: 4500,
    gbps: 1,
  };
  const failed: BenchRow = { ...head, op: "add", shape: "N1", error: "not installed" };
  const rows = withShares([...peaks, half, failed]);
  expect(rows[3].matrixShare).toBe(0.5);
  expect(rows[3].fmaShare).toBeUndefined();
  expect(rows[4]).toEqual(failed);
  expect(rows.slice(0, 3)).toEqual(peaks);
});

const table: BenchRow[] = [
  { ...head, op: "add", shape: "N1 C2", medianMs: 1.23456789, p10Ms: 1, p90Ms: 2, gflops: 3, gbps: 4 },
  { ...head, op: "add", shape: "N1 C2", implementation: "peer", error: 'said "no", | then\nended' },
];

test("CSV has one line a row, quotes what needs it and keeps numbers whole", () => {
  const [first, ours, ...rest] = benchCsv(table).split("\r\n");
  expect(first).toBe(
    "op,direction,implementation,version,shape,dtype,adapter,preset,run,medianMs,p10Ms,p90Ms,gflops,gbps,error",
  );
  expect(ours).toBe("add,forward,uncouple,,N1 C2,f32,A 1.0,,,1.23456789,1,2,3,4,");
  expect(rest.join("\r\n")).toBe('add,forward,peer,,N1 C2,f32,A 1.0,,,,,,,,"said ""no"", | then\nended"');
});

test("Markdown leaves out columns that nobody fills and keeps errors inside their cell", () => {
  const lines = benchMarkdown(table).split("\n");
  expect(lines).toHaveLength(4);
  expect(lines[0]).toBe(
    "| op | direction | shape | dtype | preset | implementation | median ms | p10 | p90 | GFLOP/s | GB/s |",
  );
  expect(lines[2]).toContain("| 1.235 | 1 | 2 | 3 | 4 |");
  expect(lines[3]).toContain('said "no", \\| then ended');
  const cells = lines.map((line) => line.replaceAll("\\|", "").split("|").length);
  expect(new Set(cells).size).toBe(1);
});

test("Markdown of rows that all failed has a column for their errors", () => {
  const [titles, , failed] = benchMarkdown(table.slice(1)).split("\n");
  expect(titles).toBe("| op | direction | shape | dtype | preset | implementation | median ms |");
  expect(failed).toBe('| add | forward | N1 C2 | f32 |  | peer | said "no", \\| then ended |');
});

test("figures of two adapters never share a table, and objects stay readable in CSV", () => {
  const other: BenchRow = { ...table[0], adapter: "B 2.0", phases: { open: 3 } };
  const markdown = benchMarkdown([...table, other]);
  expect(markdown.split("\n\n").map((part) => part.split("\n")[0].slice(0, 9))).toEqual([
    "### A 1.0",
    "| op | di",
    "### B 2.0",
    "| op | di",
  ]);
  expect(markdown).toContain("| open 3 |");
  expect(benchCsv([other])).toContain('"{""open"":3}"');
});
