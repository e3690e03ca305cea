/** docs/configuration.md is the schema of configurations, drawn as tables (vitest -u draws it again). */
import { expect, test } from "vitest";
import type { z } from "zod";
import { trainConfigJsonSchema } from "../../src/config/schema.js";

type JsonSchema = z.core.JSONSchema.BaseSchema;

/** Bounds from here on are those that keep numbers sane, and tell a reader nothing. */
const NO_BOUND = 1_000_000;

function bounds({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: JsonSchema): string {
  const above = minimum !== undefined && minimum > -NO_BOUND ? `from ${minimum}` : undefined;
  const most = maximum !== undefined && maximum < NO_BOUND ? `to ${maximum}` : undefined;
  return [
    above,
    exclusiveMinimum !== undefined && `above ${exclusiveMinimum}`,
    most,
    exclusiveMaximum !== undefined && `below ${exclusiveMaximum}`,
  ]
    .filter((part) => part !== undefined && part !== false)
    .map((part) => ` ${part}`)
    .join("");
}

/** What a field takes, in words. */
function kind(schema: JsonSchema): string {
  if (schema.enum) return schema.enum.map((value) => `\`${value}\``).join(", ");
  const choices = schema.anyOf ?? (Array.isArray(schema.type) ? schema.type.map((type) => ({ type })) : []);
  if (choices.length > 0) return (choices as JsonSchema[]).map(kind).join(" or ");
  switch (schema.type) {
    case "null":
      return "`null`";
    case "boolean":
      return "`true`, `false`";
    case "string":
      return "text";
    case "integer":
    case "number":
      return `${schema.type}${bounds(schema)}`;
    case "array":
      return schema.prefixItems
        ? `list: ${(schema.prefixItems as JsonSchema[]).map(kind).join(", ")}`
        : `list of: ${kind(schema.items as JsonSchema)}`;
    case "object": {
      const inner = schema.additionalProperties as JsonSchema;
      const fields = Object.entries(inner.properties ?? {}) as [string, JsonSchema][];
      return `names, each with ${fields.map(([name, field]) => `\`${name}\` (${field.description})`).join(", ")}`;
    }
    default:
      throw new Error(`[configuration page] a kind without words: ${JSON.stringify(schema)}`);
  }
}

/** What may stand in a cell of a table. */
function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

/** A description as Markdown: it names tags, which are no HTML, and parts of names, which are not bold. */
function words({ description = "" }: JsonSchema): string {
  return description.replaceAll("<", "&lt;").replaceAll("__", "\\_\\_");
}

/** The fields of a section as a table, then those of the sections in it. @param path name, with dots */
function section(schema: JsonSchema, path: string): string[] {
  const all = Object.entries(schema.properties ?? {}) as [string, JsonSchema][];
  const named = (name: string) => (path === "" ? name : `${path}.${name}`);
  const rows = all
    .filter(([, field]) => !field.properties)
    .map(([name, field]) =>
      [`\`${named(name)}\``, `\`${JSON.stringify(field.default)}\``, kind(field), words(field)]
        .map(cell)
        .join(" | "),
    );
  const level = "#".repeat(path.split(".").length + 1);
  const about = words(schema);
  return [
    `${path === "" ? "## The run" : `${level} ${path}`}`,
    "",
    ...(about === "" ? [] : [`${about[0].toUpperCase()}${about.slice(1)}.`, ""]),
    "| setting | default | takes | meaning |",
    "|---|---|---|---|",
    ...rows.map((row) => `| ${row} |`),
    "",
    ...all.flatMap(([name, field]) => (field.properties ? section(field, named(name)) : [])),
  ];
}

test("docs/configuration.md shows the settings as they are (vitest -u redraws it)", async () => {
  const page = [
    "# Configuration",
    "",
    "Every setting of `uncouple train`, by section. This page is drawn from the schema by `test/structure/configuration_page.test.ts`;",
    "`uncouple init my.yaml` writes the same as a file to start from.",
    "",
    "Settings come from the files of `-c`, the later over the earlier, then from environment variables and options, then from",
    "`section.field=value` on the command line. A field that nobody gave has the value of the preset that `grpo.algo` names",
    "([table of presets](algorithms.md#presets)), else the default here. A name that is none ends with exit code 2 before anything starts;",
    "`--dry-run` shows what a run would use. What a few settings compute: [algorithms](algorithms.md), [memory](large_models.md),",
    "[worlds](environments.md), [numerics](numerics.md).",
    "",
    ...section(trainConfigJsonSchema(), ""),
  ];
  await expect(page.join("\n")).toMatchFileSnapshot("../../docs/configuration.md");
});
