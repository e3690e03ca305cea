/** Holds the commands, links and scripts of a Markdown text against the project. */
import { existsSync, readFileSync } from "node:fs";
import { join, normalize } from "node:path";
import { type Command, CommanderError, type CommandUnknownOpts } from "@commander-js/extra-typings";

/** One command of a shell line. */
export interface ShellCommand {
  /** 1-based line of the text. */
  readonly line: number;
  /** The whole line that it is a part of. */
  readonly shell: string;
  /** Program and arguments, without quotes, assignments before it, comments and redirections. */
  readonly words: readonly string[];
  /** File that its output goes to. */
  readonly output?: string;
  /** It stands in a sentence, not in a block to be copied: options may be left out. */
  readonly isInline: boolean;
}

/** What a text is held against. */
export interface ProjectFacts {
  /** Folder of the text and of everything it names. */
  readonly root: string;
  /** A fresh program for each command: commander keeps option values. */
  readonly program: () => Promise<Command>;
}

const FENCE = /^```(\w*)\s*$/;
const SHELLS = ["sh", "bash", "console"];

/** Commands of all shell blocks, and code spans that begin with `uncouple` or `npx`, in the order of the text. */
export function shellCommands(text: string): ShellCommand[] {
  const found: ShellCommand[] = [];
  let fence: string | undefined;
  text.split("\n").forEach((content, index) => {
    const mark = FENCE.exec(content);
    if (mark) fence = fence === undefined ? mark[1] : undefined;
    else if (fence !== undefined && SHELLS.includes(fence))
      found.push(...commandsOf(content, index + 1, false));
    else if (fence === undefined) {
      for (const [, span] of content.matchAll(/`([^`]+)`/g)) {
        if (/^(npx |npm |uncouple )/.test(span)) found.push(...commandsOf(span, index + 1, true));
      }
    }
  });
  return found;
}

/** Words, operators and comments of a shell line; quotes hold words together. */
const SHELL_PART = /(#.*$)|(&&|\|\||[;|]|>>?)|((?:"[^"]*"|'[^']*'|[^\s;|>&"'])+)/g;

function commandsOf(shell: string, line: number, isInline: boolean): ShellCommand[] {
  const found: ShellCommand[] = [];
  let words: string[] = [];
  let output: string | undefined;
  let redirects = false;
  const end = () => {
    while (words.length > 0 && /^\w+=/.test(words[0])) words.shift();
    if (words.length > 0) found.push({ line, shell, words, output, isInline });
    words = [];
    output = undefined;
  };
  for (const [, comment, operator, word] of shell.matchAll(SHELL_PART)) {
    if (comment !== undefined) break;
    if (operator !== undefined) {
      redirects = operator.startsWith(">");
      if (!redirects) end();
    } else if (redirects) {
      output = unquoted(word);
      redirects = false;
    } else words.push(unquoted(word));
  }
  end();
  return found;
}

function unquoted(word: string): string {
  return word.replace(/"([^"]*)"|'([^']*)'/g, (_, double, single) => double ?? single);
}

/** Arguments of `uncouple`, when the command is that. */
export function uncoupleArguments({ words }: ShellCommand): readonly string[] | undefined {
  const rest = words[0] === "npx" ? words.slice(1) : words;
  return rest[0] === "uncouple" ? rest.slice(1) : undefined;
}

/** Everything in the text that the project does not have, one line each. */
export async function findProblems(text: string, facts: ProjectFacts): Promise<string[]> {
  const problems = brokenLinks(text, facts.root);
  /** Files and folders that earlier commands of the text make. */
  const made: string[] = [];
  for (const command of shellCommands(text)) {
    const args = uncoupleArguments(command);
    const found = args
      ? await checkUncouple(args, command, facts, made)
      : checkNpm(command.words, facts.root);
    problems.push(...found.map((problem) => `line ${command.line}: ${problem}`));
    if (command.output !== undefined) made.push(normalize(command.output));
  }
  return problems;
}

function brokenLinks(text: string, root: string): string[] {
  const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target);
  return links
    .filter((target) => !/^(https?:|#)/.test(target))
    .map((target) => target.replace(/#.*$/, ""))
    .filter((target) => !existsSync(join(root, target)))
    .map((target) => `link to ${target}: no such file`);
}

/** Lets commander judge the arguments, with actions that do nothing. */
async function checkUncouple(
  args: readonly string[],
  { isInline }: ShellCommand,
  facts: ProjectFacts,
  made: string[],
): Promise<string[]> {
  const program = await facts.program();
  let chosen: CommandUnknownOpts | undefined;
  const disarm = (command: CommandUnknownOpts): void => {
    command.commands.forEach(disarm);
    // a command of commands alone has no action, and must not get one
    const { _actionHandler: action } = command as unknown as { readonly _actionHandler: unknown };
    if (!action) return;
    command.action(() => {
      chosen = command;
    });
  };
  program.commands.forEach(disarm);
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    const isLeftOut =
      error instanceof CommanderError && /missing(Argument|MandatoryOptionValue)$/.test(error.code);
    return isInline && isLeftOut ? [] : [`uncouple ${args.join(" ")}: ${(error as Error).message}`];
  }
  if (!chosen) return [`uncouple ${args.join(" ")}: no such command`];
  const missing = filesRead(chosen).filter((path) => !isThere(path, facts.root, made));
  made.push(...filesMade(chosen));
  return missing.map((path) => `${path}: no such file, and no command before makes it`);
}

/** Options whose file or folder the command makes where it is missing. */
const OUTPUTS = ["out", "cacheDir"];

/** Values of all options that take a file or folder to read. Shell variables stand for what users have. */
function filesRead(command: CommandUnknownOpts): string[] {
  const values: Record<string, unknown> = command.opts();
  return command.options
    .filter(
      (option) =>
        /[<[](file|folder|run)[>\]]/.test(option.flags) && !OUTPUTS.includes(option.attributeName()),
    )
    .flatMap((option) => values[option.attributeName()] ?? [])
    .filter(
      (value): value is string => typeof value === "string" && value !== "latest" && !value.includes("$"),
    );
}

/** The file of `init`, and the run folder that a `--name` gives. */
function filesMade(command: CommandUnknownOpts): string[] {
  if (command.name() === "init") return command.args.map((path) => normalize(path));
  const { name, out = "runs" }: { name?: string; out?: string } = command.opts();
  return name === undefined ? [] : [join(out, name)];
}

function isThere(path: string, root: string, made: readonly string[]): boolean {
  const wanted = normalize(path);
  return (
    existsSync(join(root, wanted)) || made.some((known) => wanted === known || wanted.startsWith(`${known}/`))
  );
}

/** `npm start`, `npm test` and `npm run NAME` need a script, `npm ci` a lock file, each where `--prefix` says. */
function checkNpm(words: readonly string[], root: string): string[] {
  if (words[0] !== "npm") return [];
  const rest = words.slice(1);
  const at = rest.indexOf("--prefix");
  const [, folder = "."] = at < 0 ? [] : rest.splice(at, 2);
  const [verb, name] = rest;
  if (verb === "ci")
    return existsSync(join(root, folder, "package-lock.json")) ? [] : [`${folder}: no package-lock.json`];
  const script = verb === "run" ? name : verb;
  if (verb !== "run" && verb !== "start" && verb !== "test") return [];
  const file = join(root, folder, "package.json");
  const { scripts = {} } = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {};
  return Object.hasOwn(scripts, script)
    ? []
    : [`npm ${verb}: no script ${script} in ${join(folder, "package.json")}`];
}
