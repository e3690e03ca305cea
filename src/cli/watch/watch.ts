/** `uncouple watch`: a page on this machine that shows runs, while they train and afterwards. */
import { once } from "node:events";
import { WatchServer } from "../../watch/server.js";
import { wholeNumber } from "../kit/numbers.js";
import { plainCommand, type Register } from "../kit/options.js";
import { readToken } from "../kit/token_file.js";
import { openBrowser } from "./open_browser.js";

const PORT = 7860;

export const register: Register = (program, { env, terminal }) => {
  plainCommand(program, "watch", "show runs on a local page: curves, groups, episodes, coupling")
    .argument(
      "[runs]",
      "folder of run folders, or one run folder (default: the variable UNCOUPLE_RUNS_DIR, else runs)",
    )
    .option("--host <name>", "address to serve on; others than this machine's own need a token", "127.0.0.1")
    .option("--port <number>", "port to serve on; 0 = any free one", wholeNumber(0, 65535), PORT)
    .option("--token-file <file>", "file that holds a token which every request has to bring")
    .option(
      "--bench <folder>",
      "folder of saved benchmarks to show, too (default: bench/results beside the folder of runs)",
    )
    .option("--open", "open the page in the system's browser")
    .action(async (runs, { host, port, tokenFile, bench, open }) => {
      const token = tokenFile === undefined ? undefined : await readToken(tokenFile, "watch");
      const folder = runs ?? (env.UNCOUPLE_RUNS_DIR || "runs");
      const server = await WatchServer.start({
        ...{ runs: folder, host, port, token, benchmarks: bench },
        onFault: (message) => terminal.warn(message),
      });
      terminal.print(server.url);
      await terminal.flush();
      const onFailure = (reason: string) => terminal.warn(`no browser was opened: ${reason}`);
      if (open) openBrowser(server.url, { env, onFailure });
      await Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")]);
      await server.close();
    });
};
