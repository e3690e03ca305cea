/** Coupling analyses of a run: the report of one or two, and the turns that their samples stand for. */
import { createHash } from "node:crypto";
import { DataError } from "../core/errors.js";
import type { RolloutRow } from "../core/run_record.js";
import { parseJson } from "../host/files/json_file.js";
import { stepOfName } from "../host/run/checkpoints.js";
import { RUN_FILES } from "../host/run/run_info.js";
import { COUPLING_VERSION, type CouplingDocument, type CouplingSample } from "../report/coupling_document.js";
import { HEAT_SCRIPT } from "../report/coupling_heat_map.js";
import { couplingReportHtml } from "../report/coupling_report.js";
import { pairSentence } from "../report/coupling_text.js";
import type { LinkedPair, Turn, TurnPlace } from "./api.js";
import { notFound, RequestError } from "./errors.js";
import { playedRows } from "./groups.js";
import type { OpenRun } from "./open_run.js";
import type { OpenRuns } from "./open_runs.js";

/** The report has one script, of its own; nothing else may run or be loaded in it. */
const REPORT_POLICY =
  `default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${createHash("sha256").update(HEAT_SCRIPT).digest("base64")}'; ` +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/** @throws RequestError when there is none of that name, or one of another version */
async function readAnalysis({ tree, run }: OpenRun, name: string): Promise<CouplingDocument> {
  const text = await tree.read(run, RUN_FILES.coupling, name, "coupling.json");
  if (text === undefined)
    throw notFound(`the analysis ${JSON.stringify(name)} of the run ${JSON.stringify(run)}`);
  let document: Partial<CouplingDocument> | null;
  try {
    document = parseJson(text, "coupling.json") as Partial<CouplingDocument> | null;
  } catch (error) {
    if (error instanceof DataError) throw new RequestError(422, error.message);
    throw error;
  }
  const isKnown =
    document?.version === COUPLING_VERSION &&
    Array.isArray(document.samples) &&
    Array.isArray(document.pairs);
  if (isKnown) return document as CouplingDocument;
  throw new RequestError(
    422,
    `[watch] analysis cannot be shown: got version ${JSON.stringify(document?.version)}, expected ${COUPLING_VERSION}. Make it ` +
      "again with uncouple coupling --run.",
  );
}

/**
 * The report of one analysis, or of two side by side, as a whole page.
 * @param names `<run>/<analysis>`
 */
export async function analysisReport(
  runs: OpenRuns,
  names: readonly string[],
): Promise<{ readonly html: string; readonly policy: string }> {
  const documents = await Promise.all(
    names.map(async (name) => {
      const [run, analysis] = name.split("/");
      return readAnalysis(await runs.get(run), analysis);
    }),
  );
  try {
    return { html: couplingReportHtml(documents), policy: REPORT_POLICY };
  } catch (error) {
    // a file that another program changed
    throw new RequestError(
      422,
      `[watch] analysis cannot be shown: got ${(error as Error).message}. Make it again.`,
    );
  }
}

/** An analysis of a checkpoint looks at the update after it. */
function updateOf(analysis: string): number {
  return (stepOfName(analysis) ?? -1) + 1;
}

/** Samples are joined from rows of equal prompt and action. */
function sampleKey(text: string, action: string): string {
  return JSON.stringify([text, action]);
}

function rowKey({ prompt, observation, action }: RolloutRow): string {
  return sampleKey(prompt || (observation ?? ""), action);
}

/** The worst pairs of an analysis, each with the turns of both samples where their rollouts are kept. */
export async function linkedPairs(run: OpenRun, name: string): Promise<LinkedPair[]> {
  const { samples, pairs } = await readAnalysis(run, name);
  const step = updateOf(name);
  const rollouts = await run.rollouts.update(step);
  const places = new Map<string, TurnPlace>();
  for (const row of playedRows(rollouts?.rows ?? [])) {
    const { group, episode, env_step: turn } = row;
    if (!places.has(rowKey(row))) places.set(rowKey(row), { step, group, episode, turn });
  }
  const placeOf = ({ stateText, action }: CouplingSample) => places.get(sampleKey(stateText, action)) ?? null;
  return pairs.map((pair) => ({
    text: pairSentence(samples, pair),
    change: pair.change,
    cosine: pair.cosine,
    from: placeOf(samples[pair.from]),
    to: placeOf(samples[pair.to]),
    fromAction: samples[pair.from].action,
    toAction: samples[pair.to].action,
  }));
}

/** Predicted changes of the turns of an update, where an analysis of it is there. */
export async function couplingInfluence(
  run: OpenRun,
  step: number,
): Promise<(row: RolloutRow) => Turn["influence"]> {
  const name = (await run.analyses()).find((one) => updateOf(one) === step);
  if (name === undefined) return () => null;
  const { samples } = await readAnalysis(run, name);
  const known = new Map(samples.map((sample) => [sampleKey(sample.stateText, sample.action), sample]));
  return (row) => {
    const sample = known.get(rowKey(row));
    return sample ? { total: sample.total, cross: sample.cross } : null;
  };
}
