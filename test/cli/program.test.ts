import { expect, test } from "vitest";
import { plainCommand, type Register } from "../../src/cli/kit/options.js";
import { runCli } from "../../src/cli/program.js";
import { ConfigError } from "../../src/core/errors.js";
import { TextStream } from "../support/streams.js";

/** Fails in the way its argument says. */
const fail: Register = (program, { terminal }) => {
  plainCommand(program, "fail", "fails").action(({ quiet }) => {
    terminal.print("result");
    terminal.info("progress");
    terminal.detail("detail");
    throw quiet ? new Error("unforeseen") : new ConfigError("[fail] wrong.", { cause: new Error("deeper") });
  });
};

async function run(args: string[], commands?: Register[], env: Record<string, string> = {}) {
  const stdout = new TextStream();
  const stderr = new TextStream();
  const code = await runCli(args, { stdout, stderr, env }, commands);
  return { code, stdout: stdout.text, stderr: stderr.text };
}

test("--version and --help are results", async () => {
  expect(await run(["--version"])).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    stderr: "",
  });
  expect(await run(["--help"])).toMatchObject({
    code: 0,
    stdout: expect.stringContaining("doctor"),
    stderr: "",
  });
  expect(await run(["help", "doctor"])).toMatchObject({
    code: 0,
    stdout: expect.stringContaining("--adapter"),
  });
});

test("usage errors end with 2 and suggest what was meant", async () => {
  expect(await run(["docter"])).toMatchObject({
    code: 2,
    stdout: "",
    stderr: expect.stringMatching(/Did you mean doctor/),
  });
  expect(await run(["doctor", "--jsn"])).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/Did you mean --json/),
  });
  expect(await run(["doctor", "--preset", "best"])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("checked, fast"),
  });
  expect(await run([])).toMatchObject({ code: 2, stdout: "", stderr: expect.stringContaining("Usage:") });
});

test("an error of ours gives its exit code, message and no stack", async () => {
  const { code, stdout, stderr } = await run(["fail"], [fail]);
  expect({ code, stdout, stderr }).toEqual({
    code: 2,
    stdout: "result\n",
    stderr: "progress\nerror: [fail] wrong.\n",
  });
});

test("--verbose adds details, stack and causes", async () => {
  const { stderr } = await run(["fail", "--verbose"], [fail]);
  expect(stderr).toMatch(/detail\n.*\[fail\] wrong.*at .*caused by Error: deeper/s);
});

test("an unforeseen error gives 1; --quiet leaves result and error", async () => {
  const { code, stdout, stderr } = await run(["fail", "--quiet"], [fail]);
  expect({ code, stdout, stderr }).toEqual({ code: 1, stdout: "result\n", stderr: "error: unforeseen\n" });
});

test("colours: FORCE_COLOR on, NO_COLOR and --no-color off, none without a terminal", async () => {
  const colored = async (args: string[], env: Record<string, string>) =>
    (await run(["fail", ...args], [fail], env)).stderr.includes("\u001b[31m");
  expect(await colored([], {})).toBe(false);
  expect(await colored([], { FORCE_COLOR: "1" })).toBe(true);
  expect(await colored(["--no-color"], { FORCE_COLOR: "1" })).toBe(false);
  expect(await colored([], { FORCE_COLOR: "1", NO_COLOR: "1" })).toBe(false);
});
