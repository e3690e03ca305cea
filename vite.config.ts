/** Bundles the page of `uncouple watch` into one static folder. */
import { defineConfig } from "vite";

export default defineConfig({
  root: "web",
  base: "./",
  logLevel: "warn",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: { outDir: "../dist/web", emptyOutDir: true, target: "es2022", chunkSizeWarningLimit: 800 },
});
