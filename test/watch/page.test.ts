/** The page of `uncouple watch` in a real browser: on a whole run, on one that grows, on a damaged one. */
import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { stepName } from "../../src/host/run/checkpoints.js";
import type { CouplingDocument } from "../../src/report/coupling_document.js";
import { WatchServer } from "../../src/watch/server.js";
import { savedBenchmark } from "../support/benchmarks.js";
import { openBrowser } from "../support/browser.js";
import { drawnDocument } from "../support/coupling_document.js";
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
  writeRecordedRun(join(root, "first"), { updates: 20, rollouts: [10], transcripts: [0, 20] });
  writeRecordedRun(join(root, "second"), { updates: 12, rollouts: [], settings: { seed: 9 } });
  const analysed = drawnDocument(12, "first analysis");
  // one of its samples is a turn of the rollouts
  const samples = analysed.samples.map((sample, index) =>
    index === analysed.pairs[0].from
      ? { ...sample, stateText: "You are in room 0.1 .", action: "take mug" }
      : sample,
  );
  writeAnalysis("first", 9, { ...analysed, samples });
  writeAnalysis("second", 3, drawnDocument(6, "second analysis"));
  const [built, opened] = await Promise.all([bundledPage(), openBrowser()]);
  browser = opened;
  const benchmarks = join(temporaryFolder(), "results");
  mkdirSync(benchmarks);
  writeFileSync(join(benchmarks, "card.json"), JSON.stringify(savedBenchmark()));
  writeFileSync(join(benchmarks, "cut.json"), "{");
  server = await WatchServer.start({ benchmarks, runs: root, host: "127.0.0.1", port: 0, page: built });
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

function writeAnalysis(run: string, checkpoint: number, document: CouplingDocument): void {
  const folder = join(root, run, "coupling", stepName(checkpoint));
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "coupling.json"), JSON.stringify(document));
}

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
  const panel = page.getByRole("figure").filter({ has: chart });
  await panel.getByText("As a table").click();
  await expect
    .poll(() => panel.getByRole("row").last().getByRole("cell").allTextContents())
    .toEqual(["20", "0.833"]);
});

test("what is new shows without a reload, and what is damaged is said", async () => {
  await open("run/second");
  const success = (points: number) =>
    page.getByRole("application", { name: new RegExp(`^Success\\. training rollouts: ${points} points`) });
  await success(12).waitFor();
  appendUpdates(join(root, "second"), 13, 2);
  await success(14).waitFor();
  writeFileSync(
    join(root, "second", "alerts.jsonl"),
    '{"step":13,"kind":"all_groups_dead","text":"all <b>dead</b>"}\n',
  );
  await page.getByText("1 alert, the newest after update 13: all <b>dead</b>").waitFor();
  appendFileSync(join(root, "second", "metrics.jsonl"), "{broken\n");
  writeFileSync(join(root, "second", "run.json"), "{}");
  // two files, looked at one after the other: either may show first
  await page.getByText("unreadable").waitFor();
  await page.getByText("metrics.jsonl has 1 damaged line").waitFor();
});

test("a point of a curve leads to its groups, a bar to its episode beside the one that differs most, turn by turn", async () => {
  await open("run/first");
  const chart = page.getByRole("application", { name: /^Entropy/ });
  await chart.focus();
  await chart.press("Home");
  await chart.press("Enter");
  await expect.poll(() => page.url()).toContain("#/run/first/groups/10");
  await page.getByText("dead", { exact: true }).waitFor();
  await page.getByLabel("Order").selectOption("spread");
  await expect.poll(() => text("ol.groups h3 >> nth=0")).toMatch(/^Group 1\b/);
  await page
    .getByRole("link", { name: "Episode 1: outcome 1, advantage +0.5, 3 turns, 0 invalid, 0 repeated" })
    .last()
    .click();
  await page.getByText("The first turn has the same action.").waitFor();
  const left = page.getByRole("region", { name: "episode 1" });
  await expect.poll(() => left.locator(".turn").count()).toBe(2);
  await expect.poll(() => left.locator(".turn").first().textContent()).toContain("labelled good");
  // texts of worlds stay texts
  await expect.poll(() => left.locator("b").count()).toBe(0);
  await expect.poll(() => left.locator(".observation").first().textContent()).toBe("You see <b>a mug</b> 1.");
  const right = page.getByRole("region", { name: "episode 0" });
  await expect.poll(() => right.locator(".turn").first().textContent()).toContain("not valid");
  await page.getByRole("button", { name: "show them" }).click();
  await expect.poll(() => right.locator(".turn").count()).toBe(3);
});

test("a state shows what was tried there, with links to the turns", async () => {
  await open("run/first/states/10");
  const state = page
    .getByRole("article")
    .filter({ hasText: "Group 1" })
    .filter({ hasText: "take mug" })
    .first();
  const cells = state.getByRole("row").filter({ hasText: "take mug" }).getByRole("cell");
  await expect.poll(() => cells.allTextContents()).toEqual(["2", "1", "+0.5", "good", "1.13.1"]);
  await state.getByRole("link", { name: "3.1" }).click();
  await page.locator(".turn.focus").getByText("take mug").first().waitFor();
});

test("an evaluation's episodes: a table, one turn by turn, the same task after another update beside it", async () => {
  await open("run/second/evaluations");
  await page.getByText("This run keeps no episodes of its evaluations").waitFor();
  await open("run/first/evaluations");
  const row = page.getByRole("row").filter({ hasText: "game 1" });
  await expect.poll(() => row.getByRole("cell").allTextContents()).toEqual(["won", "3", "1", "1", "pick"]);
  await row.getByRole("link").click();
  const after = page.getByRole("region", { name: "after update 20" });
  await expect.poll(() => after.locator(".turn").count()).toBe(3);
  await expect
    .poll(() => after.locator(".observation").first().textContent())
    .toBe("You are in a <i>room</i>.");
  await expect.poll(() => after.locator("i").count()).toBe(0);
  await page.getByLabel("Beside it, the same task after").selectOption("0");
  await page.getByRole("heading", { name: "After update 0: truncated, 3 turns" }).waitFor();
  await expect.poll(() => page.url()).toMatch(/evaluations\/20\/1\?beside=0$/);
});

test("an analysis: worst pairs with their turns, cosines over training, and the report", async () => {
  await open("run/first/coupling");
  const pairs = page.locator("ol.linked li");
  await expect.poll(() => pairs.count()).toBe(5);
  const links = pairs.getByRole("link", { name: "take mug", exact: true });
  await page.frameLocator("iframe").getByRole("heading", { name: "Heat map" }).waitFor();
  await page.getByLabel("Beside it").selectOption("second/step_000003");
  await page.frameLocator("iframe").getByRole("heading", { name: "second analysis" }).first().waitFor();
  await links.first().click();
  await expect.poll(() => page.url()).toMatch(/run\/first\/episodes\/10\/0\?a=1&turn=1$/);
});

test("benchmarks: the roofline, its table, a history over commits, and tables", async () => {
  await open("");
  await page.getByRole("link", { name: "Benchmarks" }).click();
  await page.getByText("[cut.json]").waitFor();
  const roofline = page.getByRole("img", {
    name: "Roofline of Card. Peaks: copy 40 GB/s, fma f32 400 GFLOP/s. 3 kernels; the fastest is matmul forward, 512x512x512 nn, f32: 100 GFLOP/s at 20 FLOP per byte.",
  });
  await roofline.waitFor();
  await expect.poll(() => roofline.locator("circle").count()).toBe(3);
  // the product lies at 20 FLOP per byte under the peak of arithmetic: right of the ridge, below the line
  const [point, ridge] = await Promise.all([
    roofline
      .locator("circle")
      .first()
      .evaluate((mark) => [mark.getAttribute("cx"), mark.getAttribute("cy")].map(Number)),
    roofline
      .locator(".roof")
      .first()
      .evaluate((line) => [line.getAttribute("x1"), line.getAttribute("y1")].map(Number)),
  ]);
  expect(point[0]).toBeGreaterThan(ridge[0]);
  expect(point[1]).toBeGreaterThan(ridge[1]);
  const panel = page.getByRole("figure").filter({ has: roofline });
  await panel.getByRole("combobox").selectOption("rms_norm");
  await expect.poll(() => page.locator("figure svg").first().locator("circle").count()).toBe(2);
  await page.getByRole("figure").first().getByText("As a table").click();
  await page.getByRole("cell", { name: "N1024 <b>C</b>64" }).first().waitFor();
  await page
    .getByRole("img", {
      name: /milliseconds, wall clock, oldest run first: 4 at aaaaaaaaaa, 2 at bbbbbbbbbb with changes/,
    })
    .waitFor();
  await page.getByRole("combobox", { name: "Figure" }).selectOption("gflops");
  await page.getByRole("img", { name: /GFLOP\/s, oldest run first: 50 at aaaaaaaaaa, 100 at/ }).waitFor();
  await page.getByText("Matrix products, 1 row").click();
  await expect
    .poll(() => page.getByRole("region", { name: "Matrix products" }).getByRole("cell").allTextContents())
    .toEqual(["512x512x512 nn", "f32", "2", "100", "5", "2x"]);
});

test("nothing is asked of other machines", () => {
  expect([...hosts]).toEqual([new URL(server.url).host]);
});
