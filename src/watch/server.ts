/** The server of `uncouple watch`. */
import type { AddressInfo } from "node:net";
import { createAdaptorServer, type ServerType } from "@hono/node-server";
import { Hono } from "hono";
import { ConfigError } from "../core/errors.js";
import { systemError } from "../host/files/system_errors.js";
import { isLoopback } from "../host/worlds/loopback.js";
import type { ApiError } from "./api.js";
import { BenchFolder } from "./bench_folder.js";
import { RequestError } from "./errors.js";
import { guard } from "./guard.js";
import { OpenRuns } from "./open_runs.js";
import { pageRoutes, readPage } from "./page.js";
import { apiRoutes } from "./routes.js";
import { RunTree } from "./run_tree.js";

export interface WatchOptions {
  /** Folder of run folders, or one of them. */
  readonly runs: string;
  readonly host: string;
  /** 0 = any free one. */
  readonly port: number;
  readonly token?: string;
  /** Folder of saved benchmarks; default: bench/results beside the folder of runs. */
  readonly benchmarks?: string;
  /** Folder of the bundled page; default: this package's own. */
  readonly page?: string;
  /** Told of requests that failed by a fault of ours. */
  readonly onFault?: (message: string) => void;
  /** Milliseconds since 1970; tests give another clock. */
  readonly now?: () => number;
}

/** The application without a port: what tests ask. */
export async function watchApp(options: WatchOptions): Promise<Hono> {
  const { runs: path, host, token, onFault, now = Date.now } = options;
  const tree = await RunTree.open(path);
  const benchmarks =
    options.benchmarks === undefined
      ? BenchFolder.beside(tree.root)
      : await BenchFolder.open(options.benchmarks);
  const runs = new OpenRuns(tree, now);
  const page = await readPage(options.page);
  const app = new Hono();
  app.use(guard({ host, token }));
  app.route("/api", apiRoutes(runs, benchmarks));
  app.route("/", pageRoutes(page));
  app.notFound((context) =>
    context.json<ApiError>({ error: "[watch] no such place. Go back to the list of runs." }, 404),
  );
  app.onError((error, context) => {
    if (error instanceof RequestError) return context.json<ApiError>({ error: error.message }, error.status);
    const system = systemError(error);
    onFault?.(system?.message ?? error.stack ?? error.message);
    return context.json<ApiError>(
      { error: system?.message ?? "[watch] the server failed; its console says why" },
      500,
    );
  });
  return app;
}

/** A running server. */
export class WatchServer {
  private constructor(
    private readonly server: ServerType,
    private readonly token: string | undefined,
  ) {}

  /**
   * @throws ConfigError when others than this machine could come in without a token, the folder cannot be read, or the port is taken
   */
  static async start(options: WatchOptions): Promise<WatchServer> {
    const { host, port, token } = options;
    if (!isLoopback(host) && !token) {
      throw new ConfigError(
        `[watch] no token: got none for ${host}, expected one where other machines can connect. Give --token-file, or serve on ` +
          "127.0.0.1.",
      );
    }
    const app = await watchApp(options);
    const server = createAdaptorServer({ fetch: app.fetch });
    await new Promise<void>((resolve, reject) => {
      server.once("error", (cause: NodeJS.ErrnoException) =>
        reject(
          new ConfigError(
            `[watch] cannot listen: got ${cause.code} at ${host}:${port}, expected a free port. Choose another --port; 0 takes any.`,
            { cause },
          ),
        ),
      );
      server.listen(port, host, resolve);
    });
    return new WatchServer(server, token);
  }

  /** Where to look, with the token where one is needed. */
  get url(): string {
    const { address, port, family } = this.server.address() as AddressInfo;
    const base = `http://${family === "IPv6" ? `[${address}]` : address}:${port}/`;
    return this.token === undefined ? base : `${base}?token=${encodeURIComponent(this.token)}`;
  }

  async close(): Promise<void> {
    if ("closeAllConnections" in this.server) this.server.closeAllConnections();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}
