/** The page of `uncouple watch` as people use it: by mouse, by keys alone, on a narrow screen, with hostile texts. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { stepName } from "../../src/host/run/checkpoints.js";
import { WatchServer } from "../../src/watch/server.js";
import { savedBenchmark } from "../support/benchmarks.js";
import { openBrowser } from "../support/browser.js";
import { drawnDocument } from "../support/coupling_document.js";
import { temporaryFolder } from "../support/folders.js";
import { metricsLine, rolloutRow, writeRecordedRun } from "../support/recorded_run.js";
import { bundledPage } from "../support/web_page.js";

const root = temporaryFolder();
let server: WatchServer;
let browser: Browser;
let page: Page;
const complaints: string[] = [];

/** Breaks out of every place where a text could become markup, a script or an address. */
const HOSTILE = `"'></title></script><img src=x onerror="document.body.textContent='broken'"><svg onload=alert(1)>`;

beforeAll(async () => {
  writeRecordedRun(join(root, "first"), { updates: 20, rollouts: [5, 10], transcripts: [0, 20] });
  const analysed = drawnDocument(12, "analysis");
  // both samples of the worst pair are turns of the rollouts
  const { from, to } = analysed.pairs[0];
  const turns = new Map([
    [from, { stateText: "You are in room 0.1 .", action: "take mug" }],
    [to, { stateText: "You are in room 1.2 .", action: "go away" }],
  ]);
  const samples = analysed.samples.map((sample, index) => ({ ...sample, ...turns.get(index) }));
  const analysis = join(root, "first", "coupling", stepName(9));
  mkdirSync(analysis, { recursive: true });
  writeFileSync(join(analysis, "coupling.json"), JSON.stringify({ ...analysed, samples }));
  writeHostileRun(join(root, "hostile"));
  const benchmarks = join(temporaryFolder(), "results");
  mkdirSync(benchmarks);
  const saved = savedBenchmark();
  const rows = saved.rows.map((row) => ({
    ...row,
    shape: row.op === "peak" ? row.shape : `${row.shape} ${HOSTILE}`,
  }));
  writeFileSync(
    join(benchmarks, "card.json"),
    JSON.stringify({ ...saved, rows, earlier: rows.map((row) => ({ ...row, run: HOSTILE })) }),
  );
  const [built, opened] = await Promise.all([bundledPage(), openBrowser()]);
  browser = opened;
  server = await WatchServer.start({ runs: root, host: "127.0.0.1", port: 0, page: built, benchmarks });
  page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
  page.setDefaultTimeout(20_000);
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  page.on("pageerror", ({ message }) => complaints.push(message));
  page.on("dialog", (dialog) => {
    complaints.push(`dialog ${dialog.message()}`);
    return dialog.dismiss();
  });
});

afterEach(() => {
  expect(complaints.splice(0)).toEqual([]);
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
});

/** A run whose texts and numbers are what nobody expects. */
function writeHostileRun(folder: string): void {
  writeRecordedRun(folder, { updates: 2, rollouts: [], transcripts: [2], settings: { name: "x" } });
  const odd = { success: null, entropy: "NaN", [HOSTILE]: 1, reward: 1e308, loss: -1e-320 };
  writeFileSync(
    join(folder, "metrics.jsonl"),
    `${metricsLine(1, odd)}${metricsLine(2, { ...odd, reward: -1e308 })}{"step":3,"loss":NaN}\n`,
  );
  const words = {
    observation: `${HOSTILE}${"long ".repeat(20_000)}`,
    action: HOSTILE,
    task_id: HOSTILE,
    task_type: HOSTILE,
  };
  const rows = [0, 1].flatMap((episode) =>
    [0, 1].map((turn) =>
      rolloutRow(
        2,
        { group: 0, episode, turn },
        {
          ...words,
          tag: HOSTILE,
          anchor_key: HOSTILE,
          prompt_blocks: [{ name: "instructions", text: HOSTILE }],
        },
      ),
    ),
  );
  writeFileSync(
    join(folder, "rollouts", `${stepName(2)}.jsonl`),
    rows.map((row) => `${JSON.stringify(row)}\n`).join(""),
  );
  const step = { observation: HOSTILE, action: HOSTILE, valid: true, truncated: false, reward: 0 };
  const transcript = {
    step: 2,
    split: HOSTILE,
    mode: "greedy",
    task_id: HOSTILE,
    task_type: HOSTILE,
    sample: 0,
    ended: "lost",
  };
  writeFileSync(
    join(folder, "evaluations", `${stepName(2)}.jsonl`),
    `${JSON.stringify({ ...transcript, failure: HOSTILE, steps: [step] })}\n`,
  );
  writeFileSync(
    join(folder, "alerts.jsonl"),
    `${JSON.stringify({ step: 2, kind: HOSTILE, text: HOSTILE })}\n`,
  );
}

const open = (place: string) => page.goto(`${server.url}#/${place}`);

test("a click on a curve opens the groups of the nearest update that kept some", async () => {
  await open("run/first");
  const chart = page.getByRole("application", { name: /^Entropy/ });
  await chart.scrollIntoViewIfNeeded();
  await chart.locator("canvas").first().waitFor();
  const box = await chart.boundingBox();
  const { width = 0, height = 0 } = box ?? {};
  // a third of the way from update 1 to 20: nearer to 5 than to 10
  await chart.click({ position: { x: 52 + 0.25 * (width - 66), y: height / 2 } });
  await expect.poll(() => page.url()).toMatch(/#\/run\/first\/groups\/5$/);
  await page.getByText("Group 1").waitFor();
  await page.goBack();
  await chart.scrollIntoViewIfNeeded();
  await chart.locator("canvas").first().waitFor();
  await chart.click({ position: { x: width - 20, y: height / 2 } });
  await expect.poll(() => page.url()).toMatch(/groups\/10$/);
});

test("the worst pair leads to both of its turns", async () => {
  for (const [action, at, place] of [
    ["take mug", "first", /episodes\/10\/0\?a=1&turn=1$/],
    ["go away", "last", /episodes\/10\/1\?a=0&turn=2$/],
  ] as const) {
    await open("run/first/coupling");
    const pair = page.locator("ol.linked li").first();
    await pair.getByRole("link", { name: action, exact: true })[at]().click();
    await expect.poll(() => page.url()).toMatch(place);
    await page.locator(".turn.focus").getByText(action).first().waitFor();
  }
});

test("by keys alone: from the list to a run, a curve, its groups, an episode", async () => {
  // a page that was just opened: nothing has the focus
  await page.goto("about:blank");
  await open("");
  await page.getByRole("link", { name: "first" }).waitFor();
  const press = async (key: string, isThere: () => Promise<boolean>) => {
    for (let presses = 0; presses < 60 && !(await isThere()); presses++) await page.keyboard.press(key);
    expect(await isThere()).toBe(true);
  };
  const focused = (text: RegExp) => async () =>
    text.test(
      await page.evaluate<string>(
        "(document.activeElement?.getAttribute('aria-label') ?? '') + ' ' + document.activeElement?.textContent",
      ),
    );
  await page.keyboard.press("Tab");
  expect(await focused(/To the content/)()).toBe(true);
  await page.keyboard.press("Enter");
  await press("Tab", focused(/^ first$/));
  await page.keyboard.press("Enter");
  await page
    .getByRole("application", { name: /^Success/ })
    .first()
    .waitFor();
  await press("Tab", focused(/^Success\. /));
  await page.keyboard.press("Home");
  await page.getByText(/update 1: training rollouts/).waitFor();
  await page.keyboard.press("Enter");
  await expect.poll(() => page.url()).toMatch(/groups\/5$/);
  await page.getByText("Group 1").waitFor();
  await press("Tab", focused(/^Episode 1: outcome 1/));
  // what is focused shows it
  expect(await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")).toBe("solid");
  await page.keyboard.press("Enter");
  await expect.poll(() => page.url()).toMatch(/episodes\/5\/1\?a=1&b=0$/);
  await page.getByRole("region", { name: "episode 1" }).waitFor();
});

test("numbers that are no numbers, and such as no axis has, leave the other curves as they are", async () => {
  await open("run/hostile");
  for (const name of [/^Reward/, /^Loss/, /^KL/]) {
    const chart = page.getByRole("application", { name }).first();
    await chart.scrollIntoViewIfNeeded();
    await chart.locator("canvas").first().waitFor();
  }
  expect(await page.getByRole("application", { name: /^Entropy/ }).count()).toBe(0);
  await page.getByText("metrics.jsonl has 1 damaged line").waitFor();
});

const VIEWS = [
  "",
  "run/%",
  "run/%/groups",
  "run/%/episodes/*/0?a=0&b=1",
  "run/%/states",
  "run/%/evaluations",
  "run/%/evaluations/*/0",
  "run/%/coupling",
  "run/%/settings",
];
const PLACES = ["first", "hostile"].flatMap((run) =>
  VIEWS.map((view) =>
    view
      .replace("%", run)
      .replace("*", view.includes("evaluations") && run === "first" ? "20" : run === "first" ? "10" : "2"),
  ),
);

test.each([...new Set(PLACES), "benchmarks", "compare?run=first&run=hostile"])(
  "a narrow screen scrolls no further than down, and texts stay texts: %s",
  async (place) => {
    await page.setViewportSize({ width: 390, height: 800 });
    await page.goto("about:blank");
    await open(place);
    await page.locator("main h1, main h2, main p, main table").first().waitFor();
    await expect.poll(() => page.getByText("Reading …").count()).toBe(0);
    const found = await page.evaluate(`({
      over: document.documentElement.scrollWidth - innerWidth,
      images: document.querySelectorAll("main img, main script").length,
      unnamed: [...document.querySelectorAll("main svg, main canvas, main iframe")].filter(
        (one) => !one.closest("[aria-label], [title]"),
      ).length,
      problem: document.querySelector("[role=alert]")?.textContent ?? null,
    })`);
    expect(found).toEqual({ over: 0, images: 0, unnamed: 0, problem: null });
    await page.setViewportSize({ width: 1200, height: 900 });
  },
  60_000,
);
