/** The lock of a run folder: one process at a time, and none that is dead. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.js";
import { RunLock } from "../../src/host/run/run_lock.js";
import { buildForTest } from "../support/built.js";
import { temporaryFolder } from "../support/folders.js";

let folder: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

const here = encodeURIComponent(hostname());
const began = Math.round(performance.timeOrigin);
const deadProcess = () => spawnSync(process.execPath, ["-e", ""]).pid;

/** Makes the lock file of some process. */
function lockedBy(pid: number, host = here, start = began): void {
  writeFileSync(join(folder, `run.lock.${host}.${pid}.${start}`), "");
}

/** Starts a process; resolves at its first output. */
async function start(command: string, ...args: string[]): Promise<{ child: ChildProcess; said: string }> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  const [said] = await once(child.stdout, "data");
  return { child, said: String(said).trim() };
}

/** Takes and releases the lock. */
async function passThrough(): Promise<void> {
  await (await RunLock.take(folder)).release();
  expect(readdirSync(folder)).toEqual([]);
}

test("a lock names its process, is had once, and can be had again when it was given back", async () => {
  const lock = await RunLock.take(folder);
  const file = `run.lock.${here}.${process.pid}.${began}`;
  expect(readdirSync(folder)).toEqual([file]);
  await expect(RunLock.take(folder)).rejects.toThrow(ConfigError);
  await expect(RunLock.take(folder)).rejects.toThrow(
    `[${folder}] run folder is in use: got process ${process.pid} on ${here}, expected no other process`,
  );
  await expect(RunLock.take(folder)).rejects.toThrow(`remove the file ${file}.`);
  await lock.release();
  await lock.release();
  await passThrough();
});

test("of many that want a dead process's lock at once, one gets it", async () => {
  lockedBy(deadProcess());
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => RunLock.take(folder)));
  expect(results.filter(({ status }) => status === "fulfilled").length).toBe(1);
  expect(readdirSync(folder).length).toBe(1);
});

test("a process that was killed holds nobody up, a living one does", { timeout: 60_000 }, async () => {
  const built = buildForTest("lock");
  try {
    const module = pathToFileURL(join(built.folder, "src/host/run/run_lock.js")).href;
    const script = `
      import { RunLock } from ${JSON.stringify(module)};
      await RunLock.take(${JSON.stringify(folder)});
      console.log(process.pid);
      setInterval(() => {}, 1000);
    `;
    const { child, said } = await start(process.execPath, "--input-type=module", "-e", script);
    expect(said).toBe(String(child.pid));
    await expect(RunLock.take(folder)).rejects.toThrow(`process ${child.pid} on ${here}`);
    expect(readdirSync(folder).length).toBe(1);
    child.kill("SIGKILL");
    await once(child, "exit");
    await passThrough();
  } finally {
    built.remove();
  }
});

test.runIf(process.platform === "linux")(
  "a killed process that nobody has reaped holds nobody up",
  async () => {
    // the shell becomes `sleep`, which never asks for the end of the shell's child; a child that ends before would be reaped
    const { said } = await start("sh", "-c", "sleep 0.3 & echo $!; exec sleep 30");
    const pid = Number(said);
    await expect.poll(() => readFileSync(`/proc/${pid}/stat`, "utf8")).toMatch(/\) Z /);
    lockedBy(pid);
    await passThrough();
  },
);

test("earlier processes, one with the number of this one, hold nobody up", async () => {
  lockedBy(process.pid, here, began - 60_000);
  lockedBy(deadProcess());
  await passThrough();
});

test("whether a process of another host lives is for the user to say", async () => {
  lockedBy(deadProcess(), "node-7.cluster");
  await expect(RunLock.take(folder)).rejects.toThrow(
    /process \d+ on node-7\.cluster.*remove the file run\.lock/,
  );
  expect(readdirSync(folder).length).toBe(1);
});
