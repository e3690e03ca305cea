/** Values and foreign texts in messages: as they were given, short, and without characters that a terminal obeys. */

/** Characters of a value that a message shows. */
const SHOWN = 80;

/** Whether a terminal obeys a character instead of showing it: controls, and marks that turn or break lines of text. */
function isControl(code: number): boolean {
  if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return true;
  const isMark = (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
  return isMark || [0x61c, 0x200e, 0x200f, 0xfeff].includes(code);
}

/** The first characters of a text. */
export function cut(text: string, length = SHOWN): string {
  return text.length > length ? `${text.slice(0, length)}...` : text;
}

/** A text with its control characters written out, as `\u001b`.
 *  @param kept characters that stay, line ends for example */
export function printable(text: string, kept = ""): string {
  let result = "";
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    const stays = !isControl(code) || kept.includes(text[i]);
    result += stays ? text[i] : `\\u${code.toString(16).padStart(4, "0")}`;
  }
  return result;
}

/** Numbers that JSON has no word for keep their names. */
function named(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
}

/** A value as short JSON; what JSON cannot say, by its name: `NaN`, `Infinity`, `undefined`. */
export function shown(value: unknown, length = SHOWN): string {
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  if (value === undefined) return "nothing";
  if (typeof value === "string") return printable(JSON.stringify(cut(value, length)));
  // a long list need not be written out to be cut
  const short = Array.isArray(value) && value.length > length ? value.slice(0, length) : value;
  const text = JSON.stringify(short, named);
  return printable(cut(text ?? String(value), length));
}
