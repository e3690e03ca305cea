import { expect, test } from "vitest";
import { plainCommand, type Register } from "../../src/cli/kit/options.js";
import { runCli } from "../../src/cli/program.js";
import { ConfigError, DataError } from "../../src/core/errors.js";
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

/** A stream that refuses what is written to it. */
class FullStream extends TextStream {
  constructor(readonly code: string) {
    super();
  }
  override _write(_chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error) => void): void {
    done(Object.assign(new Error(`${this.code}: write`), { code: this.code, syscall: "write" }));
  }
}

const talk: Register = (program, { terminal }) => {
  plainCommand(program, "talk", "talks").action(async () => {
    terminal.info("before");
    await new Promise((done) => setTimeout(done, 10));
    terminal.info("after");
    terminal.print("result");
  });
};

test.each(["ENOSPC", "EPIPE", "EIO"])("messages that cannot be written (%s) cost no result", async (code) => {
  const stdout = new TextStream();
  const options = { stdout, stderr: new FullStream(code), env: {} };
  expect(await runCli(["talk"], options, [talk])).toBe(0);
  expect(stdout.text).toBe("result\n");
});

test("results that cannot be written are one line and exit code 1", async () => {
  const stderr = new TextStream();
  expect(await runCli(["talk", "-q"], { stdout: new FullStream("ENOSPC"), stderr, env: {} }, [talk])).toBe(1);
  expect(stderr.text).toBe(
    "error: [stdout] results cannot be written: got ENOSPC (no space on the disk). Free some space, or write to another disk.\n",
  );
});

test.each([
  ["EACCES", 2, "no permission"],
  ["EROFS", 2, "cannot be written"],
  ["ENAMETOOLONG", 2, "too long"],
  ["ENOSPC", 1, "no space on the disk"],
])("an ordinary error of the system (%s) has path, rule and cure", async (code, exit, meaning) => {
  const failing: Register = (program) => {
    plainCommand(program, "x", "fails").action(() => {
      throw Object.assign(new Error("raw"), { code, syscall: "open", path: "/a/b" });
    });
  };
  const result = await run(["x"], [failing]);
  expect(result.code).toBe(exit);
  expect(result.stderr).toMatch(
    new RegExp(`^error: \\[/a/b\\] the system refused: got ${code} \\(.*${meaning}`),
  );
  expect(result.stderr).not.toContain("not foreseen");
});

test("a path that cannot be used gives 2, whoever noticed it; what a file holds gives 1", async () => {
  const failing =
    (cause: unknown): Register =>
    (program) => {
      program.command("fail").action(() => {
        throw new DataError("[/a/b] file cannot be read: got it, expected a file. Check the path.", {
          cause,
        });
      });
    };
  const system = (code: string) => Object.assign(new Error("raw"), { code, syscall: "open", path: "/a/b" });
  expect((await run(["fail"], [failing(system("ENOENT"))])).code).toBe(2);
  expect((await run(["fail"], [failing(system("EIO"))])).code).toBe(1);
  expect((await run(["fail"], [failing(new SyntaxError("not JSON"))])).code).toBe(1);
});

test("no control character of a game or file reaches the terminal", async () => {
  const hostile = "\u001b[2J\u001b]0;title\u0007 \u009b5A \u202egnp";
  const shows: Register = (program, { terminal }) => {
    plainCommand(program, "x", "shows").action(() => {
      terminal.print(hostile);
      terminal.printJson({ hostile });
      throw new ConfigError(`[x] ${hostile}`);
    });
  };
  for (const env of [{}, { FORCE_COLOR: "1" }] as Record<string, string>[]) {
    const { stdout, stderr } = await run(["x"], [shows], env);
    for (const text of [stdout, stderr]) {
      const left = [...text].filter(
        (c) => (c < " " && c !== "\n") || (c >= "\u007f" && c < "\u00a0") || c === "\u202e",
      );
      // colours are our own
      expect(left.filter((c) => c !== "\u001b")).toEqual([]);
      expect(text).not.toContain("\u001b[2J");
      expect(text).not.toContain("\u001b]");
    }
    expect(JSON.parse(stdout.slice(stdout.indexOf("{")))).toEqual({ hostile });
  }
});
