/** JSON files with errors that name the file. */
import { readFile } from "node:fs/promises";
import { DataError } from "../../core/errors.js";
import { pathExists } from "./files.js";

/** The parsed text of a JSON file. @throws DataError when it is missing or not JSON */
export async function readJsonFile(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw new DataError(
      `[${path}] file cannot be read: got ${(error as NodeJS.ErrnoException).code}, expected a JSON file. Check the ` +
        "path and its permissions.",
      { cause: error },
    );
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new DataError(
      `[${path}] file is not JSON: got "${(error as Error).message}", expected JSON. Download or write the file again.`,
      { cause: error },
    );
  }
}

/** The same, or undefined when no file is there. */
export async function readOptionalJsonFile(path: string): Promise<unknown> {
  return (await pathExists(path)) ? readJsonFile(path) : undefined;
}

/** Text of a JSON file as people read it: two spaces, a newline at the end. */
export function jsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
