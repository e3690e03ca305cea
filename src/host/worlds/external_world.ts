/** Opens a world that is a program of the user, in any language. */
import { availableParallelism } from "node:os";
import { ConfigError } from "../../core/errors.js";
import { Pool } from "../../env/external/pool.js";
import { ExternalWorld } from "../../env/external/world.js";
import { LineProgram } from "./line_program.js";

export interface ExternalChoice {
  /** Program and arguments. It is started once for each environment. */
  readonly command: readonly string[];
  /** Seconds for each answer. */
  readonly timeLimit: number;
  /** Most processes at once; default: one for each core. */
  readonly maxEnvironments?: number;
}

/** Starts one process and asks it what its world is; the process stays for the first environment.
 *  @throws ConfigError without a command, WorldError when the program does not answer as it should */
export async function openExternalWorld({
  command,
  timeLimit,
  maxEnvironments = availableParallelism(),
}: ExternalChoice): Promise<ExternalWorld> {
  if (command.length === 0) {
    throw new ConfigError(
      "[world.command] no program: got none, expected program and arguments. Write for example [python3, world.py].",
    );
  }
  const start = () => LineProgram.start(command, 1000 * timeLimit);
  const pool = new Pool<LineProgram>(start, maxEnvironments);
  try {
    const first = await pool.acquire();
    const spec = await first.spec();
    await pool.release(first);
    return new ExternalWorld(spec, pool, maxEnvironments);
  } catch (error) {
    await pool.close();
    throw error;
  }
}
