/** The package inside test runners that give every file a realm of its own, as jest and the VM pools of vitest do. */
import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, expect, test } from "vitest";
import { readGolden } from "../support/golden.js";
import { packageForTest } from "../support/package.js";

const built = packageForTest("realms");
afterAll(built.remove);
const vitest = fileURLToPath(new URL("../../node_modules/vitest/vitest.mjs", import.meta.url));

const SOURCE = `
import { openAlfworldFolder, openGpu, readModelFolder, Runtime, silentLogger, Tensor } from "uncouple";
test("a device is opened, written to and read", async () => {
  const opened = await openGpu({ preset: "checked", env: process.env, logger: silentLogger });
  const runtime = await Runtime.create(opened);
  const tensor = Tensor.from(runtime, new Float32Array([1, 2]), [2]);
  expect([...(await tensor.read())]).toEqual([1, 2]);
  await runtime.dispose();
});
test("what is missing is said", async () => {
  await expect(openAlfworldFolder("/nowhere")).rejects.toThrow(/no such folder/);
  await expect(readModelFolder("/nowhere")).rejects.toThrow(/model folder cannot be read: got ENOENT/);
});
test("a model folder without an index opens", async () => {
  expect((await readModelFolder(process.env.MODEL_FOLDER)).config.model_type).toBe("qwen2");
});
`;

test("in a pool of VM threads", { timeout: 120_000 }, async () => {
  const folder = join(built.folder, "inside");
  mkdirSync(folder);
  writeFileSync(join(folder, "a.test.js"), SOURCE);
  writeFileSync(
    join(folder, "vitest.config.js"),
    'export default { test: { globals: true, pool: "vmThreads", testTimeout: 60_000 } };',
  );
  const env = { ...process.env, MODEL_FOLDER: readGolden("qwen2-tied-gqa").folder, NO_COLOR: "1" };
  const args = [vitest, "run", "--root", folder, "--config", join(folder, "vitest.config.js")];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: folder, env });
  expect(stdout).toMatch(/Tests +3 passed \(3\)/);
});
