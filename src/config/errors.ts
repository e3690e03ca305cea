/** Turns what the schema finds wrong into messages that name place, setting and cure. */
import { distance } from "fastest-levenshtein";
import type { z } from "zod";
import { cut, printable, shown } from "../core/shown.js";
import { isSection } from "./fields.js";
import { type Layer, type Path, pathText } from "./layers.js";
import { trainConfigJsonSchema } from "./schema.js";

type JsonSchema = z.core.JSONSchema.BaseSchema;
type Issue = z.core.$ZodIssue;

/** Made once: it takes a hundredth of a second, and every message asks for it. */
let known: JsonSchema | undefined;
function rootSchema(): JsonSchema {
  known ??= trainConfigJsonSchema();
  return known;
}

/** The schema of a section or field; undefined for a path that there is none of. */
function schemaAt(path: Path): JsonSchema | undefined {
  let node: unknown = rootSchema();
  for (const key of path) {
    if (!isSection(node) || !isSection(node.properties)) return undefined;
    node = node.properties[String(key)];
  }
  return isSection(node) ? node : undefined;
}

function fieldsOf(schema: JsonSchema | undefined): string[] {
  return Object.keys(schema?.properties ?? {});
}

/** Full names of all fields, at any depth. */
function allFields(schema: JsonSchema, prefix: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, inner]) => {
    if (typeof inner === "boolean") return [];
    const path = prefix ? `${prefix}.${name}` : name;
    return inner.properties ? [path, ...allFields(inner, path)] : [path];
  });
}

/** Edits up to which one name may be a misspelling of another. */
function isNear(name: string, field: string): boolean {
  return distance(field, name) <= Math.max(2, Math.floor(field.length / 3));
}

/** The names most like `name`: a field of the same section, else the most similar ones anywhere. */
function nearest(section: Path, name: string): string[] {
  const inSection = fieldsOf(schemaAt(section))
    .filter((field) => isNear(name, field))
    .sort((a, b) => distance(a, name) - distance(b, name))
    .slice(0, 1);
  if (inSection.length > 0) return inSection.map((field) => pathText([...section, field]));
  const lastName = (path: string) => path.split(".").at(-1) ?? path;
  const anywhere = allFields(rootSchema(), "").filter((path) => isNear(name, lastName(path)));
  const edits = Math.min(...anywhere.map((path) => distance(lastName(path), name)));
  return anywhere.filter((path) => distance(lastName(path), name) === edits);
}

function has(settings: unknown, path: Path): boolean {
  let node: unknown = settings;
  for (const key of path) {
    if (typeof node !== "object" || node === null || !Object.hasOwn(node, key)) return false;
    node = Reflect.get(node, key);
  }
  return true;
}

/** Where the setting came from: the last layer that gives it. Rules may fail over a setting that nobody gave. */
function whereIs(layers: readonly Layer[], path: Path, part: "key" | "value"): string {
  return layers.findLast(({ settings }) => has(settings, path))?.where(path, part) ?? "configuration";
}

function unknownKey(layers: readonly Layer[], section: Path, key: string): string {
  const path = [...section, key];
  const guesses = key.length < 100 ? nearest(section, key) : [];
  const cure =
    guesses.length > 0
      ? `Did you mean ${guesses.join(" or ")}?`
      : "`uncouple init` prints all settings with what they mean.";
  return (
    `[${whereIs(layers, path, "key")}] unknown setting ${printable(cut(pathText(path)))}: got ${shown(key)}, expected ` +
    `${fieldsOf(schemaAt(section)).join(", ")}. ${cure}`
  );
}

function allowsNull(schema: JsonSchema | undefined): boolean {
  if (!schema) return false;
  const { type, anyOf } = schema;
  return (
    (Array.isArray(type) && type.includes("null")) ||
    (anyOf ?? []).some((option) => typeof option === "object" && option.type === "null")
  );
}

function wrongValue(layers: readonly Layer[], issue: Issue): string {
  const { path, message, input } = issue;
  const orNull = issue.code !== "custom" && allowsNull(schemaAt(path)) ? ", or null" : "";
  return (
    `[${whereIs(layers, path, "value")}] wrong value of ${pathText(path)}: got ${shown(input)}, expected ` +
    `${message}${orNull}. Change it.`
  );
}

/** Unknown settings of a section that are listed: a file of another program has many, and is not to be read out. */
const MOST_SHOWN = 10;

function unknownKeys(layers: readonly Layer[], section: Path, keys: readonly string[]): string[] {
  const lines = keys.slice(0, MOST_SHOWN).map((key) => unknownKey(layers, section, key));
  const more = keys.length - lines.length;
  if (more === 0) return lines;
  const place = whereIs(layers, [...section, keys[MOST_SHOWN]], "key");
  return [
    ...lines,
    `[${place}] more unknown settings: got ${more} that are not listed, expected none. Is it a file of settings?`,
  ];
}

/** One line for each thing that is wrong. @param issues with their inputs (`reportInput`) */
export function describeIssues(issues: readonly Issue[], layers: readonly Layer[]): string[] {
  return issues.flatMap((issue) =>
    issue.code === "unrecognized_keys"
      ? unknownKeys(layers, issue.path, issue.keys)
      : [wrongValue(layers, issue)],
  );
}
