/** Files that commands write on a disk that is full at each of their writes: whole ones or none, and the next try makes them. */
import { createHash } from "node:crypto";
import {
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { saveReport } from "../../src/cli/bench/bench_save.js";
import { runCli } from "../../src/cli/program.js";
import { EpisodeFile } from "../../src/host/experiment/episode_file.js";
import { writeFileAtomic } from "../../src/host/files/files.js";
import { systemError } from "../../src/host/files/system_errors.js";
import { writeAdapterFolder } from "../../src/host/model/adapter_folder.js";
import { writeCouplingFiles } from "../../src/host/run/coupling_files.js";
import type { LoraAdapter } from "../../src/model/lora.js";
import { runReport } from "../../src/report/bench_report.js";
import type { EvaluationEpisode } from "../../src/rl/play/evaluate.js";
import { drawnDocument } from "../support/coupling_document.js";
import { quickFolder } from "../support/folders.js";
import { onFullDisk } from "../support/full_disk.js";
import { writeRecordedRun } from "../support/recorded_run.js";
import { TextStream } from "../support/streams.js";

const run = join(quickFolder(), "run");
writeRecordedRun(run, { updates: 3, rollouts: [] });

/** Does a command that must end as its error says: with 1 and one line on a full disk. */
async function command(...args: string[]): Promise<void> {
  const [stdout, stderr] = [new TextStream(), new TextStream()];
  const code = await runCli(args, { stdout, stderr, env: {} });
  if (code === 0) return;
  expect({ code, lines: stderr.text.trim().split("\n").length }).toEqual({ code: 1, lines: 1 });
  throw new Error(stderr.text);
}

const document = drawnDocument(4);
const gram = Float64Array.from(document.gram);
const adapter = {
  lora: { rank: 1, alpha: 1, dropout: 0, targets: ["q_proj"] },
  parameters: {
    named: [{ name: "a", shape: [2] }],
    read: async () => Float32Array.of(1, 2),
  },
} as unknown as LoraAdapter;
const row = {
  op: "add",
  direction: "forward",
  implementation: "uncouple",
  dtype: "f32",
  shape: "N1",
} as const;
const bench = runReport({ date: "2001", commit: "a" }, [{ ...row, adapter: "A", medianMs: 2 }]);
const played = (at: number): EvaluationEpisode =>
  ({
    split: "s",
    mode: "greedy",
    sample: 0,
    taskId: `${at}`,
    taskType: "t",
    ended: "lost",
    rows: [],
  }) as never;

/** Plays what is left of three episodes, as an evaluation does. */
async function evaluate(folder: string): Promise<void> {
  const file = await EpisodeFile.open(join(folder, "episodes.jsonl"), "identity");
  try {
    for (let at = file.played.length; at < 3; at++) {
      file.add(played(at));
      // an episode takes time
      await new Promise((done) => setImmediate(done));
    }
  } finally {
    await file.close();
  }
}

const WRITERS: readonly (readonly [string, (folder: string) => Promise<unknown>])[] = [
  [
    "coupling",
    (folder) => writeCouplingFiles(join(folder, "out"), document, { gram, layers: { gram } }, document),
  ],
  ["report", (folder) => command("report", run, "--out", join(folder, "out"))],
  ["run export", (folder) => command("run", "export", run, "--out", join(folder, "out"))],
  ["init", (folder) => command("init", join(folder, "file.yaml"))],
  ["bench --save", (folder) => saveReport(bench, join(folder, "rows.json"))],
  ["an adapter", (folder) => writeAdapterFolder(join(folder, "adapter"), adapter, { path: null })],
];

const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** Every file by its hash. */
const contentOf = (folder: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name))
      .map((path) => [path.slice(folder.length), hashOf(readFileSync(path))]),
  );

test.each(WRITERS)("%s", async (name, write) => {
  const stride = name === "report" ? 5 : 1;
  await write(quickFolder());
  const whole = quickFolder();
  const { writes } = await onFullDisk({ from: Number.POSITIVE_INFINITY, lasts: true }, () => write(whole));
  const expected = contentOf(whole);
  expect(writes).toBeGreaterThan(2);
  for (const lasts of [true, false]) {
    for (let from = 0; from < writes; from += stride) {
      const folder = quickFolder();
      const { error } = await onFullDisk({ from, lasts }, () => write(folder));
      const said = systemError(error)?.message ?? String(error);
      expect(said, `write ${from}`).toMatch(
        new RegExp(`\\[${folder}[^\\]]*\\] the system refused: got ENOSPC`),
      );
      expect(said, `write ${from}`).not.toContain(".partial");
      // no half file has a name; all have theirs or none, unless the names themselves could not be given
      expect(expected, `write ${from}`).toMatchObject(contentOf(folder));
      for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true });
      await write(folder);
      expect(contentOf(folder), `write ${from}`).toEqual(expected);
    }
  }
});

test("files that are there already stay whole, and of one time", async () => {
  const folder = quickFolder();
  await writeCouplingFiles(folder, document, { gram, layers: { gram } });
  const before = contentOf(folder);
  const other = drawnDocument(5);
  const grams = { gram: Float64Array.from(other.gram), layers: {} };
  const { error } = await onFullDisk({ from: 12, lasts: true }, () =>
    writeCouplingFiles(folder, other, grams),
  );
  expect(String(error)).toContain("ENOSPC");
  expect(contentOf(folder)).toEqual(before);
});

test("episodes of an evaluation: those that were kept are not played again", async () => {
  const whole = quickFolder();
  const { writes } = await onFullDisk({ from: Number.POSITIVE_INFINITY, lasts: true }, () => evaluate(whole));
  for (const lasts of [true, false]) {
    for (let from = 0; from < writes; from++) {
      const folder = quickFolder();
      const { error } = await onFullDisk({ from, lasts }, () => evaluate(folder));
      expect(String(error), `write ${from}`).toMatch(/ENOSPC.*episodes\.jsonl|ENOSPC.*uncouple-test/);
      await evaluate(folder);
      expect(contentOf(folder), `write ${from}`).toEqual(contentOf(whole));
    }
  }
});

test("a link stays a link, and what is no file is left alone", async () => {
  const folder = quickFolder();
  writeFileSync(join(folder, "rows.json"), "[]");
  symlinkSync("rows.json", join(folder, "link.json"));
  await saveReport(bench, join(folder, "link.json"));
  expect(lstatSync(join(folder, "link.json")).isSymbolicLink()).toBe(true);
  expect(readFileSync(join(folder, "rows.json"), "utf8")).toContain('"add"');
  for (const [path, what] of [
    ["/dev/null", "a device"],
    [folder, "a folder"],
  ] as const)
    await expect(writeFileAtomic(path, "-")).rejects.toThrow(`cannot be written: got ${what}`);
  expect(existsSync("/dev/null")).toBe(true);
  symlinkSync("nowhere", join(folder, "dangling"));
  await expect(writeFileAtomic(join(folder, "dangling"), "-")).rejects.toThrow("ENOENT");
});
