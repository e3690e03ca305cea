/**
 * Values of chat templates as Jinja2 (Python) prints, compares and filters them, where the library's own rules are
 * JavaScript's. Whatever is not listed here is left to the library.
 */
import { Environment } from "@huggingface/jinja";

/** Names and what they stand for; the library's class, whose own types do not resolve. */
export interface Scope {
  readonly variables: Map<string, JinjaValue>;
  lookupVariable(name: string): JinjaValue;
  /** Declares a name. @returns its value as the library's */
  set(name: string, value: unknown): JinjaValue;
}

export function newScope(parent?: Scope): Scope {
  return new Environment(parent as never) as unknown as Scope;
}

/** A value of the library at run time. */
export interface JinjaValue {
  readonly type: string;
  readonly value: unknown;
  toString(): string;
  __bool__(): { readonly value: boolean };
}

/** Arguments of a call: in order, and by name. */
export interface Arguments {
  readonly list: readonly JinjaValue[];
  readonly named: ReadonlyMap<string, JinjaValue>;
}

/** What a template does that Jinja2 refuses, or that is not rendered as Jinja2 renders it. */
export class TemplateError extends Error {
  override name = "TemplateError";
}

/** A value of the library from one of JavaScript. Whole numbers become integers. */
export function toValue(value: unknown): JinjaValue {
  return newScope().set("value", value);
}

export const isText = (value: JinjaValue): value is JinjaValue & { readonly value: string } =>
  value.type === "StringValue";
export const isList = (value: JinjaValue): value is JinjaValue & { readonly value: readonly JinjaValue[] } =>
  value.type === "ArrayValue" || value.type === "TupleValue";
export const isMapping = (
  value: JinjaValue,
): value is JinjaValue & { readonly value: ReadonlyMap<string, JinjaValue> } => value.type === "ObjectValue";
export const isUndefined = (value: JinjaValue) => value.type === "UndefinedValue";
const isNumber = (value: JinjaValue): value is JinjaValue & { readonly value: number } =>
  value.type === "IntegerValue" || value.type === "FloatValue";
/** Python counts True and False among the numbers. */
const isNumeric = (value: JinjaValue) => isNumber(value) || value.type === "BooleanValue";

/** A text as Python's repr writes it. */
function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escapes: Readonly<Record<string, string>> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };
  let body = "";
  for (const character of text) {
    const code = character.codePointAt(0) as number;
    if (character === quote) body += `\\${quote}`;
    else if (escapes[character] !== undefined) body += escapes[character];
    else if (code < 0x20 || (code >= 0x7f && code < 0xa0)) body += `\\x${code.toString(16).padStart(2, "0")}`;
    else body += character;
  }
  return `${quote}${body}${quote}`;
}

function represented(value: JinjaValue): string {
  if (isText(value)) return quoted(value.value);
  if (isUndefined(value)) return "Undefined";
  return textOf(value);
}

/** A value as Python's str writes it: what `{{ value }}` prints. */
export function textOf(value: JinjaValue): string {
  if (isText(value)) return value.value;
  if (isUndefined(value)) return "";
  if (value.type === "NullValue") return "None";
  if (value.type === "BooleanValue") return value.value === true ? "True" : "False";
  if (isNumber(value)) return numberText(value);
  if (isList(value)) {
    const items = value.value.map(represented).join(", ");
    if (value.type === "ArrayValue") return `[${items}]`;
    return value.value.length === 1 ? `(${items},)` : `(${items})`;
  }
  if (isMapping(value)) {
    return `{${[...value.value].map(([key, item]) => `${quoted(key)}: ${represented(item)}`).join(", ")}}`;
  }
  throw new TemplateError(`a ${value.type} is printed`);
}

function numberText(value: JinjaValue & { readonly value: number }): string {
  const size = Math.abs(value.value);
  // from here on Python and JavaScript write exponents, or round, differently
  if (!Number.isFinite(size) || size >= 1e16 || (size > 0 && size < 1e-4)) {
    throw new TemplateError(`the number ${value.value} is printed`);
  }
  return value.toString();
}

/** Python's `==`. */
export function equal(left: JinjaValue, right: JinjaValue): boolean {
  if (isNumeric(left) && isNumeric(right)) return Number(left.value) === Number(right.value);
  if (isList(left) && isList(right)) {
    const others = right.value;
    if (left.type !== right.type || left.value.length !== others.length) return false;
    return left.value.every((item, i) => equal(item, others[i]));
  }
  if (isMapping(left) && isMapping(right)) {
    const others = right.value;
    if (left.value.size !== others.size) return false;
    return [...left.value].every(([key, item]) => {
      const other = others.get(key);
      return other !== undefined && equal(item, other);
    });
  }
  return left.type === right.type && left.value === right.value;
}

/** Python's `in`. */
export function contains(whole: JinjaValue, part: JinjaValue): boolean {
  if (isUndefined(whole)) return false;
  if (isList(whole)) return whole.value.some((item) => equal(item, part));
  if (isMapping(whole)) return isText(part) && whole.value.has(part.value);
  if (isText(whole) && isText(part)) return whole.value.includes(part.value);
  throw new TemplateError(`\`in\` between ${part.type} and ${whole.type}`);
}

/** Options of transformers' `tojson`. */
interface JsonOptions {
  readonly indent: number | undefined;
  readonly separators: readonly [item: string, key: string];
  readonly sortKeys: boolean;
  readonly ascii: boolean;
}

function jsonOptions({ list, named }: Arguments): JsonOptions {
  const argument = (name: string, index: number) => list[index] ?? named.get(name);
  const indent = argument("indent", 1);
  const separators = argument("separators", 2);
  const spaces = indent && isNumber(indent) ? indent.value : undefined;
  const given = separators && isList(separators) ? separators.value.map(textOf) : undefined;
  return {
    indent: spaces,
    separators: [given?.[0] ?? (spaces === undefined ? ", " : ","), given?.[1] ?? ": "],
    sortKeys: argument("sort_keys", 3)?.__bool__().value ?? false,
    ascii: argument("ensure_ascii", 0)?.__bool__().value ?? false,
  };
}

function jsonText(text: string, ascii: boolean): string {
  const json = JSON.stringify(text);
  if (!ascii) return json;
  return Array.from({ length: json.length }, (_, i) => {
    const code = json.charCodeAt(i);
    return code < 0x7f ? json[i] : `\\u${code.toString(16).padStart(4, "0")}`;
  }).join("");
}

function json(value: JinjaValue, options: JsonOptions, depth: number): string {
  if (isText(value)) return jsonText(value.value, options.ascii);
  if (isUndefined(value)) throw new TemplateError("tojson of an undefined value");
  if (value.type === "NullValue") return "null";
  if (value.type === "BooleanValue") return String(value.value);
  if (isNumber(value)) return numberText(value);
  const { indent, separators, sortKeys } = options;
  const inner = (item: JinjaValue) => json(item, options, depth + 1);
  const wrapped = (open: string, items: readonly string[], close: string) => {
    if (items.length === 0 || indent === undefined) return `${open}${items.join(separators[0])}${close}`;
    const line = (level: number) => `\n${" ".repeat(indent * level)}`;
    return `${open}${line(depth + 1)}${items.join(separators[0] + line(depth + 1))}${line(depth)}${close}`;
  };
  if (isList(value)) return wrapped("[", value.value.map(inner), "]");
  if (!isMapping(value)) throw new TemplateError(`tojson of a ${value.type}`);
  const entries = [...value.value];
  if (sortKeys) entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  const items = entries.map(([key, item]) => `${jsonText(key, options.ascii)}${separators[1]}${inner(item)}`);
  return wrapped("{", items, "}");
}

/** Python's `strip` and its relatives: white space, or any of the characters given. */
function stripped(
  text: string,
  characters: JinjaValue | undefined,
  sides: "both" | "left" | "right",
): string {
  const isCut = (character: string) =>
    characters === undefined || characters.type === "NullValue"
      ? /\s/.test(character) && character !== "\ufeff"
      : textOf(characters).includes(character);
  const all = Array.from(text);
  let [first, end] = [0, all.length];
  if (sides !== "right") while (first < end && isCut(all[first])) first++;
  if (sides !== "left") while (end > first && isCut(all[end - 1])) end--;
  return all.slice(first, end).join("");
}

function capitalised(text: string): string {
  const [first = "", ...rest] = Array.from(text);
  return first.toUpperCase() + rest.join("").toLowerCase();
}

/** Methods of texts that the library has not, or has otherwise. */
export const TEXT_METHODS: Readonly<Record<string, (text: string, given: Arguments) => JinjaValue>> = {
  strip: (text, { list }) => toValue(stripped(text, list[0], "both")),
  lstrip: (text, { list }) => toValue(stripped(text, list[0], "left")),
  rstrip: (text, { list }) => toValue(stripped(text, list[0], "right")),
  capitalize: (text) => toValue(capitalised(text)),
  title: () => {
    throw new TemplateError("the method title()");
  },
};

function whole(value: JinjaValue, fallback: JinjaValue): JinjaValue {
  if (isNumeric(value)) return toValue(Math.trunc(Number(value.value)) + 0);
  if (!isText(value)) return fallback;
  const text = value.value.trim();
  if (!/^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i.test(text)) return fallback;
  return toValue(Math.trunc(Number(text)) + 0);
}

/** Filters that the library has not, or has otherwise. */
export const FILTERS: Readonly<Record<string, (value: JinjaValue, given: Arguments) => JinjaValue>> = {
  length: (value) => {
    if (isText(value)) return toValue(Array.from(value.value).length);
    if (isUndefined(value)) return toValue(0);
    if (isList(value)) return toValue(value.value.length);
    if (isMapping(value)) return toValue(value.value.size);
    throw new TemplateError(`length of a ${value.type}`);
  },
  count: (value, given) => FILTERS.length(value, given),
  string: (value) => toValue(textOf(value)),
  tojson: (value, given) => toValue(json(value, jsonOptions(given), 0)),
  capitalize: (value) => toValue(capitalised(textOf(value))),
  trim: (value, { list }) => toValue(stripped(textOf(value), list[0], "both")),
  int: (value, { list, named }) => whole(value, list[0] ?? named.get("default") ?? toValue(0)),
  join: (value, { list, named }) => {
    if (named.has("attribute") || list.length > 1) throw new TemplateError("join by an attribute");
    const items = isText(value) ? Array.from(value.value, toValue) : isList(value) ? value.value : undefined;
    if (items === undefined) throw new TemplateError(`join of a ${value.type}`);
    const separator = list[0] ?? named.get("d");
    return toValue(items.map(textOf).join(separator === undefined ? "" : textOf(separator)));
  },
  first: (value) => end(value, 0),
  last: (value) => end(value, -1),
  title: (value) => {
    const parts = textOf(value).split(/([-\s({[<]+)/);
    return toValue(parts.map(capitalised).join(""));
  },
};

function end(value: JinjaValue, at: number): JinjaValue {
  if (!isList(value)) throw new TemplateError(`first or last of a ${value.type}`);
  return value.value.at(at) ?? toValue(undefined);
}

/** Filters that the library renders otherwise than Jinja2. */
export const REFUSED_FILTERS: ReadonlySet<string> = new Set(["unique", "float", "bool", "list", "dictsort"]);

/** Whether a text has letters with case, all of this one. */
function hasCase(value: JinjaValue, one: (text: string) => string, other: (text: string) => string): boolean {
  const text = textOf(value);
  return one(text) === text && other(text) !== text;
}

/** Tests that the library has otherwise. */
export const TESTS: Readonly<Record<string, (value: JinjaValue) => boolean>> = {
  iterable: (value) => isText(value) || isList(value) || isMapping(value) || isUndefined(value),
  sequence: (value) => isText(value) || isList(value) || isMapping(value) || isUndefined(value),
  number: isNumeric,
  lower: (value) =>
    hasCase(
      value,
      (text) => text.toLowerCase(),
      (text) => text.toUpperCase(),
    ),
  upper: (value) =>
    hasCase(
      value,
      (text) => text.toUpperCase(),
      (text) => text.toLowerCase(),
    ),
};
