/** The configuration as a file to start from: every setting with its default and what it means. */
import { stringify } from "yaml";
import type { z } from "zod";
import { trainConfigJsonSchema } from "./schema.js";

type JsonSchema = z.core.JSONSchema.BaseSchema;

const WIDTH = 110;

/** A description as comment lines. */
function comment(text: string, indent: string): string[] {
  const lines: string[] = [];
  let line = `${indent}#`;
  for (const word of text.split(" ")) {
    if (line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = `${indent}#`;
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}

/** The words that a field takes, when they are few. */
function wordsOf(schema: JsonSchema): string | undefined {
  return schema.enum && schema.enum.length > 1 ? schema.enum.join(" | ") : undefined;
}

function fieldLines(name: string, schema: JsonSchema, indent: string): string[] {
  const words = wordsOf(schema);
  const parts = [schema.description, words && `(${words})`].filter((part) => part !== undefined);
  const value = stringify(schema.default, { flowCollectionPadding: false, collectionStyle: "flow" }).trim();
  return [...(parts.length > 0 ? comment(parts.join(" "), indent) : []), `${indent}${name}: ${value}`];
}

function sectionLines(schema: JsonSchema, indent: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, inner]) => {
    if (typeof inner === "boolean") return [];
    if (!inner.properties) return fieldLines(name, inner, indent);
    const heading = inner.description ? comment(inner.description, indent) : [];
    const space = indent === "" ? [""] : [];
    return [...space, ...heading, `${indent}${name}:`, ...sectionLines(inner, `${indent}  `)];
  });
}

/** YAML with all defaults; giving it to `uncouple train` changes nothing. */
export function configTemplate(): string {
  const heading = "# Settings of `uncouple train`. Every line may be left out; these are the defaults.";
  return [heading, "", ...sectionLines(trainConfigJsonSchema(), "")].join("\n");
}
