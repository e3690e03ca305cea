/** Saved benchmarks by `uncouple watch`: tables, roofline and histories of a folder, and what is no benchmark. */
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Hono } from "hono";
import { beforeAll, expect, test } from "vitest";
import { histories } from "../../src/report/bench_history.js";
import { type BenchReport, parseBenchReport, replaceRows, runReport } from "../../src/report/bench_report.js";
import { type BenchRow, rowKey } from "../../src/report/bench_rows.js";
import type { BenchHistory, BenchList, BenchView } from "../../src/watch/api.js";
import { benchView } from "../../src/watch/bench_view.js";
import { watchApp } from "../../src/watch/server.js";
import { savedBenchmark } from "../support/benchmarks.js";
import { temporaryFolder } from "../support/folders.js";

const page = temporaryFolder();
const root = temporaryFolder();
const runs = join(root, "runs");
const results = join(root, "bench", "results");
const read = (text: BenchReport) => parseBenchReport(JSON.parse(JSON.stringify(text)), "a.json");
let app: Hono;

beforeAll(async () => {
  writeFileSync(join(page, "index.html"), "");
  mkdirSync(runs, { recursive: true });
  app = await watchApp({ runs, host: "127.0.0.1", port: 0, page });
});

const ask = (path: string, of = app) =>
  of.request(`http://127.0.0.1:1/api/benchmarks${path}`, { headers: { host: "127.0.0.1:1" } });
const json = async <T>(path: string, of = app) => (await ask(path, of)).json() as Promise<T>;

test("a file keeps what newer rows take the place of, but for rows of the same run and rows without a number", () => {
  const add: BenchRow = {
    ...{ op: "add", direction: "forward", shape: "N1", implementation: "uncouple", dtype: "f32" },
    adapter: "A",
  };
  const at = (date: string, medianMs: number, commit = date) =>
    runReport({ date, commit }, [{ ...add, medianMs }]);
  const first = at("2001", 3);
  const half = replaceRows(first, at("2002", 2.5));
  const whole = replaceRows(half, at("2002", 2));
  expect(whole.rows.map(({ medianMs }) => medianMs)).toEqual([2]);
  expect(whole.earlier?.map(({ medianMs }) => medianMs)).toEqual([3]);
  const third = replaceRows(read(whole), at("2003", 1));
  expect(third.earlier?.map(({ run, medianMs }) => [run, medianMs])).toEqual([
    ["2002", 2],
    ["2001", 3],
  ]);
  expect(Object.keys(third.passports).sort()).toEqual(["2001", "2002", "2003"]);
  const [history] = histories([third, at("2004", 9), first]);
  expect(history.points.map(({ row, passport }) => [row.medianMs, passport.commit])).toEqual([
    [3, "2001"],
    [2, "2002"],
    [1, "2003"],
    [9, "2004"],
  ]);
  const failed = runReport({ date: "2000" }, [{ ...add, error: "lost" }]);
  expect(replaceRows(failed, first).earlier).toBeUndefined();
  // twenty of a measurement at most
  const long = Array.from({ length: 30 }, (_, at) => at + 10).reduce(
    (saved, year) => replaceRows(saved, at(`20${year}`, year)),
    first,
  );
  expect(long.earlier?.map(({ medianMs }) => medianMs)).toEqual(Array.from({ length: 20 }, (_, i) => 38 - i));
  expect(Object.keys(long.passports)).toHaveLength(21);
});

test("the folder beside the runs is found once it is there", async () => {
  expect(await json<BenchList>("")).toEqual({ folder: null, problems: [], adapters: [] });
  expect((await ask("/view?adapter=Card")).status).toBe(404);
  mkdirSync(results, { recursive: true });
  writeFileSync(join(results, "card.json"), JSON.stringify(savedBenchmark()));
  const list = await json<BenchList>("");
  expect(list).toMatchObject({
    folder: results,
    problems: [],
    adapters: [{ adapter: "Card", preset: "fast", newest: "2026-02-01T00:00:00.000Z" }],
  });
});

test("tables, roofline and history have the figures of the file", async () => {
  const view = await json<BenchView>("/view?adapter=Card&preset=fast");
  expect(view.tables.map(({ title }) => title)).toEqual([
    "Peaks of the adapter",
    "Matrix products",
    "Other kernels",
    "Training steps",
  ]);
  const products = view.tables[1];
  expect(products.titles).toEqual(["shape", "dtype", "median ms", "GFLOP/s", "GB/s", "other"]);
  expect(products.body).toEqual([["512x512x512 nn", "f32", "2", "100", "5", "2x"]]);
  expect(view.points).toContainEqual({
    ...{ op: "matmul", direction: "forward", shape: "512x512x512 nn", dtype: "f32" },
    intensity: 20,
    gflops: 100,
  });
  expect(view).toMatchObject({ gbps: 40, ceilings: [{ name: "fma f32", gflops: 400 }] });
  expect(view.histories).toMatchObject([{ op: "matmul", text: "forward, 512x512x512 nn, f32", points: 2 }]);
  const history = await json<BenchHistory>(`/history?key=${encodeURIComponent(view.histories[0].key)}`);
  expect(history.points).toMatchObject([
    { commit: "aaaaaaaaaa", medianMs: 4, gflops: 50, p10Ms: 3.5, load: 0.5 },
    { commit: "bbbbbbbbbb with changes", medianMs: 2, gflops: 100, gpuMs: null },
  ]);
  expect(view.runs.map(({ run, command }) => [run, command])).toEqual([
    ["2026-02-01T00:00:00.000Z", "uncouple bench"],
  ]);
});

test("a second file adds its run; what is no benchmark is named; links and pipes are not followed", async () => {
  const other = savedBenchmark();
  const later = runReport({ date: "2026-03-01", commit: "c".repeat(40) }, [
    { ...other.rows.filter(({ op }) => op === "matmul")[0], medianMs: 1 },
  ]);
  writeFileSync(join(results, "later.json"), JSON.stringify(later));
  writeFileSync(join(results, "cut.json"), '{"rows": [');
  writeFileSync(join(results, "other.json"), '{"losses": []}');
  const outside = temporaryFolder();
  writeFileSync(join(outside, "secret.json"), JSON.stringify({ rows: [{ op: 1, secret: 2 }] }));
  symlinkSync(join(outside, "secret.json"), join(results, "link.json"));
  const { problems, adapters } = await json<BenchList>("");
  expect(problems.map(({ file }) => file)).toEqual(["cut.json", "other.json"]);
  expect(problems[1].problem).toMatch(/\[other\.json\] not a benchmark/);
  // the newest run stands in the tables, all of them in the history
  const [{ adapter, preset }] = adapters;
  const view = await json<BenchView>(`/view?adapter=${adapter}&preset=${preset}`);
  expect(view.tables[1].body[0][2]).toBe("1");
  const key = encodeURIComponent(rowKey(later.rows[0]));
  expect((await json<BenchHistory>(`/history?key=${key}`)).points.map(({ medianMs }) => medianMs)).toEqual([
    4, 2, 1,
  ]);
  expect((await ask("/history?key=x")).status).toBe(404);
  expect((await ask("/view")).status).toBe(400);
  for (const file of ["later.json", "cut.json", "other.json", "link.json"]) rmSync(join(results, file));
  expect((await json<BenchList>("")).problems).toEqual([]);
});

test("a folder that somebody names has to be there", async () => {
  const options = { runs, host: "127.0.0.1", port: 0, page };
  const named = await watchApp({ ...options, benchmarks: results });
  expect((await json<BenchList>("", named)).adapters).toHaveLength(1);
  await expect(watchApp({ ...options, benchmarks: join(root, "none") })).rejects.toThrow(
    /\[watch\] benchmarks cannot be read: got ENOENT/,
  );
  await expect(watchApp({ ...options, benchmarks: join(results, "card.json") })).rejects.toThrow(/ENOTDIR/);
});

test("figures of one preset are shown without those of another", () => {
  const add: BenchRow = {
    ...{
      op: "add",
      direction: "forward",
      implementation: "uncouple",
      dtype: "f32",
      adapter: "A",
      medianMs: 1,
    },
    ...{ shape: "N1", gflops: 1, gbps: 1 },
  };
  const rows = ["fast", "checked", "checked"].map((preset, at) => ({ ...add, preset, shape: `N${at}` }));
  const newest = runReport({ date: "2001" }, rows);
  const shown = (preset: string) =>
    benchView({ newest, reports: [newest], problems: [] }, { adapter: "A", preset });
  expect(shown("fast")?.points.map(({ shape }) => shape)).toEqual(["N0"]);
  expect(shown("checked")?.points.map(({ shape }) => shape)).toEqual(["N1", "N2"]);
  expect(shown("none")).toBeUndefined();
});
