/** From files, environment, flags and overrides to one checked configuration. */
import { stringify } from "yaml";
import type { Environment } from "../core/environment.js";
import { ConfigError } from "../core/errors.js";
import { describeIssues } from "./errors.js";
import { isSection } from "./fields.js";
import { type Layer, overrideLayer, type Path, settingLayer, textLayer } from "./layers.js";
import { type TrainConfig, trainConfigSchema } from "./schema.js";

/** A setting that a command-line flag stands for. */
export interface FlagSetting {
  readonly path: Path;
  readonly value: unknown;
  /** The flag as the user wrote it, for messages. */
  readonly flag: string;
}

/** Where settings come from, weakest first: defaults, files, environment, flags, overrides. */
export interface ConfigSources {
  /** Settings stronger than defaults alone, such as those of a run that goes on; later ones win. */
  readonly base?: readonly Layer[];
  /** Paths of YAML files; later ones win. */
  readonly files: readonly string[];
  /** Reads one of them. @throws ConfigError when it cannot be read */
  readonly readText: (path: string) => Promise<string>;
  readonly env: Environment;
  readonly flags?: readonly FlagSetting[];
  /** `a.b=c`; later ones win. */
  readonly overrides: readonly string[];
  /** Settings stronger than all others; later ones win. */
  readonly top?: readonly Layer[];
}

export interface LoadedConfig {
  readonly config: TrainConfig;
  /** YAML of every setting, in the order of the schema. */
  readonly resolved: string;
  /** What the sources gave, without defaults. */
  readonly settings: unknown;
  /** YAML of what the user gave, all sources together, headed by a comment that names them. */
  readonly input: string;
}

/** Environment variables that are settings; empty ones count as not set. */
const VARIABLES: readonly (readonly [variable: string, path: Path])[] = [
  ["UNCOUPLE_ADAPTER", ["device", "adapter"]],
  ["UNCOUPLE_PRESET", ["device", "preset"]],
  ["UNCOUPLE_MATMUL", ["device", "matmul"]],
  ["UNCOUPLE_PRECISION", ["model", "precision"]],
  ["UNCOUPLE_RUNS_DIR", ["out"]],
];

function environmentLayers(env: Environment): Layer[] {
  return VARIABLES.flatMap(([variable, path]) => {
    const value = env[variable];
    return value ? [settingLayer(path, value, variable)] : [];
  });
}

/** Settings of `over` on top of those of `under`. Sections merge; lists and values are replaced. */
export function mergeSettings(under: unknown, over: unknown): unknown {
  if (!isSection(under) || !isSection(over)) return over;
  // by entries: an assignment to `__proto__` would change what the object inherits, unseen by the check for unknown settings
  const merged = Object.entries(over).map(([key, value]) => [
    key,
    Object.hasOwn(under, key) ? mergeSettings(under[key], value) : value,
  ]);
  return Object.fromEntries([...Object.entries(under), ...merged]);
}

/**
 * Checks settings from several layers together.
 * @param layers weakest first
 * @throws ConfigError with one line for everything that is wrong: unknown settings with the nearest known name, wrong
 *   values with the rule, each with the file, line and column, the override or the variable that it comes from
 */
export function resolveLayers(layers: readonly Layer[]): { config: TrainConfig; settings: unknown } {
  const settings = layers.reduce<unknown>((all, layer) => mergeSettings(all, layer.settings), {});
  const result = trainConfigSchema.safeParse(settings, { reportInput: true });
  if (result.success) return { config: result.data, settings };
  throw new ConfigError(describeIssues(result.error.issues, layers).join("\n"));
}

/** Worlds say where their data lies by variables of their own; a setting is stronger. */
function withDataFolder(config: TrainConfig, env: Environment): TrainConfig {
  const { world } = config;
  if (world.id === "scienceworld")
    return { ...config, world: { ...world, jar: world.jar ?? env.SCIENCEWORLD_JAR ?? null } };
  if (world.id !== "alfworld" || world.path !== null) return config;
  if (env.ALFWORLD_DATA) return { ...config, world: { ...world, path: env.ALFWORLD_DATA } };
  throw new ConfigError(
    "[world.path] folder of ALFWorld's data is not known: got null, expected a folder. Set world.path or the " +
      "environment variable ALFWORLD_DATA.",
  );
}

function inputText({ files, flags = [], overrides }: ConfigSources, settings: unknown): string {
  const lines = [
    ...files.map((file) => `file ${JSON.stringify(file)}`),
    ...flags.map(({ flag }) => `flag ${JSON.stringify(flag)}`),
    ...overrides.map((text) => `override ${JSON.stringify(text)}`),
  ];
  return lines.map((line) => `# ${line}\n`).join("") + stringify(settings);
}

/** YAML of a configuration: what `config.yaml` of a run folder holds. */
function configText(config: TrainConfig): string {
  return stringify(config);
}

/**
 * Reads and checks a configuration.
 * @throws ConfigError as `resolveLayers` and `readText`, and for a file that is not YAML
 */
export async function loadConfig(sources: ConfigSources): Promise<LoadedConfig> {
  const layers = [
    ...(sources.base ?? []),
    ...(await Promise.all(sources.files.map(async (path) => textLayer(await sources.readText(path), path)))),
    ...environmentLayers(sources.env),
    ...(sources.flags ?? []).map(({ path, value, flag }) => settingLayer(path, value, flag)),
    ...sources.overrides.map(overrideLayer),
    ...(sources.top ?? []),
  ];
  const { config: given, settings } = resolveLayers(layers);
  const config = withDataFolder(given, sources.env);
  return { config, resolved: configText(config), settings, input: inputText(sources, settings) };
}
