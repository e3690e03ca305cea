/** `uncouple watch` without a browser: what it tells of runs, what it refuses, and that it survives every question. */
import { appendFileSync, mkdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import type { Hono } from "hono";
import { beforeAll, expect, test } from "vitest";
import type {
  EpisodePage,
  EvaluatedEpisode,
  EvaluatedPage,
  GroupPage,
  RunDetail,
  RunLine,
  Series,
} from "../../src/watch/api.js";
import { MetricsTable } from "../../src/watch/metrics_table.js";
import { WatchServer, watchApp } from "../../src/watch/server.js";
import { savedBenchmark } from "../support/benchmarks.js";
import { temporaryFolder } from "../support/folders.js";
import {
  appendUpdates,
  evaluationLine,
  metricsLine,
  rolloutRow,
  writeRecordedRun,
} from "../support/recorded_run.js";

const page = temporaryFolder();
const root = temporaryFolder();
const run = join(root, "a run");
let app: Hono;

beforeAll(async () => {
  writeFileSync(join(page, "index.html"), "<title>the page</title>");
  writeRecordedRun(run, { updates: 30, rollouts: [3], transcripts: [0, 30] });
  app = await watchApp({ runs: root, host: "127.0.0.1", port: 0, page });
});

const ask = (path: string, init: RequestInit = {}, of = app) =>
  of.request(`http://127.0.0.1:1${path}`, { ...init, headers: { host: "127.0.0.1:1", ...init.headers } });
const json = async <T>(path: string, of = app) => (await ask(path, {}, of)).json() as Promise<T>;
const series = (query: string) => json<Series>(`/api/runs/a%20run/series?${query}`);

test("the list and a run say what their files say", async () => {
  const [line] = await json<RunLine[]>("/api/runs");
  expect(line).toMatchObject({
    run: "a run",
    status: "finished",
    step: 30,
    steps: 30,
    seed: 3,
    evaluated: 0.5,
  });
  expect(line.success).toBeCloseTo(30 / 130, 12);
  const detail = await json<RunDetail>("/api/runs/a%20run");
  expect(detail.settings["grpo.max_steps"]).toBe("30");
  expect(detail).toMatchObject({
    rolloutSteps: [3],
    transcriptSteps: [0, 30],
    damaged: { "metrics.jsonl": 0 },
  });
  expect(detail.state).toMatchObject({ metrics: 30, evaluations: 10, rollouts: 3 });
});

test("columns grow with their file, take back what a resumed run takes back, and count damaged lines", async () => {
  const path = join(root, "growing");
  writeRecordedRun(path, { updates: 5, rollouts: [] });
  const of = (query: string) => json<Series>(`/api/runs/growing/series?keys=success,none&${query}`);
  const first = await of("from=0&generation=0");
  expect(first).toMatchObject({ total: 5, step: [1, 2, 3, 4, 5], stride: 1 });
  expect(first.values.none).toEqual([null, null, null, null, null]);
  const file = join(path, "metrics.jsonl");
  // half a line is not read before it is whole
  const line = metricsLine(6);
  appendFileSync(file, line.slice(0, 40));
  expect((await of("from=5&generation=0")).total).toBe(5);
  appendFileSync(file, `${line.slice(40)}{"step": broken\n[1]\n`);
  appendUpdates(path, 7, 1);
  const next = await of("from=5&generation=0");
  expect(next).toMatchObject({ from: 5, total: 7, step: [6, 7] });
  expect((await json<RunDetail>("/api/runs/growing")).damaged["metrics.jsonl"]).toBe(2);
  // a resumed run has other lines: in a new file, or in the same one
  writeFileSync(file, metricsLine(1) + metricsLine(2) + metricsLine(3, { success: 0.25 }));
  const again = await of("from=7&generation=0");
  expect(again).toMatchObject({ from: 0, total: 3, generation: 1 });
  expect(again.values.success[2]).toBe(0.25);
  // written over in its place by something longer
  writeFileSync(
    file,
    [1, 2, 3, 4].map((step) => metricsLine(step, { success: 0.5, note: "x".repeat(40) })).join(""),
  );
  expect(await of("from=3&generation=1")).toMatchObject({ from: 0, total: 4, generation: 2 });
});

test("very many lines are averaged in equal runs", () => {
  const table = new MetricsTable();
  for (let step = 1; step <= 12; step++)
    table.add({ step, stage: "grpo", loss: step % 3 === 0 ? null : step });
  const { stride, from, step, values } = table.series(["loss"], 7, 0, 4);
  expect({ stride, from, step }).toEqual({ stride: 3, from: 0, step: [3, 6, 9, 12] });
  expect(values.loss).toEqual([1.5, 4.5, 7.5, 10.5]);
});

test("groups, their order, episodes turn by turn and states", async () => {
  const groups = await json<GroupPage>("/api/runs/a%20run/updates/3/groups?order=spread");
  expect(groups.groups.map(({ group, dead, spread }) => [group, dead, spread])).toEqual([
    [1, false, 1],
    [0, true, 0],
  ]);
  expect(groups.groups[0].episodes[2]).toEqual({
    episode: 2,
    outcome: 0,
    advantage: -0.5,
    turns: 3,
    invalid: 1,
    repeated: 0,
  });
  const episode = await json<EpisodePage>("/api/runs/a%20run/updates/3/groups/1/episodes/1");
  expect(episode).toMatchObject({ outcome: 1, taskId: "task 1" });
  expect(episode.turns.map(({ action, verdict }) => [action, verdict])).toEqual([
    ["look", null],
    ["take mug", "good"],
    ["take mug", "good"],
  ]);
  expect(episode.turns[0]).toMatchObject({
    instructions: "> do not look twice",
    tokens: [
      { text: "#4", logProb: -0.1, weight: 1 },
      { text: "#5", logProb: -0.7, weight: 1 },
    ],
  });
  const { states } = await json<{ states: { anchor: string; actions: object[] }[] }>(
    "/api/runs/a%20run/updates/3/anchors",
  );
  const tried = states.find(({ anchor }) => anchor === "room 1.1");
  expect(tried?.actions).toMatchObject([
    { action: "take mug", visits: 2, advantage: 0.5, outcome: 1, verdict: "good" },
    { action: "go away", visits: 2, advantage: -0.5, outcome: 0, verdict: "bad" },
  ]);
});

test("episodes of an evaluation, and lines that are none", async () => {
  const file = join(run, "evaluations", "step_000030.jsonl");
  appendFileSync(file, '{"step":30}\nnonsense\n');
  const page = await json<EvaluatedPage>("/api/runs/a%20run/evaluations/30/episodes");
  expect(page).toMatchObject({ step: 30, damaged: 2 });
  const part = { split: "in_domain", mode: "greedy", instructions: null, turns: 3, invalid: 1, repeated: 1 };
  expect(page.episodes).toMatchObject([
    { index: 0, taskId: "game 0", ended: "truncated", ...part },
    { index: 1, taskId: "game 1", ended: "won", ...part },
  ]);
  const episode = await json<EvaluatedEpisode>("/api/runs/a%20run/evaluations/30/episodes/1");
  expect(episode.steps.map(({ action, repeated, valid }) => [action, repeated, valid])).toEqual([
    ["take mug", false, true],
    ["take mug", true, true],
    ["fly", false, false],
  ]);
  for (const path of ["30/episodes/2", "30/episodes/x", "29/episodes"])
    expect([400, 404]).toContain((await ask(`/api/runs/a%20run/evaluations/${path}`)).status);
});

test("a repeated action, a verdict that was asked for, and lines that are no rows", async () => {
  const rows = [
    rolloutRow(4, { group: 0, episode: 0, turn: 0 }),
    rolloutRow(
      4,
      { group: 0, episode: 0, turn: 1 },
      { observation: "You are in room 0.", action: "look", anchor_key: "k" },
    ),
    rolloutRow(
      4,
      { group: 0, episode: 0, turn: 0 },
      { kind: "classification", action: "look", anchor_key: "k", log_probs: [Math.log(0.75)] },
    ),
  ];
  const lines = [
    ...rows.map((row) => JSON.stringify(row)),
    "{}",
    "nonsense",
    JSON.stringify({ ...rows[0], mask: [1] }),
  ];
  writeFileSync(join(run, "rollouts", "step_000004.jsonl"), `${lines.join("\n")}\n`);
  const groups = await json<GroupPage>("/api/runs/a%20run/updates/4/groups");
  expect(groups).toMatchObject({ damaged: 3, verdicts: 1, total: 1 });
  const { turns } = await json<EpisodePage>("/api/runs/a%20run/updates/4/groups/0/episodes/0");
  expect(turns.map(({ repeated }) => repeated)).toEqual([false, true]);
  expect(turns.map(({ judged }) => judged)).toEqual([null, expect.closeTo(0.75, 9)]);
});

test("a run without a sign of life is no running one", async () => {
  const path = join(root, "killed");
  writeRecordedRun(path, { updates: 2, status: "running", rollouts: [] });
  const status = async () => (await json<RunDetail>("/api/runs/killed")).status;
  expect(await status()).toBe("stale");
  const lock = join(path, "run.lock.host.1.1");
  writeFileSync(lock, "");
  expect(await status()).toBe("running");
  const before = new Date(Date.now() - 200_000);
  utimesSync(lock, before, before);
  expect(await status()).toBe("stale");
  writeFileSync(join(path, "run.json"), '{"recordVersion": 1e9}');
  expect(await status()).toBe("unreadable");
  rmSync(path, { recursive: true });
});

test("others are refused: foreign names, writing, other machines without a token", async () => {
  for (const host of [
    "evil.example",
    "evil.example:1",
    "127.0.0.1.evil.example",
    "",
    "localhost.evil",
    "[::2]",
  ])
    expect((await ask("/api/runs", { headers: { host } })).status, host).toBe(403);
  for (const host of ["localhost:9", "127.0.0.1", "[::1]:80", "LOCALHOST"])
    expect((await ask("/api/runs", { headers: { host } })).status, host).toBe(200);
  for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
    expect((await ask("/api/runs", { method })).status).toBe(405);
  await expect(WatchServer.start({ runs: root, host: "0.0.0.0", port: 0, page })).rejects.toThrow(
    /--token-file/,
  );
  const guarded = await watchApp({ runs: root, host: "0.0.0.0", port: 0, page, token: "secret" });
  const status = async (path: string, headers = {}) => (await ask(path, { headers }, guarded)).status;
  expect(await status("/api/runs")).toBe(401);
  expect(await status("/")).toBe(401);
  expect(await status("/api/runs?token=secre")).toBe(401);
  expect(await status("/api/runs", { authorization: "Bearer secret" })).toBe(200);
  const entered = await ask("/?token=secret", {}, guarded);
  expect(entered.status).toBe(302);
  const [cookie] = (entered.headers.get("set-cookie") ?? "").split(";");
  expect(entered.headers.get("set-cookie")).toMatch(/HttpOnly.*SameSite=Strict/);
  expect(await status("/api/runs", { cookie })).toBe(200);
  expect(await status("/api/runs", { cookie: `${cookie}x` })).toBe(401);
});

test("nothing outside run folders is read: links, dots, pipes of the system", async () => {
  const outside = temporaryFolder();
  writeFileSync(
    join(outside, "secret.jsonl"),
    `${JSON.stringify(rolloutRow(9, { group: 0, episode: 0, turn: 0 }))}\n`,
  );
  writeRecordedRun(join(outside, "elsewhere"), { updates: 1, rollouts: [] });
  symlinkSync(join(outside, "elsewhere"), join(root, "linked"));
  symlinkSync(join(outside, "secret.jsonl"), join(run, "rollouts", "step_000009.jsonl"));
  const other = join(root, "other");
  writeRecordedRun(other, { updates: 1, rollouts: [] });
  rmSync(join(other, "metrics.jsonl"));
  symlinkSync(join(run, "metrics.jsonl"), join(other, "metrics.jsonl"));
  rmSync(join(other, "rollouts"), { recursive: true });
  symlinkSync(join(run, "rollouts"), join(other, "rollouts"));
  mkdirSync(join(other, "eval.jsonl.d"));
  expect((await json<RunLine[]>("/api/runs")).map(({ run }) => run)).not.toContain("linked");
  expect((await ask("/api/runs/linked")).status).toBe(404);
  expect((await ask("/api/runs/a%20run/updates/9/groups")).status).toBe(404);
  expect(await json<RunDetail>("/api/runs/other")).toMatchObject({ rolloutSteps: [], state: { metrics: 0 } });
  expect((await ask("/api/runs/other/updates/3/groups")).status).toBe(404);
  for (const name of [
    "..",
    "%2e%2e",
    "..%2f..%2fetc",
    "a%20run%2f..",
    "%00",
    ".hidden",
    "a%5crun",
    "%2fetc%2fpasswd",
  ])
    expect((await ask(`/api/runs/${name}`)).status, name).toBe(404);
});

test("no question brings the server down, and no answer but a page is anything but JSON", async () => {
  const faults: string[] = [];
  const benchmarks = temporaryFolder();
  writeFileSync(join(benchmarks, "card.json"), JSON.stringify(savedBenchmark()));
  const fuzzed = await watchApp({
    runs: root,
    host: "127.0.0.1",
    port: 0,
    page,
    benchmarks,
    onFault: (text) => faults.push(text),
  });
  const part = fc.oneof(
    fc.constantFrom(
      "api",
      "runs",
      "a%20run",
      "series",
      "updates",
      "3",
      "groups",
      "0",
      "episodes",
      "anchors",
      "report",
      "benchmarks",
      "evaluations",
      "view",
      "history",
      "..",
    ),
    fc.string({ maxLength: 12 }).map(encodeURIComponent),
    fc.constantFrom("-1", "1e99", "%", "%zz", "\\", "NaN", "999999999999999999999"),
  );
  const query = fc.constantFrom(
    "",
    "?from=-1",
    "?from=x&keys=%00",
    "?order=;",
    "?analysis=a&analysis=b",
    "?analysis=..%2f..",
    "?token=x",
    "?adapter=Card&preset=fast",
    "?adapter=%00&key=|",
  );
  const headers = fc.constantFrom<Record<string, string>>(
    {},
    { range: "bytes=0-1" },
    { range: "bytes=9-1,-" },
    { accept: "\u00ff" },
    { cookie: "uncouple_watch=%" },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(part, { maxLength: 9 }), query, headers, async (parts, asked, given) => {
      if (parts.includes("events")) return;
      const answer = await ask(`/${parts.join("/")}${asked}`, { headers: given }, fuzzed);
      expect([200, 400, 404, 422]).toContain(answer.status);
      const type = answer.headers.get("content-type") ?? "";
      expect(type).toMatch(/^(application\/json|text\/html)/);
      if (!type.startsWith("application/json")) expect(answer.status).toBe(200);
      expect(answer.headers.get("content-security-policy")).toMatch(/default-src 'none'/);
    }),
    { numRuns: 400, seed: 5 },
  );
  expect(faults).toEqual([]);
});

test("a damaged run is shown as far as it can be read", async () => {
  const path = join(root, "damaged");
  writeRecordedRun(path, { updates: 4, rollouts: [] });
  writeFileSync(join(path, "config.yaml"), "a: [1\nb: *none");
  appendFileSync(join(path, "eval.jsonl"), `{"step": 1}\n${evaluationLine(4, 0.75)}\0\0`);
  const alert = { step: 3, kind: "all_groups_dead", text: "all groups are dead" };
  writeFileSync(join(path, "alerts.jsonl"), `${JSON.stringify(alert)}\n{"step": "x"}\n`);
  const detail = await json<RunDetail>("/api/runs/damaged");
  expect(detail).toMatchObject({ alerts: [alert], alert: "update 3: all groups are dead" });
  expect(detail).toMatchObject({
    settings: {},
    steps: null,
    damaged: { "eval.jsonl": 1 },
    state: { evaluations: 5 },
  });
  expect(detail.settingsError).toMatch(/config\.yaml cannot be read/);
  expect(await series("keys=loss")).toMatchObject({ total: 30 });
});
