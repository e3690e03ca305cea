/** From an experiment file to its cells: every combination of the axes, then the further cells. */
import { innerLayer, type Layer } from "../../config/layers.js";
import { ConfigError } from "../../core/errors.js";
import { type ExperimentFile, mistake } from "./experiment_file.js";

/** One combination of settings, run once for each seed. */
export interface Cell {
  /** Levels joined by `+`, or the name that the file gives. */
  readonly name: string;
  /** Axis -> level; further cells may have no level on some axes. */
  readonly levels: Readonly<Record<string, string>>;
  /** The cell that it is compared with; undefined for a baseline itself, and where there is none. */
  readonly baseline: string | undefined;
  /** Its settings, weakest first. */
  readonly layers: readonly Layer[];
}

/** The cells in the order of the file: the last axis varies fastest. */
export function cellsOf(file: ExperimentFile): Cell[] {
  const mistakes = referenceMistakes(file);
  if (mistakes.length > 0) throw new ConfigError(mistakes.join("\n"));
  const { axes, cells, baseline } = file.content;
  let combinations: Record<string, string>[] = Object.keys(axes).length === 0 ? [] : [{}];
  for (const [axis, levels] of Object.entries(axes)) {
    combinations = combinations.flatMap((chosen) =>
      Object.keys(levels).map((level) => ({ ...chosen, [axis]: level })),
    );
  }
  const nameOf = (levels: Readonly<Record<string, string>>) => Object.values(levels).join("+");
  const baselineOf = (name: string, levels: Readonly<Record<string, string>>) => {
    if (Object.keys(baseline).length === 0) return undefined;
    const wanted = { ...levels, ...baseline };
    const found = combinations.find((one) => Object.keys(axes).every((axis) => one[axis] === wanted[axis]));
    return found === undefined || nameOf(found) === name ? undefined : nameOf(found);
  };
  const cell = (name: string, levels: Readonly<Record<string, string>>, own: readonly Layer[]): Cell => ({
    name,
    levels,
    baseline: baselineOf(name, levels),
    layers: [
      ...Object.keys(axes).flatMap((axis) =>
        levels[axis] === undefined ? [] : [innerLayer(file.layer, ["axes", axis, levels[axis]])],
      ),
      ...own,
    ],
  });
  return [
    ...combinations.map((levels) => cell(nameOf(levels), levels, [])),
    ...Object.entries(cells).map(([name, { of }]) =>
      cell(name, of, [innerLayer(file.layer, ["cells", name, "set"])]),
    ),
  ];
}

/** What is wrong between the parts of the file. */
function referenceMistakes({ content, layer }: ExperimentFile): string[] {
  const { axes, cells, baseline, seeds } = content;
  const levelMistakes = (section: readonly string[], levels: Readonly<Record<string, string>>) =>
    Object.entries(levels).flatMap(([axis, level]) => {
      const path = [...section, axis];
      if (axes[axis] === undefined)
        return [mistake(layer, path, "key", `"${axis}"`, `one of the axes ${Object.keys(axes).join(", ")}`)];
      if (axes[axis][level] === undefined)
        return [mistake(layer, path, "value", `"${level}"`, `one of ${Object.keys(axes[axis]).join(", ")}`)];
      return [];
    });
  const empty = Object.entries(axes).filter(([, levels]) => Object.keys(levels).length === 0);
  const repeated = seeds.findIndex((seed, index) => seeds.indexOf(seed) !== index);
  const none = Object.keys(axes).length + Object.keys(cells).length === 0;
  return [
    ...empty.map(([axis]) => mistake(layer, ["axes", axis], "value", "no level", "at least one")),
    ...(none ? [mistake(layer, ["axes"], "value", "no axis and no cell", "at least one")] : []),
    ...(repeated < 0
      ? []
      : [mistake(layer, ["seeds", repeated], "value", String(seeds[repeated]), "each seed once")]),
    ...levelMistakes(["baseline"], baseline),
    ...Object.entries(cells).flatMap(([name, { of }]) => levelMistakes(["cells", name, "of"], of)),
    ...duplicateNames(content).map((name) =>
      mistake(layer, ["cells", name], "key", `"${name}"`, "a name that no other cell has"),
    ),
  ];
}

function duplicateNames({ axes, cells }: ExperimentFile["content"]): string[] {
  const names = Object.values(axes).reduce<string[]>(
    (all, levels) =>
      all.flatMap((name) => Object.keys(levels).map((level) => (name ? `${name}+${level}` : level))),
    [""],
  );
  return Object.keys(cells).filter((name) => names.includes(name) || name === "start");
}
