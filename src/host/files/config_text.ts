/** Files of settings on disk. */
import { createReadStream } from "node:fs";
import { ConfigError } from "../../core/errors.js";

/** Bytes of settings; the parser takes seconds for more. */
const LARGEST = 1_000_000;

/** Text of a YAML file. @throws ConfigError when it cannot be read */
export async function readConfigText(path: string): Promise<string> {
  try {
    const chunks: Buffer[] = [];
    let length = 0;
    // as a stream: a pipe or a device may go on without end
    for await (const chunk of createReadStream(path)) {
      chunks.push(chunk);
      length += chunk.length;
      if (length <= LARGEST) continue;
      throw new ConfigError(
        `[${path}] file is too large: got more than ${LARGEST} bytes, expected settings of at most that many. Name another file.`,
      );
    }
    return Buffer.concat(chunks).toString("utf8");
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(
      `[${path}] file cannot be read: got ${(error as NodeJS.ErrnoException).code}, expected a YAML file. Check the path.`,
      { cause: error },
    );
  }
}
