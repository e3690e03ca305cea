import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runCli } from "../../src/cli/program.js";
import { type BenchReport, parseBenchReport, standaloneRows } from "../../src/report/bench_report.js";
import type { BenchRow } from "../../src/report/bench_rows.js";
import { temporaryFolder } from "../support/folders.js";
import { TextStream } from "../support/streams.js";

const folder = temporaryFolder();
const file = (name: string) => join(folder, name);

async function bench(...args: string[]) {
  const stdout = new TextStream();
  const stderr = new TextStream();
  const code = await runCli(["bench", ...args], { stdout, stderr, env: process.env });
  return { code, stdout: stdout.text, stderr: stderr.text };
}

const QUICK = ["add", "--quick", "--repeats", "3"];

test("a quick run prints one array of rows, checked and timed, and saves it with its passport", async () => {
  const saved = file("add.json");
  const { code, stdout, stderr } = await bench(
    ...QUICK,
    "--json",
    "--save",
    saved,
    "--svg",
    file("page.svg"),
  );
  expect(code).toBe(0);
  const rows: BenchRow[] = JSON.parse(stdout);
  const [row] = rows.filter(({ op }) => op === "add");
  expect(row).toMatchObject({ op: "add", direction: "forward", implementation: "uncouple", dtype: "f32" });
  for (const name of ["medianMs", "p10Ms", "p90Ms", "gflops", "gbps", "fmaShare", "copyShare"] as const)
    expect(row[name]).toBeGreaterThan(0);
  expect(row).toMatchObject({
    repeats: 3,
    dispatches: 1,
    adapter: expect.any(String),
    shape: expect.any(String),
  });
  const peaks = rows.filter(({ op }) => op === "peak");
  expect(peaks.map(({ shape, dtype }) => `${shape.split(" ")[0]} ${dtype}`)).toEqual(
    expect.arrayContaining(["copy f32", "fma f32"]),
  );
  expect(peaks.filter(({ error }) => error)).toEqual([]);
  expect(stderr).toMatch(/GPU clock: steps of \d+ ns|no GPU clock/);
  const report: BenchReport = parseBenchReport(JSON.parse(readFileSync(saved, "utf8")), saved);
  expect(standaloneRows(report)).toEqual(rows);
  const preset = process.env.UNCOUPLE_PRESET ?? "checked";
  expect(row).toMatchObject({
    preset,
    tuning: { source: expect.any(String), choices: expect.any(Object) },
    passport: {
      command: expect.stringContaining("bench add --quick"),
      preset,
      facts: expect.objectContaining({ isSoftware: expect.any(Boolean) }),
    },
    peaks: {
      "copy f32": { gbps: expect.any(Number) },
      "fma f32": { gflops: expect.any(Number) },
    },
  });
  expect(readFileSync(file("page.svg"), "utf8")).toMatch(/^<svg .*<\/svg>\n$/s);
});

test("training and generation are measured end to end, the training step beside peers that are not installed", async () => {
  const options = ["--quick", "--shape", "^tiny", "--json", "--peer", "torch-eager"];
  const { code, stdout } = await bench("training_step,rollout", ...options);
  expect(code).toBe(0);
  const rows: BenchRow[] = JSON.parse(stdout);
  const find = (op: string, implementation = "uncouple") =>
    rows.find((row) => row.op === op && row.implementation.startsWith(implementation));
  const step = find("training_step");
  expect(step?.error).toBeUndefined();
  expect(step?.firstLosses?.[0]).toBeCloseTo(Math.log(64), 0);
  for (const name of [
    "tokensPerSecond",
    "dispatches",
    "encodeMs",
    "bytesLive",
    "bytesPeak",
    "gflops",
  ] as const)
    expect(step?.[name]).toBeGreaterThan(0);
  expect(find("rollout")).toMatchObject({ direction: "decode", tokensPerSecond: expect.any(Number) });
  const torch = find("training_step", "torch");
  expect(torch?.medianMs ?? torch?.error).toBeDefined();
});

const slow = (factor: number) => {
  const row = { direction: "forward", implementation: "uncouple", shape: "N1", dtype: "f32", adapter: "A" };
  return [
    { ...row, op: "add", medianMs: factor, gflops: 1, gbps: 2 },
    { ...row, op: "rope", medianMs: 1, gflops: 1, gbps: 2 },
  ];
};

function write(name: string, rows: unknown): string {
  writeFileSync(file(name), JSON.stringify(rows));
  return file(name);
}

test("a row slower than the baseline allows ends with exit code 5, after the rows were printed", async () => {
  const now = write("now.json", slow(1.3));
  const before = write("before.json", { passports: {}, rows: slow(1) });
  const failed = await bench("--from", now, "--baseline", before, "--json");
  expect(failed.code).toBe(5);
  expect(JSON.parse(failed.stdout)[0]).toMatchObject({ op: "add", baselineMs: 1 });
  expect(failed.stderr).toMatch(/\[bench\] slower than the baseline: got add forward at N1.*30\.0 % slower/);
  expect((await bench("--from", now, "--baseline", before, "--fail-above", "35%")).code).toBe(0);
  expect((await bench("rope", "--from", now, "--baseline", before)).code).toBe(0);
  expect(await bench("--from", now, "--shape", "zzz")).toMatchObject({
    code: 2,
    stdout: "",
    stderr: expect.stringContaining('[bench] no shape matches: got --shape "zzz"'),
  });
});

test("saved rows are printed as CSV and Markdown; the first of two files wins", async () => {
  const [first, second] = [write("first.json", slow(1)), write("second.json", slow(2))];
  const csv = await bench("add", "--from", first, "--from", second, "--csv");
  expect(csv.stdout.trim().split("\r\n")).toHaveLength(2);
  expect(csv.stdout).toContain("add,forward,uncouple,,N1,f32,A,,,1,");
  const markdown = await bench("--from", first, "--markdown", "--roofline", file("roof.svg"));
  expect(markdown.stdout).toMatch(/^\| op \| direction \|.*\n\| ---/);
  expect(readFileSync(file("roof.svg"), "utf8")).toContain("Roofline, A");
});

test.each([
  ["an unknown op", ["nonsense"], /no op of this name: got "nonsense", expected .*training_step/],
  ["one unknown op of two", ["add,nonsense"], /got "nonsense"/],
  ["a bad pattern", ["--shape", "("], /--shape is wrong: got "\("/],
  ["a bad count", ["--repeats", "0"], /--repeats is wrong: got 0/],
  ["a bad percentage", ["--fail-above", "much"], /--fail-above is wrong: got "much"/],
  ["two forms of output", ["--json", "--csv"], /cannot be used with/],
  ["an unknown peer", ["--peer", "numpy"], /'numpy' is invalid/],
])("%s is a usage error", async (_, args, message) => {
  const { code, stdout, stderr } = await bench(...args);
  expect(code).toBe(2);
  expect(stdout).toBe("");
  expect(stderr).toMatch(message);
});

test("an op behind --save is not taken for a file", async () => {
  const { code, stderr } = await bench("--quick", "--save", "add");
  expect(code).toBe(2);
  expect(stderr).toContain('--save is wrong: got "add"');
});

test("files that are no benchmark are named", async () => {
  const missing = await bench("--baseline", file("nowhere.json"));
  expect(missing).toMatchObject({ code: 2, stderr: expect.stringContaining("nowhere.json") });
  const wrong = await bench("--from", write("wrong.json", { rows: [{ op: 1 }] }));
  expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining("rows.0.op") });
});

test("coupling is measured over the plain pass, and its paths over sizes", async () => {
  const saved = file("coupling.json");
  const { code, stdout } = await bench(
    "coupling,gram_curves",
    "--quick",
    "--repeats",
    "3",
    "--json",
    "--save",
    saved,
  );
  expect(code).toBe(0);
  const rows: BenchRow[] = JSON.parse(stdout);
  const coupling = rows.filter(({ op }) => op === "coupling");
  expect(coupling.map(({ direction }) => direction)).toEqual(["gram", "directions", "separate"]);
  for (const row of coupling) {
    expect(row).toMatchObject({ implementation: "uncouple", shape: "tiny S8 T16" });
    expect(row.error).toBeUndefined();
    expect(row.ratio).toBeGreaterThan(0);
    expect(row.peakRatio).toBeGreaterThan(0);
  }
  // a pass of one sample holds less than one of all
  expect(coupling[2].peakRatio).toBeLessThan(coupling[0].peakRatio as number);
  const curves = rows.filter(({ op }) => op === "gram_curves");
  expect(curves.map(({ shape }) => shape)).toEqual(
    ["width64 S4 T4", "width64 S4 T16"].flatMap((point) =>
      ["product", "token", "auto", "separate"].map((what) => `${point} ${what}`),
    ),
  );
  for (const row of curves) expect(row.ratio).toBeGreaterThan(0);
  const chosen = (shape: string) => curves.find((row) => row.shape === shape);
  expect(chosen("width64 S4 T4 auto")).toMatchObject({ tokenMatrices: 9, matrices: 9 });
  expect(chosen("width64 S4 T16 product")).toMatchObject({ tokenMatrices: 0, matrices: 9 });
  const text = file("coupling.md");
  writeFileSync(text, "<!-- bench coupling -->\n<!-- end -->\n<!-- bench gram_curves -->\n<!-- end -->\n");
  expect((await bench("--from", saved, "--into", text)).code).toBe(0);
  const filled = readFileSync(text, "utf8");
  expect(filled).toMatch(/tiny S8 T16 \| a backward pass for each sample \| uncouple \| [\d.]+ \| [\d.]+ \|/);
  expect(filled).toMatch(/width64 S4 T4 \| \S+ \| \S+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \| 9 of 9/);
});

test("a profile is printed by cause and kernel, saved as one row for each work, and refused where there is none", async () => {
  const saved = file("profile.json");
  const options = ["--profile", "--quick", "--shape", "^tiny", "--save", saved];
  const { code, stdout } = await bench("training_step", ...options);
  expect(code).toBe(0);
  for (const text of ["step tiny B2 T16", "attention backward", "matmul.tn", "gaps and host", "nearest peak"])
    expect(stdout).toContain(text);
  const report = parseBenchReport(JSON.parse(readFileSync(saved, "utf8")), saved);
  const [row, ...more] = report.rows.filter(({ op }) => op !== "peak");
  expect(more).toEqual([]);
  expect(row).toMatchObject({ op: "profile", parts: expect.any(Array), unprofiledMs: expect.any(Number) });
  expect(row.parts?.find(({ kernel }) => kernel === "matmul.nt")).toMatchObject({
    gflops: expect.any(Number),
    fmaShare: expect.any(Number),
    copyShare: expect.any(Number),
  });
  expect(Object.values(report.passports)[0].command).toMatch(/bench training_step .*--profile --quick/);
  expect(await bench("matmul", "--profile")).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('[bench] nothing of this name has a profile: got "matmul"'),
  });
  expect(await bench("training_step", "--profile", "--peers")).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("--profile"),
  });
  const drawn = await bench("--from", saved, "--markdown");
  expect(drawn.code).toBe(0);
});

test("an iteration of RL is measured beside a loop in torch, where there is one", async () => {
  const { code, stdout } = await bench(
    "iteration",
    "--quick",
    "--repeats",
    "2",
    "--json",
    "--peer",
    "torch-eager",
  );
  expect(code).toBe(0);
  const rows: BenchRow[] = JSON.parse(stdout).filter(({ op }: BenchRow) => op === "iteration");
  const [own, torch] = rows;
  expect(own).toMatchObject({ shape: "nano household 2x4", implementation: "uncouple", direction: "step" });
  expect(own.error).toBeUndefined();
  expect(own.phases).toEqual({ play: expect.any(Number), update: expect.any(Number) });
  expect(own.tokensPerSecond).toBeGreaterThan(0);
  expect(torch.implementation).toMatch(/^torch-eager/);
  // torch may be missing, but where it is there it computes the same
  expect(torch.error ?? "").not.toMatch(/another|wrong/);
  if (torch.error === undefined) expect(torch.phases).toMatchObject({ play: expect.any(Number) });
});
