/**
 * Offers a world to others over HTTP as OpenEnv servers do: POST /reset and /step, GET /state, /health, /metadata and /schema, and
 * GET /tasks of our own. Episodes are kept apart by `episode_id`.
 * @source OpenEnv 0.2, `openenv.core.env_server`
 */
import { randomUUID, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { ConfigError, UncoupleError } from "../../core/errors.js";
import { writeInfo } from "../../env/external/messages.js";
import type { Environment, Info, World } from "../../env/world.js";
import { isLoopback } from "./loopback.js";

export interface ServeOptions {
  readonly host: string;
  /** 0 = any free one. */
  readonly port: number;
  /** Asked for as `Authorization: Bearer <token>`. */
  readonly token?: string;
  /** Most episodes at a time. */
  readonly maxEpisodes: number;
}

/** An episode that somebody plays. */
interface Episode {
  readonly id: string;
  readonly environment: Environment;
  task: string;
  steps: number;
  done: boolean;
}

/** What went wrong with a request, by its HTTP status. */
class RequestError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** Most bytes of a request. */
const MAX_BODY = 1 << 20;

/** A running server; `close` ends its episodes, the caller closes the world. */
export class WorldServer {
  readonly #episodes = new Map<string, Episode>();
  /** Of requests that name no episode. */
  #last: string | undefined;
  /** Requests take turns: environments play one thing at a time. */
  #turn: Promise<unknown> = Promise.resolve();
  #server: Server | undefined;

  private constructor(
    readonly world: World,
    readonly options: ServeOptions,
  ) {}

  /** @throws ConfigError when others than this machine could come in without a token */
  static async start(world: World, options: ServeOptions): Promise<WorldServer> {
    if (!isLoopback(options.host) && !options.token) {
      throw new ConfigError(
        `[serve-env] no token: got none for ${options.host}, expected one where other machines can connect. Give \
--token-file, or serve on 127.0.0.1.`,
      );
    }
    const started = new WorldServer(world, options);
    const server = createServer((request, response) => void started.#handle(request, response));
    await new Promise<void>((resolve, reject) => {
      server.once("error", (cause: NodeJS.ErrnoException) =>
        reject(
          new ConfigError(
            `[serve-env] cannot listen: got ${cause.code} at ${options.host}:${options.port}, expected a free port. Choose another one.`,
            { cause },
          ),
        ),
      );
      server.listen(options.port, options.host, resolve);
    });
    started.#server = server;
    return started;
  }

  get url(): string {
    const { address, port, family } = (this.#server as Server).address() as AddressInfo;
    return `http://${family === "IPv6" ? `[${address}]` : address}:${port}`;
  }

  async close(): Promise<void> {
    const server = this.#server;
    server?.closeAllConnections();
    await new Promise<void>((resolve) => (server ? server.close(() => resolve()) : resolve()));
    await Promise.all([...this.#episodes.values()].map(({ environment }) => environment.close()));
    this.#episodes.clear();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let status = 200;
    let body: unknown;
    try {
      this.#checkCaller(request);
      const content = request.method === "POST" ? await readBody(request) : {};
      const answer = this.#turn.then(() => this.#answer(request, content));
      this.#turn = answer.catch(() => undefined);
      body = await answer;
    } catch (error) {
      status = error instanceof RequestError ? error.status : error instanceof ConfigError ? 422 : 500;
      const known = error instanceof RequestError || error instanceof UncoupleError;
      body = { detail: known ? error.message : "the world failed" };
    }
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  }

  /** Pages that a browser has open could reach a loopback port, too, by a name of their own. */
  #checkCaller({ headers }: IncomingMessage): void {
    const { token, host } = this.options;
    const name = (headers.host ?? "").replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
    if (isLoopback(host) && !isLoopback(name))
      throw new RequestError(403, "this server answers loopback names only");
    if (token === undefined) return;
    const given = Buffer.from(headers.authorization ?? "");
    const expected = Buffer.from(`Bearer ${token}`);
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
      throw new RequestError(401, "a token is needed: Authorization: Bearer <token>");
    }
  }

  async #answer({ method, url }: IncomingMessage, content: Record<string, unknown>): Promise<unknown> {
    const { pathname, searchParams } = new URL(url ?? "/", "http://server");
    switch (`${method} ${pathname}`) {
      case "POST /reset":
        return this.#reset(content);
      case "POST /step":
        return this.#step(content);
      case "GET /state":
        return stateOf(this.#episode(searchParams.get("episode_id") ?? undefined));
      case "POST /close":
        return this.#end(content);
      case "GET /health":
        return { status: "healthy" };
      case "GET /metadata":
        return { name: this.world.id, description: `The text world ${this.world.id} of uncouple` };
      case "GET /schema":
        return SCHEMA;
      case "GET /tasks":
        return { id: this.world.id, splits: this.#splits() };
      default:
        throw new RequestError(404, `no such place: ${method} ${pathname}`);
    }
  }

  async #reset(content: Record<string, unknown>): Promise<unknown> {
    const { seed, episode_id, task_id: taskId, split } = content;
    const id = typeof episode_id === "string" && episode_id !== "" ? episode_id : randomUUID();
    const known = this.#episodes.get(id);
    if (known === undefined && this.#episodes.size >= this.options.maxEpisodes) await this.#endOldest();
    const environment = known?.environment ?? this.world.create();
    const first = await environment.reset({
      seed: typeof seed === "number" ? seed : undefined,
      options: {
        taskId: typeof taskId === "string" ? taskId : undefined,
        split: typeof split === "string" ? split : undefined,
      },
    });
    // The one used last stands at the end.
    this.#episodes.delete(id);
    this.#episodes.set(id, { id, environment, task: first.task, steps: 0, done: first.info.won });
    this.#last = id;
    return {
      observation: observationOf(first.obs, first.info, first.task, id),
      reward: null,
      done: first.info.won,
    };
  }

  async #step({ action, episode_id }: Record<string, unknown>): Promise<unknown> {
    const command = (action as { command?: unknown } | undefined)?.command;
    if (typeof command !== "string") {
      throw new RequestError(422, `action.command: got ${JSON.stringify(command)}, expected a text`);
    }
    const episode = this.#episode(typeof episode_id === "string" ? episode_id : undefined);
    const { obs, info, reward, terminated, truncated } = await episode.environment.step(command);
    episode.steps++;
    episode.done = terminated || truncated;
    const observation = { ...observationOf(obs, info, episode.task, episode.id), terminated, truncated };
    return { observation, reward, done: episode.done };
  }

  async #end({ episode_id }: Record<string, unknown>): Promise<unknown> {
    const episode = this.#episode(typeof episode_id === "string" ? episode_id : undefined);
    this.#episodes.delete(episode.id);
    await episode.environment.close();
    return {};
  }

  async #endOldest(): Promise<void> {
    const [oldest] = this.#episodes.values();
    if (oldest) await this.#end({ episode_id: oldest.id });
  }

  #episode(id = this.#last): Episode {
    const episode = id === undefined ? undefined : this.#episodes.get(id);
    if (episode) return episode;
    throw new RequestError(409, `no episode ${id ?? "yet"}: reset first`);
  }

  #splits() {
    const { world } = this;
    return Object.fromEntries(
      world.splits.map((split) => [split, world.tasks(split).map(({ id, type }) => ({ id, type }))]),
    );
  }
}

function observationOf(text: string, info: Info, task: string, episodeId: string) {
  return { text, task, episode_id: episodeId, ...writeInfo(info) };
}

function stateOf({ id, steps, task, done }: Episode) {
  return { episode_id: id, step_count: steps, task, done };
}

const text = { type: "string" };
const SCHEMA = {
  action: { type: "object", properties: { command: text }, required: ["command"] },
  observation: {
    type: "object",
    properties: { text, task: text, won: { type: "boolean" } },
    required: ["text"],
  },
  state: { type: "object", properties: { episode_id: text, step_count: { type: "integer" } } },
};

async function readBody(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_BODY)
      throw new RequestError(413, `request too long: expected at most ${MAX_BODY} bytes`);
    chunks.push(chunk);
  }
  const content = Buffer.concat(chunks).toString("utf8");
  if (content.trim() === "") return {};
  try {
    const value: unknown = JSON.parse(content);
    if (typeof value === "object" && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new RequestError(422, "the body is no JSON object");
}
