/** Text and JSON files with errors that name the file and what it holds. */
import { readFile } from "node:fs/promises";
import { DataError } from "../../core/errors.js";
import { cut, printable } from "../../core/shown.js";
import { isTooDeep } from "../../model/json_keys.js";
import { kindOf } from "./file_kind.js";
import { pathExists } from "./files.js";

/** @throws DataError when a file cannot be read, or is no text in UTF-8 */
export async function readTextFile(path: string, expected = "a text file"): Promise<string> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw new DataError(
      `[${path}] file cannot be read: got ${(error as NodeJS.ErrnoException).code}, expected ${expected}. Check the ` +
        "path and its permissions.",
      { cause: error },
    );
  }
  const kind = bytes.length === 0 ? undefined : kindOf(bytes);
  if (kind !== undefined) {
    throw new DataError(
      `[${path}] file is something else: got ${kind.what}, expected ${expected}. ${kind.cure}`,
    );
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new DataError(
      `[${path}] file is not UTF-8: got bytes that are no text, expected ${expected}. Save it as UTF-8, or download it again.`,
      { cause: error },
    );
  }
}

/** The value of a JSON text. @throws DataError naming the file and what is wrong */
export function parseJson(text: string, path: string): unknown {
  if (isTooDeep(text)) {
    throw new DataError(
      `[${path}] file is nested too deep: got more than 200 lists and objects inside each other, expected fewer. ` +
        "Download or write the file again.",
    );
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    const got = text.trim() === "" ? "an empty file" : printable(cut((error as Error).message, 160));
    throw new DataError(
      `[${path}] file is not JSON: got "${got}", expected JSON. Download or write the file again.`,
      { cause: error },
    );
  }
}

/** The parsed text of a JSON file. @throws DataError when it is missing or not JSON */
export async function readJsonFile(path: string): Promise<unknown> {
  return parseJson(await readTextFile(path, "a JSON file"), path);
}

/** The same, or undefined when no file is there. */
export async function readOptionalJsonFile(path: string): Promise<unknown> {
  return (await pathExists(path)) ? readJsonFile(path) : undefined;
}

/** Text of a JSON file as people read it: two spaces, a newline at the end. */
export function jsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
