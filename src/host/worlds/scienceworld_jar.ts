/** Finds what ScienceWorld needs: its jar and a Java runtime. Both are the user's; nothing is downloaded. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { ConfigError } from "../../core/errors.js";
import { hasCode } from "../files/error_codes.js";
import { pathExists } from "../files/files.js";

const JAR = "scienceworld.jar";
const CURE =
  "Install the Python package scienceworld, which holds the jar, or name a jar by world.jar or the variable SCIENCEWORLD_JAR.";

/** Prints the folder of the package, without running the package's code. */
const FIND_PACKAGE =
  "import importlib.util as u; s = u.find_spec('scienceworld'); print(s.submodule_search_locations[0] if s else '')";

/**
 * The simulator's jar: the one that is named, else the one in an installed Python package.
 * @throws ConfigError when there is none
 */
export async function findScienceWorldJar(named: string | undefined): Promise<string> {
  if (named !== undefined) {
    if (await pathExists(named)) return named;
    throw new ConfigError(`[scienceworld] no such jar: got \`${named}\`, expected a file. Check the path.`);
  }
  const found = await packagedJar();
  if (found !== undefined) return found;
  throw new ConfigError(`[scienceworld] no jar: got none, expected ${JAR}. ${CURE}`);
}

/** The jar of the package that the user's Python would import. */
async function packagedJar(): Promise<string | undefined> {
  for (const python of ["python3", "python"]) {
    const folder = (await output(python, ["-c", FIND_PACKAGE]))?.trim();
    if (!folder) continue;
    const jar = join(folder, JAR);
    if (await pathExists(jar)) return jar;
  }
  return undefined;
}

/** What the Java on PATH calls itself, such as `openjdk version "17.0.15" 2025-04-15`; undefined when there is none. */
export async function javaVersion(): Promise<string | undefined> {
  return (await output("java", ["-version"]))?.split("\n", 1)[0];
}

/** Both outputs of a program; undefined when it is not there or fails. */
async function output(program: string, args: readonly string[]): Promise<string | undefined> {
  try {
    const { stdout, stderr } = await promisify(execFile)(program, args, { timeout: 20_000 });
    return stdout === "" ? stderr : stdout;
  } catch (error) {
    // A program that fails has said so by its exit code: a number.
    if (hasCode(error, "ENOENT") || typeof (error as { code?: unknown }).code === "number") return undefined;
    throw error;
  }
}
