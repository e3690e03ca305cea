/** Opens ScienceWorld: the user's jar, run in Java processes. */
import { availableParallelism, freemem } from "node:os";
import { ConfigError } from "../../core/errors.js";
import { ScienceWorld, type ScienceWorldOptions } from "../../env/scienceworld/world.js";
import { JavaSimulator } from "./java_simulator.js";
import { findScienceWorldJar, javaVersion } from "./scienceworld_jar.js";

/** Bytes of one Java process after many games. */
const PROCESS_BYTES = 512 << 20;

/** Seconds that a start, a step or a search for a winning sequence may take by default: the slowest search takes some 10 s. */
const TIME_LIMIT = 120;

export interface ScienceWorldChoice extends Omit<ScienceWorldOptions, "start" | "maxEnvironments"> {
  /** The jar; default: that of an installed Python package. */
  readonly jar?: string;
  /** Seconds that a call may take until its process is given up. Default: 120. */
  readonly timeLimit?: number;
  /** Most Java processes for episodes. Default: what half of the free memory holds, at most one for each core. */
  readonly maxEnvironments?: number;
}

/** @throws ConfigError when the jar or Java is missing */
export async function openScienceWorld({
  jar: named,
  timeLimit,
  ...choice
}: ScienceWorldChoice): Promise<ScienceWorld> {
  const jar = await findScienceWorldJar(named);
  if ((await javaVersion()) === undefined) {
    throw new ConfigError(
      "[scienceworld] no Java: got none on PATH, expected `java`. Install a runtime, on Debian: apt install default-jre-headless.",
    );
  }
  const start = () => JavaSimulator.start({ jar, timeLimit: 1000 * (timeLimit ?? TIME_LIMIT) });
  return new ScienceWorld({
    ...choice,
    start,
    maxEnvironments: choice.maxEnvironments ?? environmentsByMemory(),
  });
}

function environmentsByMemory(): number {
  return Math.max(1, Math.min(availableParallelism(), Math.floor(freemem() / 2 / PROCESS_BYTES)));
}
