/** Experiment files: what varies (axes, further cells, seeds), what is the same for all (base, start, splits). */
import { z } from "zod";
import { integerFrom, listOfTexts, section, text } from "../../config/fields.js";
import { type Layer, type Path, pathText, textLayer } from "../../config/layers.js";
import { ConfigError } from "../../core/errors.js";
import { shown } from "../../core/shown.js";

/** Names become folder names, parts of cell names and words of the command line. */
const NAME = /^[A-Za-z0-9_.-]+$/;
const CELL_NAME = /^[A-Za-z0-9_.+-]+$/;

function named(pattern = NAME) {
  return text().regex(pattern, `letters, digits and ${pattern === NAME ? "_ . -" : "_ . - +"} only`);
}

/** Settings as in a configuration of `uncouple train`; nothing written out is none. */
function settings() {
  return z.record(z.string(), z.unknown(), "a section of settings").nullable();
}

const splitSection = section({
  of: text(),
  task_types: listOfTexts().nullable().default(null),
  meaning: text().default(""),
});

const startSection = section({
  train: settings().optional(),
  model: text().optional(),
}).refine(({ train, model }) => (train === undefined) !== (model === undefined), {
  message: "either `train` (settings of a training that makes it) or `model` (its folder)",
});

/** How many samples of the start every policy reads, and the seed that draws them. */
const couplingSection = section({
  samples: integerFrom(2).default(64),
  seed: integerFrom(0).default(0),
});

const fileSchema = section({
  name: named().optional(),
  description: text().default(""),
  files: z.array(text(), "a list of files").default([]),
  base: settings().default({}),
  start: startSection,
  splits: z.record(named(), splitSection, "a section with one section for each split"),
  axes: z.record(
    named(),
    z.record(named(), settings(), "a section with one section of settings for each level"),
    "a section with one section for each axis",
  ),
  cells: z
    .record(
      named(CELL_NAME),
      section({ of: z.record(text(), text(), "axis: level").default({}), set: settings().default({}) }),
      "a section with one section for each further cell",
    )
    .default({}),
  baseline: z.record(text(), text(), "axis: level").default({}),
  coupling: couplingSection.nullable().default(null),
  seeds: z.array(integerFrom(0), "a list of seeds").min(1, "at least one seed"),
}).refine(({ coupling, start }) => coupling === null || start.train !== undefined, {
  path: ["coupling"],
  message: "nothing unless the start is trained here (start.train): its run plays the samples",
});

/** An experiment file as it was read, and the places of its parts. */
export interface ExperimentFile {
  readonly content: z.output<typeof fileSchema>;
  /** The whole file; `innerLayer` gives sections of settings. */
  readonly layer: Layer;
}

/**
 * Reads the text of an experiment file. References between its parts are checked by `planExperiment`.
 * @param name of the file, for messages
 * @throws ConfigError with one line, and the place, for everything that is wrong
 */
export function parseExperimentFile(content: string, name: string): ExperimentFile {
  const layer = textLayer(content, name);
  const result = fileSchema.safeParse(layer.settings, { reportInput: true });
  if (!result.success)
    throw new ConfigError(result.error.issues.flatMap((issue) => describe(issue, layer)).join("\n"));
  return { content: result.data, layer };
}

/** One line a mistake. */
function describe(issue: z.core.$ZodIssue, layer: Layer): string[] {
  const { path, message, input } = issue;
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) =>
      mistake(layer, [...path, key], "key", `"${key}"`, "a part of experiment files"),
    );
  }
  if (issue.code === "invalid_key") {
    const key = String(path.at(-1));
    return [mistake(layer, path, "key", `"${key}"`, issue.issues[0]?.message ?? message)];
  }
  return [mistake(layer, path, "value", shown(input), message)];
}

/** A line that names the place of a mistake. */
export function mistake(
  layer: Layer,
  path: Path,
  part: "key" | "value",
  got: string,
  expected: string,
): string {
  const shown = got.length > 60 ? `${got.slice(0, 60)}...` : got;
  return `[${layer.where(path, part)}] wrong ${pathText(path) || "experiment"}: got ${shown}, expected ${expected}. Change it.`;
}
