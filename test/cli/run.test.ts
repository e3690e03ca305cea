/** `uncouple run` and `uncouple report` on a run folder that a test wrote. */
import { appendFileSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { runCli } from "../../src/cli/program.js";
import { temporaryFolder } from "../support/folders.js";
import { metricsLine, writeRecordedRun } from "../support/recorded_run.js";
import { TextStream } from "../support/streams.js";

const root = temporaryFolder();
const [first, second] = ["first", "second"].map((name) => join(root, name));

beforeAll(() => {
  writeRecordedRun(first, { updates: 10, rollouts: [], transcripts: [0, 10] });
  writeRecordedRun(second, { updates: 4, rollouts: [], settings: { seed: 7, name: "<b>bold" } });
  appendFileSync(join(second, "metrics.jsonl"), metricsLine(5, { extra: 2, loss: null }));
});

async function run(...args: string[]) {
  const [stdout, stderr] = [new TextStream(), new TextStream()];
  const code = await runCli(args, { stdout, stderr, env: { UNCOUPLE_RUNS_DIR: root } });
  return { code, out: stdout.text, err: stderr.text };
}
const json = async (...args: string[]) => JSON.parse((await run(...args, "--json")).out);

test("ls and show tell where runs stand", async () => {
  const lines = await json("run", "ls");
  expect(lines.map((line: { run: string; step: number }) => [line.run, line.step])).toEqual([
    ["first", 10],
    ["second", 5],
  ]);
  const { out } = await run("run", "show", first);
  expect(out).toMatch(/^first: finished, 10 of 10 updates/);
  expect(out).toContain(
    "evaluation after update 10, in_domain, greedy: success 0.5 (0.25 to 0.75, 64 episodes)",
  );
  expect((await json("run", "show", first)).newest.reward).toBeCloseTo(20 / 110, 12);
});

test("show prints kept episodes of an evaluation, and what a terminal would obey is written out", async () => {
  expect((await run("run", "show", first)).out).toContain("were kept after updates 0, 10");
  expect((await run("run", "show", second)).out).not.toContain("were kept");
  const { out } = await run("run", "show", first, "--episodes", "10");
  expect(out.split("\n")).toEqual([
    "in_domain, greedy, pick, game 0: truncated, 3 turns",
    "  You are in a <i>room</i>.",
    "> look",
    "  You are in a <i>room</i>.",
    "> look (repeated)",
    "  Nothing \\u001b[31mhappens.",
    "> fly (not valid)",
    "",
    "in_domain, greedy, pick, game 1: won, 3 turns",
    ...["  You are in a <i>room</i>.", "> take mug", "  You are in a <i>room</i>."],
    ...["> take mug (repeated, reward 1)", "  Nothing \\u001b[31mhappens.", "> fly (not valid)", "", ""],
  ]);
  const [, won] = await json("run", "show", first, "--episodes", "10");
  expect(won).toMatchObject({ taskId: "game 1", ended: "won", invalid: 1, repeated: 1 });
  const { code, err } = await run("run", "show", first, "--episodes", "3");
  expect([code, err]).toEqual([2, expect.stringMatching(/got --episodes 3, .*after updates 0, 10/)]);
  expect((await run("run", "show", second, "--episodes", "3")).err).toContain("this run kept none");
});

test("before the first run ls lists nothing; a folder that was named must be there", async () => {
  const stdout = new TextStream();
  const env = { UNCOUPLE_RUNS_DIR: join(root, "none") };
  const of = (...args: string[]) =>
    runCli(["run", "ls", "--json", ...args], { stdout, stderr: new TextStream(), env });
  expect([await of(), JSON.parse(stdout.text)]).toEqual([0, []]);
  expect(await of(join(root, "none"))).toBe(2);
});

test("get prints the updates that have the number; an unknown one is an error with those that are near", async () => {
  expect(await json("run", "get", second, "loss")).toEqual([1, 2, 3, 4].map((step) => [step, 1 / step]));
  expect((await run("run", "get", second, "extra")).out).toBe("5\t2\n");
  const { code, err } = await run("run", "get", second, "los");
  expect([code, err]).toEqual([2, expect.stringMatching(/no such metric: got los.*loss/)]);
  expect((await run("run", "get", root, "loss")).code).toBe(2);
});

test("diff names what differs and nothing else", async () => {
  const { settings, newest } = await json("run", "diff", first, second);
  expect(settings).toMatchObject({ seed: ["0", "7"], "grpo.max_steps": ["10", "4"] });
  expect(settings).not.toHaveProperty("world.id");
  expect(newest).toMatchObject({ extra: [null, 2] });
  expect(newest).not.toHaveProperty("grad_norm");
});

test("export writes an event file; report a page that stands alone, with texts as texts, and pictures", async () => {
  const { out } = await run("run", "export", first);
  expect(out).toMatch(/first\/tensorboard\/events\.out\.tfevents\.1767323045\.uncouple\n$/);
  const events = readFileSync(out.trim()).toString("latin1");
  for (const tag of ["reward", "more/metric_39", "eval/in_domain/greedy/success_low"])
    expect(events).toContain(tag);
  const table = (await run("run", "export", second, "--trackio")).out.trim();
  expect(table).toBe(join(second, "trackio", "second.csv"));
  const [head, ...lines] = readFileSync(table, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => line.split(","));
  expect(head.slice(0, 3)).toEqual(["step", "timestamp", "success"]);
  expect(new Set(lines.map(({ length }) => length))).toEqual(new Set([head.length]));
  const cells = (step: string) =>
    lines
      .filter(([one]) => one === step)
      .map((line) => Object.fromEntries(line.map((cell, at) => [head[at], cell])));
  expect(cells("5")[0]).toMatchObject({ timestamp: "2023-11-14T22:13:25.000Z", extra: "2", loss: "" });
  expect(Number(cells("3")[0].loss)).toBe(1 / 3);
  expect(cells("4")[1]).toMatchObject({ "eval/in_domain/greedy/success_low": "0.25", loss: "" });
  const folder = join(root, "report");
  expect((await run("report", second, "--out", folder)).code).toBe(0);
  expect(readdirSync(folder)).toEqual(
    expect.arrayContaining(["report.html", "success.svg", "gradient_norm.svg"]),
  );
  const page = readFileSync(join(folder, "report.html"), "utf8");
  expect(page).toContain("&lt;b&gt;bold");
  expect(page).not.toMatch(/<b>|<script|src=|href=|@import|url\(/);
  expect(page.match(/<svg/g)?.length).toBe(readdirSync(folder).length - 1);
});
