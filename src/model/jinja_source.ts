/** What in the text of a chat template the library reads otherwise than Jinja2: refused by name. */
import { TemplateError } from "./jinja_values.js";

/** A token of the library's lexer. */
export interface TemplateToken {
  readonly type: string;
  readonly value: string;
}

/** The library reads `a < b < c` as `(a < b) < c`. @throws TemplateError when a template has such a chain */
export function refuseChains(tokens: readonly TemplateToken[]): void {
  /** For each open bracket, whether a comparison stands before in the same part of the expression. */
  const open = [false];
  for (const [i, { type, value }] of tokens.entries()) {
    const isLoop =
      value === "in" && tokens.slice(Math.max(0, i - 8), i).some((token) => token.value === "for");
    const isComparison =
      type === "ComparisonBinaryOperator" || (type === "Identifier" && value === "in" && !isLoop);
    const isBoundary =
      /^(Open|Close)(Statement|Expression)$|^(Comma|Colon|Text)$/.test(type) ||
      (type === "Identifier" && ["and", "or", "if", "else", "elif"].includes(value));
    if (isBoundary) open[open.length - 1] = false;
    else if (type.startsWith("Open")) open.push(false);
    else if (type.startsWith("Close")) open.pop();
    else if (isComparison) {
      if (open[open.length - 1]) throw new TemplateError("a chain of comparisons");
      open[open.length - 1] = true;
    }
  }
}

/** The library trims what looks like the end or the beginning of a tag wherever it stands. */
export function refuseLikenesses(source: string): void {
  const tag = /\{#[\s\S]*?#\}|\{[{%](?:"(?:[^"\\]|\\[\s\S])*"|'(?:[^'\\]|\\[\s\S])*'|[^"'])*?[%}]\}/g;
  const isLike = (text: string) => /[#%-]\}\n|^[ \t]+\{[#%-]/m.test(text);
  const strings = /"(?:[^"\\]|\\[\s\S])*"|'(?:[^'\\]|\\[\s\S])*'/g;
  const texts = source.split(tag);
  const literals = [...source.matchAll(tag)].flatMap(([text]) =>
    text[1] === "#" ? [] : (text.match(strings) ?? []),
  );
  const found = [...texts, ...literals].find(isLike);
  if (found !== undefined) throw new TemplateError("a text that looks like a part of a tag");
}
