/** What an experiment will run, all settings checked: the start, then every cell with every seed. */
import { dirname, join, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { isSection } from "../../config/fields.js";
import { innerLayer, type Layer, type Path, pathText, settingLayer, textLayer } from "../../config/layers.js";
import { type FlagSetting, type LoadedConfig, loadConfig, mergeSettings } from "../../config/load.js";
import { totalUpdates } from "../../config/schema.js";
import type { Environment } from "../../core/environment.js";
import { ConfigError } from "../../core/errors.js";
import { readConfigText } from "../files/config_text.js";
import { RUN_FILES } from "../run/run_info.js";
import { type ExperimentFile, parseExperimentFile } from "./experiment_file.js";
import { settingsSha256 } from "./fingerprint.js";
import { type Cell, cellsOf } from "./matrix.js";

/** Where things lie in the folder of an experiment. */
export const EXPERIMENT_FILES = {
  file: "experiment.yaml",
  /** One record for each cell and seed, and one of the start. */
  records: "cells",
  /** What was measured of the coupling, one file for each run. */
  coupling: "coupling",
  runs: "runs",
  results: "results.jsonl",
  report: "report.md",
} as const;

/** A run to be made. */
export interface PlannedRun extends LoadedConfig {
  /** Name of its run folder and its record. */
  readonly id: string;
  readonly seed: number;
  /** Updates, all stages together. */
  readonly updates: number;
  /** Of the settings that decide its result. */
  readonly configSha256: string;
}

export interface PlannedCell extends PlannedRun {
  readonly cell: Cell;
  /** Settings of the cell on top of the base. */
  readonly overrides: unknown;
}

/** Where a planned run lies. */
export function runFolder({ config }: PlannedRun): string {
  return join(config.out, config.name as string);
}

/** The policy that all cells begin with: trained by a run of its own, or a model folder. */
export interface PlannedStart extends PlannedRun {
  /** Model folder that cells load; after the run, where there is one. */
  readonly model: string;
  readonly trained: boolean;
}

export interface ExperimentPlan {
  readonly name: string;
  /** Absolute. */
  readonly out: string;
  readonly content: ExperimentFile["content"];
  /** As the user wrote it. */
  readonly text: string;
  readonly start: PlannedStart;
  readonly cells: readonly PlannedCell[];
}

export interface PlanRequest {
  /** Path of the experiment file. */
  readonly file: string;
  /** Folder of the experiment; default: `<folder of run folders>/<name>`. */
  readonly out: string | undefined;
  readonly env: Environment;
  readonly flags: readonly FlagSetting[];
  /** `section.field=value`, over the section `base`. */
  readonly overrides?: readonly string[];
  /** In the place of the file's seeds. */
  readonly seeds?: readonly number[] | undefined;
}

/** Settings that the experiment gives itself, so cells may not. */
const OWN: readonly Path[] = [
  ["seed"],
  ["name"],
  ["out"],
  ["model", "path"],
  ["world", "splits"],
  ["eval", "splits"],
];

/** @throws ConfigError with a line, and its place, for everything that is wrong */
export async function planExperiment(request: PlanRequest): Promise<ExperimentPlan> {
  const text = await readConfigText(request.file);
  const file = withSeeds(parseExperimentFile(text, request.file), request.seeds);
  const cells = cellsOf(file);
  const name = file.content.name ?? baseName(request.file);
  const settings = await baseLayers(request.file, file);
  const base = await loadConfig(sources(request, settings, []));
  const out = resolve(request.out ?? join(base.config.out, name));
  checkOwn([...settings.slice(1), innerLayer(file.layer, ["start", "train"])], [["name"], ["out"]]);
  const start = await planStart(request, file, settings, out, base);
  const planned: PlannedCell[] = [];
  const mistakes = new Set<string>();
  for (const cell of cells) {
    try {
      for (const seed of file.content.seeds) {
        planned.push(await planCell(request, file, settings, { cell, seed, out, model: start.model }));
      }
      checkOwn(cell.layers, OWN);
      checkDevice(cell, planned[planned.length - 1], base);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      for (const line of error.message.split("\n")) mistakes.add(line);
    }
  }
  if (mistakes.size > 0) throw new ConfigError([...mistakes].join("\n"));
  return { name, out, content: file.content, text, start, cells: planned };
}

function withSeeds(file: ExperimentFile, seeds: readonly number[] = file.content.seeds): ExperimentFile {
  return { ...file, content: { ...file.content, seeds: [...seeds] } };
}

function baseName(file: string): string {
  return (file.split(/[/\\]/).at(-1) as string).replace(/\.ya?ml$/, "");
}

/** Weakest first: what an experiment does otherwise than a single run, files, the section `base`. */
async function baseLayers(path: string, file: ExperimentFile): Promise<Layer[]> {
  const files = file.content.files.map((name) => join(dirname(path), name));
  return [
    // the start is evaluated once, not by every cell again
    settingLayer(["eval", "at_start"], false, "experiment"),
    ...(await Promise.all(files.map(async (name) => textLayer(await readConfigText(name), name)))),
    innerLayer(file.layer, ["base"]),
  ];
}

function sources({ env, flags, overrides = [] }: PlanRequest, base: readonly Layer[], top: readonly Layer[]) {
  return { base, files: [], readText: readConfigText, env, flags, overrides: [...overrides], top };
}

/** The splits, which every evaluation of the experiment uses. */
function splitLayers({ content, layer }: ExperimentFile): Layer[] {
  const splits = Object.entries(content.splits);
  if (splits.length === 0) return [];
  const derived = Object.fromEntries(splits.map(([name, { of, task_types }]) => [name, { of, task_types }]));
  const where: Layer["where"] = (path, part) => layer.where(["splits", ...path.slice(2)], part);
  return [
    { settings: { world: { splits: derived } }, where },
    settingLayer(
      ["eval", "splits"],
      splits.map(([name]) => name),
      layer.where(["splits"], "key"),
    ),
  ];
}

async function planStart(
  request: PlanRequest,
  file: ExperimentFile,
  base: readonly Layer[],
  out: string,
  { config }: LoadedConfig,
): Promise<PlannedStart> {
  const { train, model } = file.content.start;
  const runs = join(out, EXPERIMENT_FILES.runs);
  const trained = train !== undefined;
  const where = file.layer.where(["start"], "key");
  const loaded = await loadConfig(
    sources(request, base, [
      settingLayer(["grpo", "max_steps"], 0, where),
      innerLayer(file.layer, ["start", "train"]),
      ...(model === undefined ? [] : [settingLayer(["model", "path"], resolve(model), where)]),
      ...splitLayers(file),
      settingLayer(["name"], "start", where),
      settingLayer(["out"], runs, where),
    ]),
  );
  const updates = trained ? totalUpdates(loaded.config) : 0;
  if (trained && updates === 0) throw trainsNothing(where, "start");
  return {
    ...loaded,
    id: "start",
    seed: config.seed,
    updates,
    configSha256: settingsSha256(loaded.settings),
    model: trained ? join(runs, "start", RUN_FILES.export) : resolve(model as string),
    trained,
  };
}

async function planCell(
  request: PlanRequest,
  file: ExperimentFile,
  base: readonly Layer[],
  { cell, seed, out, model }: { cell: Cell; seed: number; out: string; model: string },
): Promise<PlannedCell> {
  const id = `${cell.name}__s${seed}`;
  const where = `cell ${cell.name}`;
  const loaded = await loadConfig(
    sources(request, base, [
      settingLayer(["imitation", "episodes"], 0, where),
      ...cell.layers,
      ...splitLayers(file),
      settingLayer(["seed"], seed, where),
      settingLayer(["name"], id, where),
      settingLayer(["out"], join(out, EXPERIMENT_FILES.runs), where),
      settingLayer(["model", "path"], model, where),
    ]),
  );
  const updates = totalUpdates(loaded.config);
  if (updates === 0) throw trainsNothing(where, cell.name);
  return {
    ...loaded,
    id,
    cell,
    seed,
    updates,
    overrides: cell.layers.reduce<unknown>((all, { settings }) => mergeSettings(all, settings), {}),
    configSha256: settingsSha256(loaded.settings),
  };
}

function trainsNothing(where: string, name: string): ConfigError {
  return new ConfigError(
    `[${where}] nothing to train: got no updates in ${name}, expected a stage with some. Set grpo.max_steps above 0.`,
  );
}

/** @throws ConfigError when a layer gives a setting that the experiment gives itself */
function checkOwn(layers: readonly Layer[], own: readonly Path[]): void {
  for (const path of own) {
    const layer = layers.find(({ settings }) => gives(settings, path));
    if (layer === undefined) continue;
    throw new ConfigError(
      `[${layer.where(path, "key")}] setting is the experiment's own: got ${pathText(path)}, expected other settings. ` +
        "Use seeds, start, splits and --out.",
    );
  }
}

function gives(settings: unknown, [key, ...rest]: Path): boolean {
  if (!isSection(settings) || !Object.hasOwn(settings, key)) return false;
  return rest.length === 0 || gives(settings[String(key)], rest);
}

/** Cells share one device. */
function checkDevice(cell: Cell, { config }: PlannedCell, base: LoadedConfig): void {
  if (isDeepStrictEqual(config.device, base.config.device)) return;
  const layer = cell.layers.findLast(({ settings }) => gives(settings, ["device"]));
  throw new ConfigError(
    `[${layer?.where(["device"], "key") ?? cell.name}] cells share one device: got other settings of device in ` +
      `${cell.name}, expected none. Move them to base.`,
  );
}
