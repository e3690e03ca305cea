/** Sources of settings (files, environment, flags, overrides), each of which can say where a setting stands. */
import { type Document, isMap, isScalar, isSeq, LineCounter, parseDocument } from "yaml";
import { ConfigError } from "../core/errors.js";
import { cut, printable, shown } from "../core/shown.js";
import { isSection } from "./fields.js";

/** Keys and list positions from the root to a setting. */
export type Path = readonly PropertyKey[];

/** Settings from one source. Later layers win. */
export interface Layer {
  /** Nested settings; only what the source gives. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** How messages name the place of a setting, or of its key. The path is in this layer. */
  where(path: Path, part: "key" | "value"): string;
}

/** `grpo.epsilon`, `world.household.items[1]` */
export function pathText(path: Path): string {
  return path
    .map((key) => (typeof key === "number" ? `[${key}]` : `.${String(key)}`))
    .join("")
    .replace(/^\./, "");
}

/** Parsed YAML. @throws ConfigError with the position of the first mistake */
function parseYaml(
  text: string,
  place: (line: number, column: number) => string,
  lines: LineCounter,
): Document {
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    merge: true,
    logLevel: "error",
  });
  const mistake = document.errors[0] ?? document.warnings[0];
  if (mistake) {
    const { line, col } = lines.linePos(mistake.pos[0]);
    // the parser reports its own full stack as a mistake of the text
    const got = /call stack/.test(mistake.message) ? "lists or sections nested too deep" : mistake.message;
    throw new ConfigError(
      `[${place(line, col)}] text is not YAML: got "${printable(cut(got, 160))}", expected \`key: value\` lines. Mend the line.`,
    );
  }
  return document;
}

/** Most settings of a file, those that aliases stand for included. */
const MOST_NODES = 100_000;

/** The value of a document. @throws ConfigError for aliases that stand for themselves or for too much, and for endless nesting */
function plainValue(document: Document, place: string): unknown {
  try {
    const value: unknown = document.toJS({ maxAliasCount: 100 });
    checkSize(value);
    return value;
  } catch (error) {
    const { message } = error as Error;
    throw new ConfigError(
      `[${place}] settings cannot be read: got "${printable(cut(message, 120))}", expected settings without endless ` +
        "aliases or nesting. Write them out.",
      { cause: error },
    );
  }
}

/** @throws Error for a value that contains itself, is nested too deep or too large */
function checkSize(root: unknown): void {
  const open: [value: unknown, depth: number][] = [[root, 0]];
  for (let seen = 0; open.length > 0; seen++) {
    const [value, depth] = open.pop() as [unknown, number];
    if (seen > MOST_NODES) throw new Error(`more than ${MOST_NODES} settings`);
    if (depth > 50) throw new Error("an alias that stands for itself, or more than 50 levels");
    if (typeof value !== "object" || value === null) continue;
    for (const inner of Object.values(value)) open.push([inner, depth + 1]);
  }
}

/** Offset in the text at which a setting, its key, or the nearest thing around it stands. */
function offsetOf(document: Document, path: Path, part: "key" | "value"): number {
  let node: unknown = document.contents;
  let offset = document.contents?.range?.[0] ?? 0;
  for (const [depth, key] of path.entries()) {
    if (isMap(node)) {
      const pair = node.items.find(({ key: name }) => isScalar(name) && String(name.value) === String(key));
      if (!pair) return offset;
      const wantsKey = part === "key" && depth === path.length - 1;
      const shown = wantsKey || !hasText(pair.value) ? pair.key : pair.value;
      offset = rangeStart(shown) ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(key)];
      offset = rangeStart(node) ?? offset;
    } else return offset;
  }
  return offset;
}

/** Whether a value is written out: `key:` alone is null without a place of its own. */
function hasText(node: unknown): boolean {
  return node !== null && !(isScalar(node) && node.value === null && !node.source);
}

function rangeStart(node: unknown): number | undefined {
  if (typeof node !== "object" || node === null || !("range" in node)) return undefined;
  return Array.isArray(node.range) ? Number(node.range[0]) : undefined;
}

/**
 * Settings of a YAML text.
 * @param name of its file, for messages
 * @throws ConfigError when the text is not YAML, or not made of `key: value` lines
 */
export function textLayer(text: string, name: string): Layer {
  const lines = new LineCounter();
  const document = parseYaml(text, (line, column) => `${name}:${line}:${column}`, lines);
  const settings: unknown = plainValue(document, `${name}:1:1`) ?? {};
  if (!isSection(settings)) {
    throw new ConfigError(
      `[${name}:1:1] configuration is not made of settings: got ${shown(settings)}, expected \`key: value\` ` +
        "lines. `uncouple init` prints an example.",
    );
  }
  return {
    settings,
    where(path, part) {
      const { line, col } = lines.linePos(offsetOf(document, path, part));
      return `${name}:${line}:${col}`;
    },
  };
}

/** A section of a layer as a layer of its own; its messages name the places in the whole. */
export function innerLayer(layer: Layer, section: Path): Layer {
  const inner = section.reduce<unknown>(
    (node, key) => (typeof node === "object" && node !== null ? Reflect.get(node, key) : undefined),
    layer.settings,
  );
  return {
    settings: isSection(inner) ? inner : {},
    where: (path, part) => layer.where([...section, ...path], part),
  };
}

/** One setting from elsewhere. @param name what the user wrote, or the environment variable */
export function settingLayer(path: Path, value: unknown, name: string): Layer {
  const settings = [...path]
    .reverse()
    .reduce<unknown>((inner, key) => Object.fromEntries([[String(key), inner]]), value);
  return { settings: settings as Record<string, unknown>, where: () => name };
}

/** Settings that an override may be mistaken for have dots between names and an equals sign after them. */
const OVERRIDE = /^([A-Za-z_]\w*(?:\.\w+)*)=(.*)$/s;

/** Whether a command-line word reads as `a.b=c`. */
export function isOverride(text: string): boolean {
  return OVERRIDE.test(text);
}

/**
 * One `a.b=c` from the command line; c is YAML, nothing is null.
 * @throws ConfigError naming the override when it has another form or its value is not YAML
 */
export function overrideLayer(text: string): Layer {
  const match = OVERRIDE.exec(text);
  const name = `override ${JSON.stringify(text)}`;
  if (!match) {
    throw new ConfigError(
      `[${name}] override is malformed: got ${JSON.stringify(text)}, expected section.field=value. Write for example ` +
        "grpo.learning_rate=1e-5.",
    );
  }
  const [, path, value] = match;
  return settingLayer(
    path.split("."),
    plainValue(
      parseYaml(value, () => name, new LineCounter()),
      name,
    ),
    name,
  );
}
