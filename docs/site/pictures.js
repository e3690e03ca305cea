// Takes the pictures of the page of `uncouple watch` that the documents show, of runs that are there:
//   npm start && npm run pictures -- runs/quickstart/runs
// Names of runs are those that the quickstart gives. The page has to be built (`npm run build`).
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import chromium from "@sparticuz/chromium";
import { chromium as launcher } from "playwright-core";
import { WatchServer } from "../../dist/src/watch/server.js";

const docs = fileURLToPath(new URL("../", import.meta.url));
const [runs] = process.argv.slice(2);
if (runs === undefined)
  throw new Error("[pictures] no runs: expected their folder. Name it: npm run pictures -- FOLDER.");

/** File, place on the page, width and height in pixels. */
const PICTURES = [["watch_run.png", "run/gcd__s0", 1180, 860]];

const server = await WatchServer.start({ runs, host: "127.0.0.1", port: 0 });
const browser = await launcher.launch({
  executablePath: await chromium.executablePath(),
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--single-process", "--no-zygote"],
});
const page = await browser.newPage({ colorScheme: "light" });
for (const [file, place, width, height] of PICTURES) {
  await page.setViewportSize({ width, height });
  await page.goto(`${server.url}#/${place}`);
  await page.locator("canvas").first().waitFor();
  // charts in sight are drawn one after the other
  await page.waitForTimeout(2000);
  await page.screenshot({ path: join(docs, file) });
  console.log(join(docs, file));
}
await browser.close();
await server.close();
process.exit(0);
