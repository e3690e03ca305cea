/** Files of settings on disk. */
import { readFile } from "node:fs/promises";
import { ConfigError } from "../../core/errors.js";

/** Bytes of settings; the parser takes seconds for more. */
const LARGEST = 1_000_000;

/** Text of a YAML file. @throws ConfigError when it cannot be read */
export async function readConfigText(path: string): Promise<string> {
  try {
    const bytes = await readFile(path);
    if (bytes.length <= LARGEST) return bytes.toString("utf8");
    throw new ConfigError(
      `[${path}] file is too large: got ${bytes.length} bytes, expected settings of at most ${LARGEST}. Name another file.`,
    );
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(
      `[${path}] file cannot be read: got ${(error as NodeJS.ErrnoException).code}, expected a YAML file. Check the path.`,
      { cause: error },
    );
  }
}
