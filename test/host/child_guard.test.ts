/** Programs of worlds end with the process that started them, in whatever way that ends. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { endProgram, startProgram } from "../../src/host/worlds/child_guard.js";
import { buildForTest } from "../support/built.js";

const onPosix = process.platform !== "win32";
let script: string;
let remove: () => void;

/** A program that hears nothing and has a child of its own; prints both process ids. */
const DEAF = `trap "" HUP INT TERM PIPE; sleep 300 & echo $$ $!; while :; do wait; done`;

beforeAll(() => {
  const built = buildForTest("child_guard");
  remove = built.remove;
  script = join(built.folder, "parent.js");
  writeFileSync(
    script,
    `import { startProgram } from "./src/host/worlds/child_guard.js";
for (let count = 0; count < 2; count++) {
  const child = await startProgram(["sh", "-c", ${JSON.stringify(DEAF)}]);
  child.stdout.once("data", (ids) => process.stdout.write(ids));
}
const timer = setInterval(() => {}, 1000);
process.once("SIGUSR2", () => clearInterval(timer));
process.once("SIGUSR1", () => { throw new Error("unforeseen"); });
`,
  );
});
afterAll(() => remove());

/** Whether a process runs: one that has ended may wait for its parent to ask. */
function isRunning(pid: number): boolean {
  const file = `/proc/${pid}/stat`;
  if (existsSync("/proc/self/stat")) return existsSync(file) && !/\) Z /.test(readFileSync(file, "latin1"));
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function expectEnded(ids: readonly number[]): Promise<void> {
  for (let waited = 0; waited < 10_000 && ids.some(isRunning); waited += 50) await sleep(50);
  expect(ids.filter(isRunning)).toEqual([]);
}

/** @returns the process ids that a program prints, `count` lines of two */
async function printedIds({ stdout }: ChildProcess, count: number): Promise<number[]> {
  const ids: number[] = [];
  if (stdout === null) throw new Error("no output");
  for await (const line of createInterface(stdout)) {
    ids.push(...line.split(" ").map(Number));
    if (ids.length === 2 * count) break;
  }
  return ids;
}

test.runIf(onPosix).each(["SIGKILL", "SIGTERM", "SIGUSR1", "SIGUSR2"] as const)(
  "%s of the parent ends its programs and theirs",
  async (signal) => {
    // a process group of its own, so that the signal to the group reaches all that is in it
    const parent = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "ignore"], detached: true });
    const ids = await printedIds(parent, 2);
    expect(ids.every(isRunning)).toBe(true);
    const exit = once(parent, "exit");
    // SIGUSR1 makes it fail by an exception, SIGUSR2 lets it end by itself
    process.kill(signal === "SIGKILL" ? -(parent.pid ?? 0) : (parent.pid ?? 0), signal);
    const [code] = await exit;
    if (signal === "SIGUSR2") expect(code).toBe(0);
    await expectEnded(ids);
  },
);

test.runIf(onPosix)("a program that does not end when asked is killed with its children", async () => {
  const child = await startProgram(["sh", "-c", DEAF]);
  const ids = await printedIds(child, 1);
  await endProgram(child, 100);
  await expectEnded(ids);
  await endProgram(child, 100);
});

test("a program may end by itself when its input ends", async () => {
  const code = "process.stdin.resume().on('end', () => process.exit(7))";
  const child = await startProgram([process.execPath, "-e", code]);
  await endProgram(child, 60_000);
  expect(child.exitCode).toBe(7);
});

test("one that is not there is named", async () => {
  await expect(startProgram(["/no/such/program"])).rejects.toThrow(/got ENOENT for `\/no\/such\/program`/);
});
