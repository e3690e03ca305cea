/** How long the page of `uncouple watch` keeps people waiting on a long run. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { WatchServer } from "../../src/watch/server.js";
import { openBrowser } from "../support/browser.js";
import { temporaryFolder } from "../support/folders.js";
import { writeRecordedRun } from "../support/recorded_run.js";
import { bundledPage } from "../support/web_page.js";

/** Milliseconds until something is painted, and until curves have their numbers, with a server that has read nothing yet. */
async function load(runs: string, page: string): Promise<readonly [number, number]> {
  const server = await WatchServer.start({ runs, host: "127.0.0.1", port: 0, page });
  const browser = await openBrowser();
  try {
    const tab = await browser.newPage();
    await tab.goto(`${server.url}#/run/long`);
    await tab.getByRole("application").first().waitFor();
    return await tab.evaluate(() => {
      const [paint] = performance.getEntriesByName("first-contentful-paint");
      return [paint.startTime, performance.now()] as const;
    });
  } finally {
    await browser.close();
    await server.close();
  }
}

test("of 5,000 updates and 100,000 rows there is something within a second, and numbers too", async () => {
  const root = temporaryFolder();
  writeRecordedRun(join(root, "long"), { updates: 5000, groups: 1, episodes: 5, turns: 4 });
  const page = await bundledPage();
  let [paint, numbers] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  // a shared core can be slow for seconds on end: the quickest of several counts
  for (let repeat = 0; repeat < 8 && Math.max(paint, numbers) >= 1000; repeat++) {
    const [first, second] = await load(root, page);
    [paint, numbers] = [Math.min(paint, first), Math.min(numbers, second)];
  }
  expect(paint).toBeLessThan(1000);
  expect(numbers).toBeLessThan(1000);
}, 120_000);
