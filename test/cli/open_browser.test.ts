/** `uncouple watch --open`: which program is started with what, and what is said where none could be. */
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runCli } from "../../src/cli/program.js";
import { openBrowser } from "../../src/cli/watch/open_browser.js";
import { temporaryFolder } from "../support/folders.js";
import { writeRecordedRun } from "../support/recorded_run.js";
import { TextStream } from "../support/streams.js";

const url = "http://127.0.0.1:9/?token=a&b=c";

/** A folder with one program, which writes down what it was called with. */
function fakeOpener(name: string, code = 0) {
  const folder = temporaryFolder();
  const told = join(folder, "told");
  writeFileSync(join(folder, name), `#!/bin/sh\nprintf '%s\\n' "$@" > "${told}"\nexit ${code}\n`);
  chmodSync(join(folder, name), 0o755);
  const path = `${folder}:/usr/bin:/bin`;
  return { path, told: () => (existsSync(told) ? readFileSync(told, "utf8") : "") };
}

test.each([
  ["linux", "xdg-open", `${url}\n`],
  ["darwin", "open", `${url}\n`],
  ["win32", "cmd", `/c\nstart\n\n${url.replace("&", "^&")}\n`],
] as const)("%s: %s gets the address alone", async (platform, name, words) => {
  const { path, told } = fakeOpener(name);
  const failures: string[] = [];
  const env = { PATH: path, DISPLAY: ":0" };
  openBrowser(url, { env, platform, onFailure: (reason) => failures.push(reason) });
  await expect.poll(told, { timeout: 10_000 }).toBe(words);
  expect(failures).toEqual([]);
});

test.each([
  ["no display", { DISPLAY: "" }, /no display/],
  ["no such program", { DISPLAY: ":0", PATH: temporaryFolder() }, /ENOENT/],
  [
    "a program that fails",
    { WAYLAND_DISPLAY: "w", PATH: fakeOpener("xdg-open", 3).path },
    /xdg-open ended with 3/,
  ],
])("%s is said, and nothing is thrown", async (_, env, reason) => {
  const failures: string[] = [];
  openBrowser(url, { env, platform: "linux", onFailure: (text) => failures.push(text) });
  await expect.poll(() => failures.join(), { timeout: 10_000 }).toMatch(reason);
});

test("the command prints its address, opens it, serves, and ends with a signal", async () => {
  const root = temporaryFolder();
  writeRecordedRun(join(root, "first"), { updates: 1, rollouts: [] });
  const { path, told } = fakeOpener(process.platform === "darwin" ? "open" : "xdg-open");
  const [stdout, stderr] = [new TextStream(), new TextStream()];
  const env = { PATH: path, DISPLAY: ":0" };
  const ended = runCli(["watch", root, "--port", "0", "--open"], { stdout, stderr, env });
  await expect.poll(told, { timeout: 10_000 }).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/\n$/);
  expect(told()).toBe(stdout.text);
  const answer = await fetch(`${stdout.text.trim()}api/runs`);
  expect(await answer.json()).toMatchObject([{ run: "first" }]);
  process.emit("SIGTERM", "SIGTERM");
  expect([await ended, stderr.text]).toEqual([0, ""]);
});
