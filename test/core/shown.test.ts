/** What messages show of values and foreign texts. */
import { expect, test } from "vitest";
import { printable, shown } from "../../src/core/shown.js";

test.each([
  [Number.NaN, "NaN"],
  [Number.POSITIVE_INFINITY, "Infinity"],
  [undefined, "nothing"],
  [null, "null"],
  [{ a: Number.NEGATIVE_INFINITY }, '{"a":"-Infinity"}'],
  ["a\u001b[2Jb", '"a\\u001b[2Jb"'],
  ["x".repeat(1000), `"${"x".repeat(80)}..."`],
])("%j is shown as %s", (value, text) => {
  expect(shown(value)).toBe(text);
});

test("no character that a terminal obeys stays, save those that are asked for", () => {
  const all = Array.from({ length: 0x300 }, (_, code) => String.fromCharCode(code)).join("");
  const isControl = (c: string) => c < " " || (c >= "\u007f" && c < "\u00a0") || c === "\u061c";
  expect([...all].some(isControl)).toBe(true);
  expect([...printable(all)].some(isControl)).toBe(false);
  expect(printable("a\n\tb\u009b2J\u202e", "\n\t")).toBe("a\n\tb\\u009b2J\\u202e");
  expect(printable("Gr\u00fc\u00dfe \u{1f600}")).toBe("Gr\u00fc\u00dfe \u{1f600}");
});
