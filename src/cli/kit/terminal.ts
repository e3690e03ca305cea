/** The console: results go to stdout, everything about the way there to stderr. */
import { Readable, type Writable } from "node:stream";
import pc from "picocolors";
import type { Environment } from "../../core/environment.js";
import type { Logger } from "../../core/logger.js";
import { printable } from "../../core/shown.js";
import { type InputStream, isPrompted, type LineOptions, readLines } from "./terminal_lines.js";

type Colors = ReturnType<typeof pc.createColors>;

/** A stream that may be a terminal. */
export type OutputStream = Writable & { isTTY?: boolean; columns?: number };

export interface TerminalOptions {
  /** Default: nothing to read. */
  readonly stdin?: InputStream;
  stdout: OutputStream;
  stderr: OutputStream;
  env: Environment;
}

/** What a user may say about output, as commander gives it. */
export interface Verbosity {
  quiet?: boolean;
  verbose?: boolean;
  /** false after --no-color */
  color?: boolean;
}

/** Colours as `picocolors` writes them. */
const COLOR = new RegExp(`(${String.fromCharCode(27)}\\[[0-9;]*m)`);

/** Text as it may reach a terminal: texts of games, files and models must not move its cursor or more.
 *  @param colored whether colours are wanted */
function shownText(text: string, colored: boolean): string {
  if (!colored) return lines(text);
  const parts = text.split(COLOR);
  return parts.map((part, index) => (index % 2 === 1 ? part : lines(part))).join("");
}

/** Printable lines. Both kinds of line ends stay, CSV has the longer one; a carriage return alone would overwrite its line. */
function lines(text: string): string {
  return text
    .split("\r\n")
    .map((line) => printable(line, "\n\t"))
    .join("\r\n");
}

export class Terminal implements Logger {
  /** colours for what is printed to stdout; they add nothing when it is no terminal */
  colors: Colors;
  #errorColors: Colors;
  #quiet = false;
  #messagesLost = false;
  #resultsError: Error | undefined;
  #verbose = false;
  readonly #reader = new AbortController();

  constructor(private readonly options: TerminalOptions) {
    this.colors = pc.createColors(this.#wantsColor(options.stdout));
    this.#errorColors = pc.createColors(this.#wantsColor(options.stderr));
    options.stdout.on("error", (error) => this.#stopResults(error));
    // whatever becomes of messages, results and training go on
    options.stderr.on("error", () => {
      this.#messagesLost = true;
    });
  }

  /** Obeys the options of the command that is about to run. */
  configure({ quiet, verbose, color }: Verbosity): void {
    this.#quiet = quiet === true;
    this.#verbose = verbose === true;
    this.colors = pc.createColors(color !== false && this.#wantsColor(this.options.stdout));
    this.#errorColors = pc.createColors(color !== false && this.#wantsColor(this.options.stderr));
  }

  /** Aborts when whoever reads stdout has gone (`| head`): from then on results are dropped; long commands may stop. */
  get readerGone(): AbortSignal {
    return this.#reader.signal;
  }

  get isVerbose(): boolean {
    return this.#verbose;
  }

  /** Characters of one line of stdout. */
  get width(): number {
    return this.options.stdout.columns ?? 110;
  }

  /** Whether moving progress displays make sense: stderr is a terminal, not a log, and nobody asked for silence. */
  get isLive(): boolean {
    const { CI, TERM } = this.options.env;
    return this.options.stderr.isTTY === true && !this.#quiet && !CI && TERM !== "dumb";
  }

  /** Whether `lines` shows a prompt and echoes what is typed. */
  get isPrompted(): boolean {
    return isPrompted(this.#input);
  }

  /** Lines of stdin, until it ends or nobody reads the results any more. At a terminal they are edited at a prompt,
   *  which is shown on stderr, with the Tab key completing to one of `completions()`. */
  lines(prompt: string, completions: LineOptions["completions"]): AsyncGenerator<string> {
    return readLines({ ...this.#input, prompt, completions, signal: this.readerGone });
  }

  /** Where progress displays draw. */
  get errorStream(): OutputStream {
    return this.options.stderr;
  }

  /** A result: one or more lines to stdout. */
  print(text: string): void {
    if (this.#reader.signal.aborted) return;
    this.options.stdout.write(`${shownText(text, this.colors.isColorSupported)}\n`);
  }

  /** A result for machines: the value as one JSON text to stdout. */
  printJson(value: unknown): void {
    this.print(JSON.stringify(value, null, 2));
  }

  /** Progress and explanations; silent under --quiet. */
  info(message: string): void {
    if (!this.#quiet) this.#log(message);
  }

  /** Something that the user should change or know; also under --quiet. */
  warn(message: string): void {
    this.#log(`${this.#errorColors.yellow("warning:")} ${message}`);
  }

  /** Only under --verbose. */
  detail(message: string): void {
    if (this.#verbose) this.#log(this.#errorColors.dim(message));
  }

  error(message: string): void {
    this.#log(`${this.#errorColors.red("error:")} ${message}`);
  }

  /** Resolves when everything printed so far has left the process. */
  async flush(): Promise<void> {
    const { stdout, stderr } = this.options;
    const open = this.#messagesLost ? [stdout] : [stdout, stderr];
    await Promise.all(open.map((stream) => new Promise<void>((done) => stream.write("", () => done()))));
  }

  get #input(): Pick<LineOptions, "input" | "echo"> {
    return { input: this.options.stdin ?? Readable.from([]), echo: this.options.stderr };
  }

  #log(message: string): void {
    if (this.#messagesLost) return;
    this.options.stderr.write(`${shownText(message, this.#errorColors.isColorSupported)}\n`);
  }

  /** What kept results from being written, other than that nobody reads them. */
  get resultsError(): Error | undefined {
    return this.#resultsError;
  }

  #stopResults(error: Error): void {
    if (!("code" in error && error.code === "EPIPE")) this.#resultsError ??= error;
    this.#reader.abort();
  }

  #wantsColor(stream: OutputStream): boolean {
    const { NO_COLOR, FORCE_COLOR, TERM } = this.options.env;
    if (NO_COLOR) return false;
    if (FORCE_COLOR) return FORCE_COLOR !== "0";
    return stream.isTTY === true && TERM !== "dumb";
  }
}
