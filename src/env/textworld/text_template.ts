/**
 * The text language of game grammars: literal text, `#rule#`, `{expression}`, `{expression | query}`, `{#rule# | query}`
 * and lists `[{... | query}]`. Expressions are a small Python subset: variables and their attributes, quoted text, `+`, `or`.
 */
import { DataError } from "../../core/errors.js";
import { parseQuery, type Query } from "./query.js";

/** Attributes that a variable has in expressions. */
const ATTRIBUTES = ["name", "id", "type", "indefinite", "definite"] as const;
type Attribute = (typeof ATTRIBUTES)[number];

export type Expression =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "variable"; readonly name: string; readonly attribute: Attribute }
  | { readonly kind: "concatenation"; readonly parts: readonly Expression[] }
  | { readonly kind: "firstNonEmpty"; readonly parts: readonly Expression[] };

/** What stands between braces. */
export type Content = { readonly kind: "rule"; readonly rule: string } | Expression;

export type Piece =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "rule"; readonly rule: string }
  | { readonly kind: "value"; readonly content: Content; readonly query: Query | undefined }
  | { readonly kind: "list"; readonly content: Content; readonly query: Query | undefined };

export type Template = readonly Piece[];

/**
 * Parses a text. White space up to and including one line break at its very start is dropped, as the original does.
 * @param where how messages name the text
 * @throws DataError on a `#` without a partner, an unclosed brace, or an expression outside the subset
 */
export function parseTemplate(source: string, where: string): Template {
  const text = source.replace(/^[^\S\n]*\n?/, "");
  const pieces: Piece[] = [];
  let literal = "";
  const push = (piece: Piece): void => {
    if (literal !== "") pieces.push({ kind: "text", text: literal });
    literal = "";
    pieces.push(piece);
  };
  let at = 0;
  while (at < text.length) {
    const char = text[at];
    if (char === "#") {
      const end = text.indexOf("#", at + 1);
      if (end < 0) throw fail(where, `\`#\` without a second one in "${text}"`, "`#rule#`");
      push({ kind: "rule", rule: text.slice(at + 1, end) });
      at = end + 1;
    } else if (char === "{" || (char === "[" && text[at + 1] === "{")) {
      const list = char === "[";
      const { content, query, end } = parseBraces(text, list ? at + 1 : at, where);
      if (list && text[end] !== "]") throw fail(where, `a list without its end in "${text}"`, "`[{...}]`");
      push({ kind: list ? "list" : "value", content, query });
      at = list ? end + 1 : end;
    } else {
      literal += char;
      at++;
    }
  }
  if (literal !== "") pieces.push({ kind: "text", text: literal });
  return pieces;
}

/** Parses `{content | query}` at `start`; `end` is the offset behind the brace. */
function parseBraces(
  text: string,
  start: number,
  where: string,
): { content: Content; query: Query | undefined; end: number } {
  let quote: string | undefined;
  let bar = -1;
  for (let at = start + 1; at < text.length; at++) {
    const char = text[at];
    if (quote !== undefined) {
      if (char === quote) quote = undefined;
    } else if (char === "'" || char === '"') quote = char;
    else if (char === "|" && bar < 0) bar = at;
    else if (char === "}") {
      const inner = text.slice(start + 1, bar < 0 ? at : bar).trim();
      const rule = /^#([^#]*)#$/.exec(inner);
      const content: Content =
        rule === null ? parseExpression(inner, where) : { kind: "rule", rule: rule[1] };
      return {
        content,
        query: bar < 0 ? undefined : parseQuery(text.slice(bar + 1, at), where),
        end: at + 1,
      };
    }
  }
  throw fail(where, `an unclosed \`{\` in "${text}"`, "`{...}`");
}

/** Parses `a + 'text' or b.name`. `or` binds weaker than `+`; parentheses group. */
function parseExpression(source: string, where: string): Expression {
  const tokens = source.match(/'[^']*'|"[^"]*"|[A-Za-z_]\w*(?:\.\w+)*|[+()]|\S/g) ?? [];
  let at = 0;
  const disjunction = (): Expression => {
    const parts = [sum()];
    while (tokens[at] === "or") {
      at++;
      parts.push(sum());
    }
    return parts.length === 1 ? parts[0] : { kind: "firstNonEmpty", parts };
  };
  const sum = (): Expression => {
    const parts = [value()];
    while (tokens[at] === "+") {
      at++;
      parts.push(value());
    }
    return parts.length === 1 ? parts[0] : { kind: "concatenation", parts };
  };
  const value = (): Expression => {
    const token = tokens[at++];
    if (token === "(" && at < 100) {
      const inner = disjunction();
      if (tokens[at++] !== ")") throw fail(where, `expression "${source}"`, "`)` after `(`");
      return inner;
    }
    if (token?.startsWith("'") || token?.startsWith('"')) {
      if (token.length > 1) return { kind: "text", text: token.slice(1, -1) };
    } else if (token !== undefined && /^[A-Za-z_]/.test(token) && token !== "or") {
      const [name, attribute = "name", ...more] = token.split(".") as [string, string?, ...string[]];
      const known = ATTRIBUTES.find((candidate) => candidate === attribute);
      if (known !== undefined && more.length === 0) return { kind: "variable", name, attribute: known };
      throw fail(where, `\`${token}\` in expression "${source}"`, `an attribute of ${ATTRIBUTES.join(", ")}`);
    }
    throw fail(where, `expression "${source}"`, "variables, quoted text, `+` and `or`");
  };
  const expression = disjunction();
  if (at < tokens.length)
    throw fail(where, `\`${tokens[at]}\` in expression "${source}"`, "`+`, `or` or the end");
  return expression;
}

function fail(where: string, got: string, expected: string): DataError {
  return new DataError(`[${where}] bad text: got ${got}, expected ${expected}. Correct the grammar.`);
}
