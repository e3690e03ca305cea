/** `uncouple serve-env`: offers a world over HTTP, as OpenEnv servers do. */

import { once } from "node:events";
import { Option } from "@commander-js/extra-typings";
import { WorldServer } from "../../host/worlds/openenv_server.js";
import { wholeNumber } from "../kit/numbers.js";
import { plainCommand, type Register } from "../kit/options.js";
import { readToken } from "../kit/token_file.js";
import { openWorld, WORLDS } from "./play_world.js";

const PORT = 8000;
/** Most episodes at a time of worlds that set no limit of their own. */
const EPISODES = 16;

export const register: Register = (program, { env, terminal }) => {
  plainCommand(program, "serve-env", "Offer a text world to others over HTTP, as OpenEnv servers do.")
    .addOption(new Option("--env <name>", "world to offer (default: household)").choices(WORLDS))
    .option("--data <folder>", "folder of ALFWorld's data (default: the variable ALFWORLD_DATA)")
    .option("--split <name>", "alfworld: split to open (default: train)")
    .option("--jar <file>", "ScienceWorld's jar (default: SCIENCEWORLD_JAR, else the Python package's)")
    .option(
      "--simplifications <names>",
      "scienceworld: easy, none, or names joined by commas (default: easy)",
    )
    .option("--program <words...>", "external: program of the world and its arguments")
    .option("--seed <number>", "household: draws other games", wholeNumber(0))
    .option("--host <name>", "address to serve on; others than this machine's own need a token", "127.0.0.1")
    .option("--port <number>", "port to serve on; 0 = any free one", wholeNumber(0, 65535), PORT)
    .option("--token-file <file>", "file that holds a token which every request has to bring")
    .option(
      "--max-episodes <number>",
      "episodes at a time; the one not used for longest gives way",
      wholeNumber(1),
    )
    .action(async ({ host, port, tokenFile, maxEpisodes, ...choice }) => {
      const token = tokenFile === undefined ? undefined : await readToken(tokenFile, "serve-env");
      const folders = { data: choice.data ?? env.ALFWORLD_DATA, jar: choice.jar ?? env.SCIENCEWORLD_JAR };
      const world = await openWorld({ ...choice, ...folders });
      try {
        const episodes = maxEpisodes ?? world.maxEnvironments ?? EPISODES;
        const server = await WorldServer.start(world, { host, port, token, maxEpisodes: episodes });
        terminal.print(server.url);
        await terminal.flush();
        await Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")]);
        await server.close();
      } finally {
        await world.close?.();
      }
    });
};
