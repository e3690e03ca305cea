/** A browser for tests of pages: the one of the npm package that also holds the software driver. */
import { type Browser, chromium } from "playwright-core";

/** @returns a browser without a window; the caller closes it */
export async function openBrowser(): Promise<Browser> {
  const { default: packed } = await import("@sparticuz/chromium");
  return chromium.launch({
    executablePath: await packed.executablePath(),
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--single-process", "--no-zygote"],
  });
}
