/** Plays worlds of OpenEnv servers over HTTP: POST /reset, POST /step; GET /tasks where the server is one of ours. */
import { randomUUID } from "node:crypto";
import { ConfigError, WorldError } from "../../core/errors.js";
import { readReset, readSpec, readStep, type WorldSpec } from "../../env/external/messages.js";
import { Pool } from "../../env/external/pool.js";
import { type ExternalSession, ExternalWorld } from "../../env/external/world.js";
import type { ResetOptions, ResetResult, StepResult } from "../../env/world.js";

export interface OpenenvChoice {
  /** Address of the server, `http://` or `https://`. */
  readonly url: string;
  readonly token?: string;
  /** Seconds for each answer. */
  readonly timeLimit: number;
  /** Most episodes at once. Default: 1, since many servers play one. */
  readonly maxEnvironments?: number;
  /** Field of an action that holds the command, and of an observation that holds the text. Default: command, text. */
  readonly actionField?: string;
  readonly textField?: string;
  /** Tasks of servers that list none: seeds from 0 on. Default: 64. */
  readonly seeds?: number;
}

/** Task ids of servers that list none. */
const SEED = /^seed\/(\d+)$/;

/** @throws ConfigError for another kind of address, WorldError when the server does not answer as it should */
export async function openOpenenvWorld(choice: OpenenvChoice): Promise<ExternalWorld> {
  if (!/^https?:\/\/./.test(choice.url)) {
    throw new ConfigError(
      `[world.url] not an address: got \`${choice.url}\`, expected http:// or https://. Write for example http://127.0.0.1:8000.`,
    );
  }
  const limit = choice.maxEnvironments ?? 1;
  const sessions = new Pool<ExternalSession>(async () => new HttpSession(choice), limit);
  return new ExternalWorld(await specOf(choice), sessions, limit);
}

async function specOf(choice: OpenenvChoice): Promise<WorldSpec> {
  await request(choice, "GET", "/health");
  const tasks = await request(choice, "GET", "/tasks", undefined, 404);
  if (tasks !== undefined) return readSpec(tasks);
  const seeds = Array.from({ length: choice.seeds ?? 64 }, (_, seed) => ({
    id: `seed/${seed}`,
    type: "seed",
  }));
  return readSpec({ id: "openenv", splits: { train: seeds } });
}

/** One episode on the server, under an id of its own. */
class HttpSession implements ExternalSession {
  readonly #id = randomUUID();
  #alive = true;
  #isOpen = false;
  #taskId = "";

  constructor(readonly choice: OpenenvChoice) {}

  get alive(): boolean {
    return this.#alive;
  }

  async reset({ seed, options = {} }: ResetOptions): Promise<ResetResult> {
    this.#taskId = options.taskId ?? "";
    const drawn = SEED.exec(this.#taskId)?.[1];
    const named = drawn === undefined ? { task_id: options.taskId, split: options.split } : {};
    const body = { seed: drawn === undefined ? seed : Number(drawn), episode_id: this.#id, ...named };
    const { observation, text } = this.#read(await this.#post("/reset", body));
    this.#isOpen = true;
    const task = typeof observation.task === "string" ? observation.task : "";
    return readReset({ obs: text, task, info: infoOf(observation, false, 0) }, this.#taskId);
  }

  async step(command: string): Promise<StepResult> {
    const action = { [this.choice.actionField ?? "command"]: command };
    const answer = await this.#post("/step", { action, episode_id: this.#id });
    const { observation, text, done, reward } = this.#read(answer);
    const truncated = observation.truncated === true;
    const terminated = done && !truncated;
    return readStep(
      { obs: text, reward, terminated, truncated, info: infoOf(observation, terminated, reward) },
      this.#taskId,
    );
  }

  ask(): Promise<unknown> {
    return Promise.reject(
      new WorldError("[openenv] servers know no experts: got a question, expected none. Ask not."),
    );
  }

  /** Servers that know no end of an episode are left alone. */
  async close(): Promise<void> {
    const isOpen = this.#isOpen && this.#alive;
    this.#alive = false;
    if (isOpen) await request(this.choice, "POST", "/close", { episode_id: this.#id }, 404);
  }

  async #post(path: string, body: unknown): Promise<unknown> {
    try {
      return await request(this.choice, "POST", path, body);
    } catch (error) {
      if (error instanceof WorldError) this.#alive = false;
      throw error;
    }
  }

  #read(answer: unknown) {
    const { observation, reward, done } = (answer ?? {}) as Record<string, unknown>;
    const field = this.choice.textField ?? "text";
    const fields = (observation ?? {}) as Record<string, unknown>;
    const text = fields[field];
    if (typeof text !== "string") {
      throw new WorldError(
        `[openenv] no text in the observation: got fields ${Object.keys(fields).join(", ") || "none"}, expected \`${field}\`. \
Name the right one by world.text_field.`,
      );
    }
    return {
      observation: fields,
      text,
      reward: typeof reward === "number" ? reward : 0,
      done: done === true,
    };
  }
}

/** OpenEnv knows no `won`: where the server does not tell, an episode that ends with a reward above 0 is won. Our own rule. */
function infoOf(observation: Record<string, unknown>, terminated: boolean, reward: number) {
  const {
    text: _text,
    task: _task,
    episode_id: _id,
    terminated: _end,
    truncated: _cut,
    ...info
  } = observation;
  return { ...info, won: typeof info.won === "boolean" ? info.won : terminated && reward > 0 };
}

/** @param missing a status that stands for nothing: undefined is returned. @throws WorldError for every other failure */
async function request(
  { url, token, timeLimit }: OpenenvChoice,
  method: string,
  path: string,
  body?: unknown,
  missing?: number,
): Promise<unknown> {
  const place = `${url.replace(/\/$/, "")}${path}`;
  const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
  try {
    const response = await fetch(place, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(1000 * timeLimit),
    });
    const answer = await response.text();
    if (response.status === missing) return undefined;
    if (response.ok) return JSON.parse(answer) as unknown;
    throw new WorldError(
      `[openenv] the server refuses: got ${response.status} ${answer.slice(0, 200)} for ${method} ${place}, expected 200. See to it.`,
    );
  } catch (cause) {
    if (cause instanceof WorldError) throw cause;
    const reason =
      cause instanceof Error
        ? cause.cause instanceof Error
          ? cause.cause.message
          : cause.message
        : String(cause);
    throw new WorldError(
      `[openenv] no answer: got ${reason} for ${method} ${place}, expected JSON. Check the address and the server.`,
      { cause },
    );
  }
}
