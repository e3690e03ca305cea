import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { LAYERS, layerEdges, violations } from "../support/layers.js";

const root = new URL("../../", import.meta.url);

function sources(): Map<string, string> {
  const files = new Map<string, string>();
  for (const folder of ["src", "shaders", "bench", "web"]) {
    for (const name of readdirSync(new URL(folder, root), { recursive: true }) as string[]) {
      if (!/\.tsx?$/.test(name) || name.includes("node_modules")) continue;
      const path = `${folder}/${name}`;
      files.set(path, readFileSync(new URL(path, root), "utf8"));
    }
  }
  return files;
}

test("no import goes up or sideways, and each layer keeps to its means", () => {
  const files = sources();
  expect(files.size).toBeGreaterThan(30);
  expect(violations(files)).toEqual([]);
});

test("the rules notice what they forbid", () => {
  const broken = violations(
    new Map([
      ["src/gpu/a.ts", 'import { x } from "../kernels/op.js";'],
      ["src/model/b.ts", 'import type { Y } from "../optim/adamw.js";'],
      ["src/core/c.ts", 'import fs from "node:fs";'],
      ["src/rl/d.ts", "console.log(process.env.HOME);"],
      ["src/model/e.ts", "device.createBuffer({});"],
      ["src/unknown/f.ts", ""],
    ]),
  );
  expect(broken.map((line) => line.split(":")[0])).toEqual([
    "src/gpu/a.ts",
    "src/model/b.ts",
    "src/core/c.ts",
    "src/rl/d.ts",
    "src/model/e.ts",
    "src/unknown/f.ts",
  ]);
});

test("docs/architecture.md shows the layers as they are (vitest -u redraws it)", async () => {
  const rows = Object.entries(LAYERS).map(([name, { rank, about }]) => {
    const folder = ["shaders", "bench", "web"].includes(name) ? `${name}/` : `src/${name}/`;
    return `| ${rank} | \`${folder}\` | ${about} |`;
  });
  const edges = layerEdges(sources()).map(({ from, to }) => `  ${from} --> ${to}`);
  const page = [
    "# Architecture",
    "",
    "A file imports its own folder or a folder of lower rank, never up and never sideways, types included.",
    "This page is drawn by `test/structure/layers.test.ts` from the import lines.",
    "",
    "| rank | folder | what it is |",
    "|---|---|---|",
    ...rows,
    "",
    "```mermaid",
    "flowchart TD",
    ...edges,
    "```",
    "",
  ].join("\n");
  await expect(page).toMatchFileSnapshot("../../docs/architecture.md");
});
