/** Signals: what they ask for, in this process and in a real one. */
import { spawn } from "node:child_process";
import { EventEmitter } from "node:events";
import { afterAll, expect, test } from "vitest";
import { StopListener } from "../../src/cli/kit/stop_signal.js";
import { buildForTest } from "../support/built.js";

const built = buildForTest("stop-signal");
afterAll(built.remove);

function listen() {
  const source = new EventEmitter();
  const messages: string[] = [];
  const exits: number[] = [];
  const listener = new StopListener({
    source,
    announce: (message) => void messages.push(message),
    exit: (code) => void exits.push(code),
  });
  return { source, messages, exits, listener };
}

test("the first Ctrl-C asks, the second ends at once", () => {
  const { source, messages, exits, listener } = listen();
  expect([listener.signal.aborted, listener.reason]).toEqual([false, undefined]);
  source.emit("SIGINT", "SIGINT");
  expect(listener.reason).toMatchObject({ exitCode: 130, message: "stopped by SIGINT" });
  expect(messages).toEqual([expect.stringMatching(/saving a checkpoint; press Ctrl-C again/)]);
  expect(exits).toEqual([]);
  source.emit("SIGINT", "SIGINT");
  expect(exits).toEqual([130]);
  listener.close();
  expect(source.eventNames()).toEqual([]);
});

test.each(["SIGTERM", "SIGUSR1"] as const)("%s asks as often as it comes", (name) => {
  const { source, messages, exits, listener } = listen();
  source.emit(name, name);
  source.emit(name, name);
  expect(listener.reason).toMatchObject({ exitCode: 75, name: "StoppedError" });
  expect(messages).toHaveLength(1);
  source.emit("SIGINT", "SIGINT");
  expect(exits).toEqual([130]);
});

/** Waits for the signal in small steps, as training does between updates. */
const LOOP = `
  const { StopListener } = await import(process.argv[1]);
  const listener = new StopListener({ source: process, announce: (text) => console.log(text), exit: process.exit });
  console.log("ready");
  while (!listener.signal.aborted) await new Promise((done) => setTimeout(done, 5));
  console.log("saved");
  listener.close();
  process.exitCode = listener.reason.exitCode;`;

test.runIf(process.platform !== "win32").each([
  ["SIGINT", 130],
  ["SIGTERM", 75],
  // Node itself would start its debugger on this one
  ["SIGUSR1", 75],
] as const)("a process that gets %s saves and ends with %d", async (name, code) => {
  const module = new URL(`file://${built.folder}/src/cli/kit/stop_signal.js`).href;
  const child = spawn(process.execPath, ["--input-type=module", "-e", LOOP, module]);
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      text += chunk;
      if (String(chunk).includes("ready")) child.kill(name);
    });
  }
  expect(await new Promise((done) => child.on("close", done))).toBe(code);
  expect(text).toMatch(new RegExp(`^ready\\n${name}: .*\\nsaved\\n$`));
});
