/** A program that plays a world over JSON lines: one request a line on its input, one answer a line on its output. */
import type { ChildProcess } from "node:child_process";
import { DataError, WorldError } from "../../core/errors.js";
import { readReset, readSpec, readStep, type WorldSpec } from "../../env/external/messages.js";
import type { ExternalSession } from "../../env/external/world.js";
import type { ResetOptions, ResetResult, StepResult } from "../../env/world.js";
import { endProgram, startProgram } from "./child_guard.js";
import { LineReader } from "./line_reader.js";

/** Milliseconds from the closed input to the kill. */
const GRACE = 1000;
/** What is kept of a program's last words, for messages. */
const LAST_WORDS = 1000;

interface Waiting {
  readonly id: number;
  resolve(result: unknown): void;
  reject(error: Error): void;
}

/** One process and the one game in it. */
export class LineProgram implements ExternalSession {
  readonly #reader = new LineReader("world");
  #waiting: Waiting | undefined;
  #failure: WorldError | undefined;
  #lastId = 0;
  #words = "";
  #taskId = "";

  private constructor(
    readonly child: ChildProcess,
    readonly timeLimit: number,
  ) {
    child.stdout?.on("data", (chunk: Buffer) => this.#receive(chunk));
    child.stderr?.on("data", (chunk: Buffer) => {
      this.#words = (this.#words + chunk.toString("utf8")).slice(-LAST_WORDS);
    });
    child.once("close", (code, signal) => this.#fail(`the program ended: got exit code ${code ?? signal}`));
  }

  /** @param timeLimit milliseconds for each answer. @throws WorldError when there is no such program */
  static async start(command: readonly string[], timeLimit: number): Promise<LineProgram> {
    return new LineProgram(await startProgram(command), timeLimit);
  }

  get alive(): boolean {
    return this.#failure === undefined;
  }

  async spec(): Promise<WorldSpec> {
    return readSpec(await this.#request("spec", {}));
  }

  async reset({ seed, options = {} }: ResetOptions): Promise<ResetResult> {
    this.#taskId = options.taskId ?? "";
    const params = { seed, options: { task_id: options.taskId, split: options.split } };
    return this.#checked(async () => readReset(await this.#request("reset", params), this.#taskId));
  }

  async step(action: string): Promise<StepResult> {
    return this.#checked(async () => readStep(await this.#request("step", { action }), this.#taskId));
  }

  ask(method: "expert" | "texts", params: Readonly<Record<string, unknown>>): Promise<unknown> {
    return this.#request(method, params);
  }

  async close(): Promise<void> {
    this.#fail("the program was closed: got a request after it");
    await endProgram(this.child, GRACE);
  }

  /** A malformed answer spoils the program: it would come again. */
  async #checked<T>(read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      if (error instanceof WorldError) this.#failure ??= error;
      throw error;
    }
  }

  #request(method: string, params: Readonly<Record<string, unknown>>): Promise<unknown> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.#waiting) return Promise.reject(this.#fail("requests overlap: got two"));
    const id = ++this.#lastId;
    const limit = `no answer to ${method}: got none for ${this.timeLimit / 1000} s`;
    const timer = setTimeout(() => this.#fail(limit), this.timeLimit);
    return new Promise<unknown>((resolve, reject) => {
      this.#waiting = { id, resolve, reject };
      this.child.stdin?.write(`${JSON.stringify({ id, method, params })}\n`);
    }).finally(() => clearTimeout(timer));
  }

  #receive(chunk: Buffer): void {
    if (this.#failure) return;
    try {
      for (const line of this.#reader.push(chunk)) this.#answer(line);
    } catch (error) {
      this.#fail((error as Error).message);
    }
  }

  #answer(line: string): void {
    const waiting = this.#waiting;
    const reply = parseReply(line);
    if (reply === undefined || waiting === undefined || reply.id !== waiting.id) {
      this.#fail(`not an answer: got ${JSON.stringify(line.slice(0, 80))} on its output`);
      return;
    }
    this.#waiting = undefined;
    if (reply.error === undefined) waiting.resolve(reply.result);
    else {
      waiting.reject(
        new DataError(`[world] the program refuses: got "${reply.error}", expected a result. See to it.`),
      );
    }
  }

  #fail(what: string): WorldError {
    const words = this.#words.trim() === "" ? "" : ` It said: ${this.#words.trim()}`;
    this.#failure ??= new WorldError(
      `[world] ${what}, expected one line of JSON for each request and nothing else there. Mend the program.${words}`,
    );
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.reject(this.#failure);
    return this.#failure;
  }
}

function parseReply(line: string): { id: unknown; result?: unknown; error?: unknown } | undefined {
  try {
    const reply: unknown = JSON.parse(line);
    return typeof reply === "object" && reply !== null && "id" in reply ? reply : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
