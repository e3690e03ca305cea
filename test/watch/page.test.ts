/** The page of `uncouple watch` in a real browser: on a whole run, on one that grows, on a damaged one. */
import { appendFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { WatchServer } from "../../src/watch/server.js";
import { openBrowser } from "../support/browser.js";
import { temporaryFolder } from "../support/folders.js";
import { appendUpdates, writeRecordedRun } from "../support/recorded_run.js";
import { bundledPage } from "../support/web_page.js";

const root = temporaryFolder();
let server: WatchServer;
let browser: Browser;
let page: Page;
/** What the browser complained about, and where it asked for something. */
const complaints: string[] = [];
const hosts = new Set<string>();

beforeAll(async () => {
  writeRecordedRun(join(root, "first"), { updates: 20, rollouts: [10] });
  writeRecordedRun(join(root, "second"), { updates: 12, rollouts: [], settings: { seed: 9 } });
  const [built, opened] = await Promise.all([bundledPage(), openBrowser()]);
  browser = opened;
  server = await WatchServer.start({ runs: root, host: "127.0.0.1", port: 0, page: built });
  page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
  page.setDefaultTimeout(20_000);
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  page.on("pageerror", ({ message }) => complaints.push(message));
  page.on("request", (request) => hosts.add(new URL(request.url()).host));
});

afterEach(() => {
  expect(complaints.splice(0)).toEqual([]);
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
});

const open = (place: string) => page.goto(`${server.url}#/${place}`);
const text = (selector: string) => page.locator(selector).textContent();

test("runs are listed, searched and compared", async () => {
  await open("");
  await page.getByRole("row").filter({ hasText: "first" }).getByText("20 / 20").waitFor();
  await page.getByRole("searchbox").fill("second household");
  await expect.poll(() => page.getByRole("row").count()).toBe(2);
  await page.getByRole("searchbox").fill("");
  for (const run of ["first", "second"]) await page.getByRole("checkbox", { name: `compare ${run}` }).check();
  await page.getByRole("link", { name: "Compare 2 runs" }).click();
  await page.getByRole("heading", { name: "Settings that differ" }).waitFor();
  const differing = page
    .getByRole("row")
    .filter({ has: page.getByRole("rowheader", { name: "seed", exact: true }) });
  expect(await differing.locator("th, td").allTextContents()).toEqual(["seed", "0", "9"]);
  const chart = page.getByRole("application", {
    name: /^Success of training rollouts\. first: 20 points.*second: 12 points/,
  });
  await chart.waitFor();
});

test("curves are drawn, read by keys, and told in words", async () => {
  await open("run/first");
  const chart = page.getByRole("application", {
    name: /^Entropy\. entropy: 20 points, 0\.99 at update 1, 0\.833 at update 20/,
  });
  await chart.scrollIntoViewIfNeeded();
  await chart.locator("canvas").first().waitFor();
  await chart.focus();
  await chart.press("ArrowLeft");
  await page.getByText("update 19: entropy 0.84").waitFor();
  await page.getByText("As a table").nth(2).click();
});

test("what is new shows without a reload, and what is damaged is said", async () => {
  await open("run/second");
  const success = (points: number) =>
    page.getByRole("application", { name: new RegExp(`^Success\\. training rollouts: ${points} points`) });
  await success(12).waitFor();
  appendUpdates(join(root, "second"), 13, 2);
  await success(14).waitFor();
  appendFileSync(join(root, "second", "metrics.jsonl"), "{broken\n");
  writeFileSync(join(root, "second", "run.json"), "{}");
  await page.getByText("unreadable").waitFor();
  expect(await text("header.run")).toContain("metrics.jsonl has 1 damaged line");
});

test("nothing is asked of other machines", () => {
  expect([...hosts]).toEqual([new URL(server.url).host]);
});
