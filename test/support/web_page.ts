/** The page of `uncouple watch`, bundled from the sources at hand. */
import { fileURLToPath } from "node:url";
import { build } from "vite";
import { temporaryFolder } from "./folders.js";

/** @returns the folder of the bundle, removed after the test file */
export async function bundledPage(): Promise<string> {
  const outDir = temporaryFolder();
  await build({
    configFile: fileURLToPath(new URL("../../vite.config.ts", import.meta.url)),
    build: { outDir, minify: false },
  });
  return outDir;
}
