/** README.md against the project: everything it names exists, and what is cheap among its commands is run. */
import { execFile } from "node:child_process";
import { cpSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, describe, expect, test } from "vitest";
import { Terminal } from "../../src/cli/kit/terminal.js";
import { createProgram } from "../../src/cli/program.js";
import { temporaryFolder } from "../support/folders.js";
import { packageForTest } from "../support/package.js";
import { writeTinyPolicy } from "../support/policy.js";
import { findProblems, type ShellCommand, shellCommands, uncoupleArguments } from "../support/readme.js";
import { TextStream } from "../support/streams.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const text = readFileSync(join(root, "README.md"), "utf8");

const facts = {
  root,
  program: async () => {
    const terminal = { stdout: new TextStream(), stderr: new TextStream(), env: {} };
    return createProgram(terminal, new Terminal(terminal));
  },
};

test("every command, option, file, link and script of README.md exists", async () => {
  expect(await findProblems(text, facts)).toEqual([]);
});

const shell = (...lines: string[]) => ["```sh", ...lines, "```"].join("\n");

test.each([
  ["a command that is none", shell("npx uncouple trian"), /line 2: .*unknown command 'trian'/],
  ["no command", shell("npx uncouple"), /line 2: uncouple /],
  ["an option that is none", shell("uncouple train --stpes 3"), /unknown option '--stpes'/],
  ["a value that an option refuses", shell("uncouple doctor --preset best"), /'best' is invalid/],
  ["too many arguments", shell("npx uncouple doctor now"), /too many arguments/],
  ["a required option left out", shell("npx uncouple score --json"), /required option '--model/],
  ["options at odds", shell("npx uncouple play --expert --model bin"), /cannot be used with/],
  ["a file that nobody made", shell("npx uncouple train -c my.yaml"), /my\.yaml: no such file/],
  [
    "a file that is made later",
    shell("npx uncouple train -c my.yaml", "npx uncouple init my.yaml"),
    /line 2: my\.yaml/,
  ],
  [
    "a run of another name",
    shell("npx uncouple train --name a", "npx uncouple play --model runs/b/export"),
    /runs\/b/,
  ],
  ["the second command of a line", shell("cd x && A=b npx uncouple trian # c"), /'trian'/],
  ["a command in a sentence", "Use `npx uncouple train --stpes 3`.", /line 1: .*unknown option '--stpes'/],
  ["a link", "See [there](docs/nowhere.md#part).", /docs\/nowhere\.md: no such file/],
  ["a script", "Run `npm run nonsense`.", /no script nonsense in package\.json/],
  ["a script elsewhere", shell("npm --prefix bin test"), /no script test in bin\/package\.json/],
  ["a lock file", shell("npm --prefix bin ci"), /bin: no package-lock\.json/],
])("the check notices %s", async (_, bad, message) => {
  expect(await findProblems(bad, facts)).toEqual([expect.stringMatching(message)]);
});

test("the check passes what is right", async () => {
  const good = [
    "Mentions of `uncouple score` and [links](README.md#quick) are fine, and so is [the web](https://example.org).",
    shell(
      "npm ci && npm start",
      "npx uncouple init my.yaml # a comment with uncouple nonsense",
      `npx uncouple train -c my.yaml -c 'configs/household.yaml' --name a "grpo.max_steps=3"`,
      "printf 'look\\n' > walk.txt",
      "npx uncouple play --commands walk.txt | head -n 1",
      "npx uncouple train --resume runs/a",
      'npx uncouple play --env alfworld --data "$ALFWORLD_DATA" --expert',
    ),
    "```text\nnpx uncouple nonsense\n```",
  ].join("\n");
  expect(await findProblems(good, facts)).toEqual([]);
});

/** Commands of README.md that end within seconds and need nobody at the keyboard. */
function isCheap(command: ShellCommand): boolean {
  const [name, ...rest] = uncoupleArguments(command) ?? [];
  if (name === "train") return rest.includes("--dry-run");
  if (name === "play")
    return (
      ["--commands", "--expert", "--list"].some((option) => rest.includes(option)) &&
      !rest.includes("alfworld")
    );
  return name === "doctor" || name === "init" || name === "score";
}

/** Shell lines to run: cheap commands, and those that write the files these read. */
function linesToRun(): string[] {
  const lines = new Map<string, ShellCommand[]>();
  for (const command of shellCommands(text)) {
    if (!command.isInline) lines.set(command.shell, [...(lines.get(command.shell) ?? []), command]);
  }
  const runs = (command: ShellCommand) => isCheap(command) || ["echo", "printf"].includes(command.words[0]);
  return [...lines].filter(([, commands]) => commands.every(runs)).map(([line]) => line);
}

describe("cheap commands of README.md", () => {
  const lines = linesToRun();
  const built = packageForTest("readme");
  const folder = temporaryFolder();
  cpSync(join(root, "configs"), join(folder, "configs"), { recursive: true });
  afterAll(() => {
    built.remove();
  });

  test("are these at least", () => {
    for (const name of ["doctor --json", "play --commands", "init ", "--dry-run", "score "]) {
      expect(lines.filter((line) => line.includes(name))).not.toEqual([]);
    }
  });

  test.each(lines)("%s", async (line) => {
    const model = /--model (\S+)/.exec(line)?.[1];
    if (model !== undefined && !existsSync(join(folder, model))) await writeTinyPolicy(join(folder, model));
    // in place of npx, which would look for the package in the folder of the text
    const script = `set -euo pipefail\nnpx() { shift; "$NODE" "$SCRIPT" "$@"; }\n${line}`;
    const env = { ...process.env, NODE: process.execPath, SCRIPT: join(built.folder, "bin", "uncouple.js") };
    const { stdout } = await promisify(execFile)("bash", ["-c", script], {
      cwd: folder,
      env,
      timeout: 100_000,
    });
    if (!line.includes("--json")) return;
    // play prints one object a step
    for (const json of line.includes("play") ? stdout.trimEnd().split("\n") : [stdout])
      expect(JSON.parse(json)).toBeTypeOf("object");
  });
});
