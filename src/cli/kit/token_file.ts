/** Tokens of servers: kept in files, since command lines can be seen by others. */
import { readFile } from "node:fs/promises";
import { ConfigError } from "../../core/errors.js";

/** @param command for messages. @throws ConfigError when the file cannot be read or holds nothing */
export async function readToken(file: string, command: string): Promise<string> {
  let text: string;
  try {
    text = (await readFile(file, "utf8")).trim();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new ConfigError(
      `[${command}] --token-file cannot be read: got ${code} for \`${file}\`, expected a file. Check the path.`,
      { cause },
    );
  }
  if (text !== "") return text;
  throw new ConfigError(
    `[${command}] no token: got an empty file \`${file}\`, expected one. Write one into it.`,
  );
}
