/** Reads the JSON shell of a `game.tw-pddl` file. */
import { DataError } from "../../core/errors.js";
import { SourceText } from "../pddl/s_expression.js";

/** The parts of a game file as they stand in it. */
export interface GameFile {
  readonly domain: string | undefined;
  readonly grammar: string;
  readonly problem: string;
  /** null = never checked. */
  readonly solvable: boolean | null;
  /** A winning command sequence, where the file has one. */
  readonly walkthrough: readonly string[] | null;
}

/**
 * @param source text, or its UTF-8 bytes
 * @param file how messages name it
 * @throws DataError on bad UTF-8, bad JSON (with its place), or a missing or ill-typed key
 */
export function readGameFile(source: string | Uint8Array, file: string): GameFile {
  const text = typeof source === "string" ? source : decode(source, file);
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    const message = (error as Error).message;
    const offset = Number(/position (\d+)/.exec(message)?.[1] ?? text.length);
    throw new SourceText(text, file).error(
      offset,
      `not JSON at offset ${offset}: ${message}. The file may be cut short; get it again.`,
    );
  }
  if (typeof content !== "object" || content === null || Array.isArray(content)) {
    throw new DataError(`[${file}] not a game: expected a JSON object. Use a game.tw-pddl file.`);
  }
  const game = content as Record<string, unknown>;
  const optional = (key: string, expected: string, fits: (value: unknown) => boolean): unknown => {
    const value = game[key] ?? null;
    if (value === null || fits(value)) return value;
    throw new DataError(
      `[${file}] key "${key}": got ${shown(value)}, expected ${expected}. Use another file or correct it.`,
    );
  };
  const required = (key: string): string => {
    const value = optional(key, "text", (candidate) => typeof candidate === "string");
    if (value !== null) return value as string;
    const keys = Object.keys(game).slice(0, 8).join(", ") || "none";
    throw new DataError(`[${file}] key "${key}" is missing: got ${keys}. Use a game.tw-pddl file.`);
  };
  return {
    domain:
      (optional("pddl_domain", "text", (value) => typeof value === "string") as string | null) ?? undefined,
    grammar: required("grammar"),
    problem: required("pddl_problem"),
    solvable: optional("solvable", "true, false or null", (value) => typeof value === "boolean") as
      | boolean
      | null,
    walkthrough: optional("walkthrough", "a list of commands or null", isTextList) as
      | readonly string[]
      | null,
  };
}

function isTextList(value: unknown): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? String(value)).slice(0, 40);
}

function decode(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new DataError(`[${file}] not UTF-8 text: expected a JSON text file. Get the file again.`, {
      cause,
    });
  }
}
