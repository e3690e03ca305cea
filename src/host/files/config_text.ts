/** Files of settings on disk. */
import { readFile } from "node:fs/promises";
import { ConfigError } from "../../core/errors.js";

/** Text of a YAML file. @throws ConfigError when it cannot be read */
export async function readConfigText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new ConfigError(
      `[${path}] file cannot be read: got ${(error as NodeJS.ErrnoException).code}, expected a YAML file. Check the path.`,
      { cause: error },
    );
  }
}
