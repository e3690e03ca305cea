/**
 * Text of messages must not become special tokens: a player that spells `<|im_end|>` would end its own turn. The special tokens
 * that messages spell are marked before the template is rendered, so that they can be told from the template's own.
 */

/** Private-use characters; the first that occurs nowhere marks. */
const FIRST_MARK = 0xe000;
const LAST_MARK = 0xf8ff;

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** A pattern of any of the texts, the longest where several begin; never matches when there are none. */
function anyOf(texts: readonly string[], flags: string, before = ""): RegExp {
  const longestFirst = [...texts].sort((a, b) => b.length - a.length);
  const body = longestFirst.length === 0 ? "(?!)" : longestFirst.map(escaped).join("|");
  return new RegExp(`${before}(${body})`, flags);
}

/** A copy of a value with every text in it changed. */
function mapTexts<T>(value: T, change: (text: string) => string): T {
  if (typeof value === "string") return change(value) as T;
  if (Array.isArray(value)) return value.map((item) => mapTexts(item, change)) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapTexts(item, change)])) as T;
}

/** A character that does not occur in the text. */
export function freeMark(text: string): string {
  for (let code = FIRST_MARK; code <= LAST_MARK; code++) {
    const mark = String.fromCharCode(code);
    if (!text.includes(mark)) return mark;
  }
  return "\ufdd0";
}

/** The value with a mark before each special token that its texts spell, in any case. */
export function markSpecials<T>(value: T, specials: readonly string[], mark: string): T {
  const pattern = anyOf(specials, "gi");
  return mapTexts(value, (text) => text.replace(pattern, (token) => mark + token));
}

/** A piece of a rendered text: one special token of the template, or text. */
export interface Piece {
  readonly text: string;
  readonly isToken: boolean;
}

/** Splits a rendered text at its unmarked special tokens, and removes the marks. */
export function splitAtTokens(text: string, specials: readonly string[], mark: string): Piece[] {
  // a template may have written the mark as JSON does
  const plain = (part: string) =>
    part.replaceAll(mark, "").replaceAll(`\\u${mark.charCodeAt(0).toString(16)}`, "");
  return text
    .split(anyOf(specials, "", `(?<!${mark})`))
    .map((part, index) => ({ text: plain(part), isToken: index % 2 === 1 }));
}
