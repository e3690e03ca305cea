/** `uncouple watch` under load: many pages at once, a disk that is slow, a run too long to be read at once, very many runs. */
import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeAll, expect, test, vi } from "vitest";
import type { RunDetail, RunLine, RunState, Series } from "../../src/watch/api.js";
import { RunTree } from "../../src/watch/run_tree.js";
import { WatchServer, watchApp } from "../../src/watch/server.js";
import { temporaryFolder } from "../support/folders.js";
import { appendUpdates, metricsLine, writeRecordedRun } from "../support/recorded_run.js";

const page = temporaryFolder();
const root = temporaryFolder();
const run = join(root, "first");

beforeAll(() => {
  writeFileSync(join(page, "index.html"), "");
  writeRecordedRun(run, { updates: 5, rollouts: [1, 2] });
});
afterEach(() => {
  vi.restoreAllMocks();
});

const options = { runs: root, host: "127.0.0.1", port: 0, page };

/** States that a page is told, as they come. */
async function* told(url: string, signal: AbortSignal): AsyncGenerator<RunState> {
  const answer = await fetch(`${url}api/events?run=first`, { signal });
  let text = "";
  for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) {
    text += new TextDecoder().decode(chunk);
    const events = text.split("\n\n");
    text = events.pop() ?? "";
    for (const event of events) {
      const data = event.split("\n").find((line) => line.startsWith("data: {"));
      if (data) yield JSON.parse(data.slice("data: ".length)) as RunState;
    }
  }
}

test("thirty pages hear of a change, the files are looked at as for one, and the server ends at once", async () => {
  const server = await WatchServer.start(options);
  const leave = new AbortController();
  const pages = Array.from({ length: 30 }, () => told(server.url, leave.signal));
  const firsts = await Promise.all(pages.map((one) => one.next()));
  expect(firsts.map(({ value }) => value.metrics)).toEqual(firsts.map(() => 5));
  const opened = vi.spyOn(RunTree.prototype, "open");
  const began = performance.now();
  appendUpdates(run, 6, 2);
  const seconds = await Promise.all(pages.map((one) => one.next()));
  expect(seconds.map(({ value }) => value.metrics)).toEqual(seconds.map(() => 7));
  const looks = opened.mock.calls.filter(([, file]) => file === "metrics.jsonl").length;
  // the answer of one look is shared for half a second
  expect(looks).toBeLessThanOrEqual(2 + (performance.now() - began) / 400);
  const closing = performance.now();
  await server.close();
  expect(performance.now() - closing).toBeLessThan(2000);
  leave.abort();
  await Promise.allSettled(pages.map((one) => one.next()));
});

test("on a slow disk answers are late and right, and questions at the same time share a look", async () => {
  const app = await watchApp(options);
  const json = async <T>(path: string) =>
    (
      await app.request(`http://127.0.0.1:1/api/${path}`, { headers: { host: "127.0.0.1:1" } })
    ).json() as Promise<T>;
  const { open } = RunTree.prototype;
  const opened = vi.spyOn(RunTree.prototype, "open").mockImplementation(async function (
    this: RunTree,
    ...path
  ) {
    await new Promise((resolve) => setTimeout(resolve, 150));
    return open.apply(this, path);
  });
  const asked = Array.from({ length: 8 }, () => json<Series>("runs/first/series?keys=success"));
  const answers = await Promise.all(asked);
  expect(answers.map(({ total }) => total)).toEqual(answers.map(() => 7));
  expect(opened.mock.calls.filter(([, file]) => file === "metrics.jsonl")).toHaveLength(1);
  // a line that comes while an earlier look is under way is in the next answer
  const early = json<Series>("runs/first/series?keys=success");
  appendUpdates(run, 8, 1);
  await early;
  expect((await json<Series>("runs/first/series?keys=success")).step).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect((await json<RunDetail>("runs/first")).rolloutSteps).toEqual([1, 2]);
});

test("of a long run a sample comes before everything is read, the first and the newest update in it", async () => {
  writeRecordedRun(join(root, "long"), { updates: 1500, rollouts: [] });
  const file = join(root, "long", "metrics.jsonl");
  appendFileSync(file, `{broken\n${metricsLine(1501, { rare: 1 })}{"step": 1502, "succ`);
  const app = await watchApp(options);
  const json = async <T>(path: string) =>
    (
      await app.request(`http://127.0.0.1:1/api/runs/long${path}`, { headers: { host: "127.0.0.1:1" } })
    ).json() as Promise<T>;
  const first = await json<RunDetail>("");
  expect(first).toMatchObject({ step: 1501, state: { metrics: 0, keys: 0, damaged: 0, evaluations: 10 } });
  const sample = await json<Series>("/sample?keys=success,rare");
  expect(sample).toMatchObject({ isSample: true, stride: 4, total: 1502, generation: 0 });
  expect(sample.step.slice(0, 3)).toEqual([1, 5, 9]);
  expect(sample.step.at(-1)).toBe(1501);
  expect(sample.step.length).toBeLessThanOrEqual(400);
  expect(sample.values.success).toEqual(sample.step.map((step) => step / (step + 100)));
  expect(sample.values.rare.at(-1)).toBe(1);
  const whole = await json<Series>("/series?keys=success&from=0&generation=0");
  expect(whole).toMatchObject({ total: 1501, stride: 1 });
  const then = await json<RunDetail>("");
  expect(then).toMatchObject({ damaged: { "metrics.jsonl": 1 }, state: { metrics: 1501, damaged: 1 } });
  expect(then.keys).toContain("rare");
  // once all is read, the first answer is made of it
  expect(await json<Series>("/sample?keys=success")).toMatchObject({ stride: 4, total: 1501 });
  // a short run is whole at once
  const short = await app.request("http://127.0.0.1:1/api/runs/first/sample?keys=success", {
    headers: { host: "127.0.0.1:1" },
  });
  expect(await short.json()).toMatchObject({ stride: 1, total: 8 });
});

test("thousands of runs are listed, those that are none left out", async () => {
  const many = temporaryFolder();
  const info = { recordVersion: 2, name: "r", seed: 1, status: "finished", step: 1, sessions: [] };
  const dates = { started: "2026-01-02T03:04:05.000Z", updated: "2026-01-02T03:04:05.000Z" };
  for (let at = 0; at < 2000; at++) {
    mkdirSync(join(many, `run_${at}`));
    if (at % 2 === 0)
      writeFileSync(join(many, `run_${at}`, "run.json"), JSON.stringify({ ...info, ...dates }));
  }
  const app = await watchApp({ ...options, runs: many });
  const listed = async () => {
    const answer = await app.request("http://127.0.0.1:1/api/runs", { headers: { host: "127.0.0.1:1" } });
    return (await answer.json()) as RunLine[];
  };
  const { open } = RunTree.prototype;
  let most = 0;
  let now = 0;
  const opened = vi.spyOn(RunTree.prototype, "open").mockImplementation(async function (
    this: RunTree,
    ...path
  ) {
    most = Math.max(most, ++now);
    await new Promise((resolve) => setTimeout(resolve, 12));
    return open.apply(this, path).finally(() => now--);
  });
  // the disk is slow: the first answer has every name, and says which runs were not read yet
  const first = await listed();
  expect(first).toHaveLength(1000);
  expect(first.some(({ status }) => status === "unread")).toBe(true);
  const statuses = async () => [...new Set((await listed()).map(({ status }) => status))];
  await expect.poll(statuses, { timeout: 30_000 }).toEqual(["finished"]);
  expect(most).toBeLessThanOrEqual(16 * 6);
  // nothing is read again that did not change
  opened.mockClear();
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect(await statuses()).toEqual(["finished"]);
  expect(opened.mock.calls).toEqual([]);
  writeFileSync(join(many, "run_4", "run.json"), JSON.stringify({ ...info, ...dates, step: 77 }));
  await expect.poll(async () => (await listed()).find(({ run }) => run === "run_4")?.step).toBe(77);
});
