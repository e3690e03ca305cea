/** What `run.json`, `config.yaml` and the newest lines of a run say, for the list of runs. */
import { parse } from "yaml";
import { z } from "zod";
import { DataError } from "../core/errors.js";
import type { RunInfo } from "../core/run_record.js";
import { parseJson } from "../host/files/json_file.js";
import { checkedRunInfo, RUN_FILES } from "../host/run/run_info.js";
import type { RunLine, ShownAlert, ShownStatus } from "./api.js";
import { lastRows } from "./json_tail.js";
import type { RunTree } from "./run_tree.js";

/** Milliseconds without a sign of life after which a run counts as killed; processes give one every 20 s. */
const STALE_AFTER = 90_000;

/** `run.json` as it is, or what is wrong with it. */
export type ReadInfo = { readonly info: RunInfo } | { readonly problem: string };

export async function readInfo(tree: RunTree, run: string): Promise<ReadInfo> {
  const text = await tree.read(run, RUN_FILES.info);
  if (text === undefined) return { problem: "run.json is gone" };
  try {
    return { info: checkedRunInfo(parseJson(text, RUN_FILES.info), RUN_FILES.info) };
  } catch (error) {
    if (error instanceof DataError) return { problem: error.message };
    throw error;
  }
}

/** @param now milliseconds since 1970 */
export async function statusOf(
  tree: RunTree,
  run: string,
  read: ReadInfo,
  now: number,
): Promise<ShownStatus> {
  if ("problem" in read) return "unreadable";
  if (read.info.status !== "running") return read.info.status;
  const beat = await tree.lastBeat(run);
  return beat !== undefined && now - beat < STALE_AFTER ? "running" : "stale";
}

/** Settings of a run as they lie in its folder; they may be of another version, so nothing is required. */
export interface ReadSettings {
  /** By path, as `grpo.learning_rate`. */
  readonly settings: Readonly<Record<string, string>>;
  readonly problem: string | null;
}

/** Characters of settings: the parser takes seconds for more. */
const LONGEST = 1_000_000;

async function readSettings(tree: RunTree, run: string): Promise<ReadSettings> {
  const text = await tree.read(run, RUN_FILES.config);
  if (text === undefined) return { settings: {}, problem: "config.yaml is missing" };
  if (text.length > LONGEST)
    return { settings: {}, problem: `config.yaml is too long: ${text.length} characters` };
  try {
    return {
      settings: Object.fromEntries(leaves(parse(text, { maxAliasCount: 100, logLevel: "error" }))),
      problem: null,
    };
  } catch (error) {
    return {
      settings: {},
      problem: `config.yaml cannot be read: ${(error as Error).message.split("\n")[0]}`,
    };
  }
}

/** Values that are no sections, by path. */
function leaves(value: unknown, path = ""): [string, string][] {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return [[path, typeof value === "string" ? value : JSON.stringify(value)]];
  return Object.entries(value).flatMap(([key, inner]) => leaves(inner, path === "" ? key : `${path}.${key}`));
}

const number = z.number().nullable().catch(null);
const newest = z.object({ step: number, success: number });

/** Both files that say what a run is. */
export interface RunRecord {
  readonly read: ReadInfo;
  readonly settings: ReadSettings;
}

export async function readRecord(tree: RunTree, run: string): Promise<RunRecord> {
  const [read, settings] = await Promise.all([readInfo(tree, run), readSettings(tree, run)]);
  return { read, settings };
}

/** @param now milliseconds since 1970. @param record where it was read already */
export async function runLine(tree: RunTree, run: string, now: number, record?: RunRecord): Promise<RunLine> {
  const [
    {
      read,
      settings: { settings },
    },
    metrics,
    evaluations,
    alerts,
  ] = await Promise.all([
    record ?? readRecord(tree, run),
    lastRows(() => tree.open(run, RUN_FILES.metrics)),
    lastRows(() => tree.open(run, RUN_FILES.evaluations)),
    lastRows(() => tree.open(run, RUN_FILES.alerts)),
  ]);
  // of the newest evaluation the first line: the first split, greedy, without instructions
  const evaluation = evaluations.findLast(({ step }) => step === evaluations[0].step);
  const info = "info" in read ? read.info : undefined;
  const last = newest.parse({ step: null, success: null, ...metrics[0] });
  return {
    run,
    status: await statusOf(tree, run, read, now),
    reason: "problem" in read ? read.problem : (read.info.reason ?? null),
    started: info?.started ?? null,
    updated: info?.updated ?? null,
    step: Math.max(info?.step ?? 0, last.step ?? 0),
    steps: plannedSteps(settings),
    seed: info?.seed ?? null,
    world: settings["world.id"] ?? null,
    algorithm: algorithmOf(settings),
    model:
      settings["model.path"] && settings["model.path"] !== "null"
        ? settings["model.path"]
        : (settings["model.preset"] ?? null),
    alert:
      alerts.flatMap((row) => shownAlert(row) ?? []).map(({ step, text }) => `update ${step}: ${text}`)[0] ??
      null,
    success: last.success,
    evaluated: newest.parse({ step: null, success: null, ...evaluation }).success,
  };
}

const alertSchema = z.object({ step: z.number(), kind: z.string(), text: z.string() });

/** @returns undefined for a line that is no alert */
export function shownAlert(line: Readonly<Record<string, unknown>>): ShownAlert | undefined {
  const result = alertSchema.safeParse(line);
  return result.success ? result.data : undefined;
}

function plannedSteps(settings: ReadSettings["settings"]): number | null {
  const of = (name: string) => Number(settings[name] ?? Number.NaN);
  const imitation = of("imitation.episodes") > 0 ? of("imitation.max_steps") : 0;
  const steps = imitation + of("grpo.max_steps");
  return Number.isFinite(steps) ? steps : null;
}

function algorithmOf(settings: ReadSettings["settings"]): string | null {
  const name = settings["grpo.algo"];
  if (name === undefined) return null;
  const parts = [
    ...(settings["gcd.enabled"] === "true" ? ["GCD"] : []),
    ...(settings["correction.enabled"] === "true" ? ["correction"] : []),
  ];
  return [name, ...parts].join(" + ");
}
