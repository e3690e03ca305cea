/** Policies that come with the project: whole folders of runs, without a word of the machine that trained them. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runConfig } from "../../src/cli/play/play_world.js";
import { openPolicyFiles } from "../../src/host/model/policy_folder.js";
import { configSum, readRunInfo } from "../../src/host/run/run_info.js";
import { parameterShapes } from "../../src/model/parameters.js";

const root = fileURLToPath(new URL("../../models/", import.meta.url));
const folders = readdirSync(root, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

test("there is one, and the page of models names each", () => {
  expect(folders).toContain("alfworld");
  const page = readFileSync(join(root, "README.md"), "utf8");
  for (const name of folders) expect(page).toContain(`| \`${name}\` |`);
});

test.each(folders)("%s", async (name) => {
  const folder = join(root, name);
  const settings = readFileSync(join(folder, "config.yaml"), "utf8");
  const info = await readRunInfo(folder);
  expect(info.configSum).toBe(configSum(settings));
  for (const text of [settings, JSON.stringify(info)])
    expect(text).not.toMatch(/\/(home|root|work|tmp|mnt)\//);
  const run = await runConfig(join(folder, "export"));
  expect(run).toMatchObject({ world: { path: null, domain: null, grammar: null } });
  const { folder: model } = await openPolicyFiles(join(folder, "export"));
  expect(model.tokenizer).toBeTruthy();
  for (const { name: tensor, shape } of parameterShapes(model.config)) {
    const values = await model.tensors.read(tensor);
    expect(values).toHaveLength(shape.reduce((a, b) => a * b, 1));
    expect(values.every(Number.isFinite)).toBe(true);
  }
});
