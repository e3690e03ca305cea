/** Kept episodes of an evaluation as text: what the world showed, and what the policy did. */
import { ConfigError } from "../../core/errors.js";
import type { EvaluationTranscript } from "../../core/run_record.js";
import { printable } from "../../core/shown.js";
import type { RunDetail } from "../../watch/api.js";
import { evaluatedEpisode } from "../../watch/evaluated.js";
import type { OpenRun } from "../../watch/open_run.js";
import type { Terminal } from "../kit/terminal.js";

/** Which evaluations kept some. */
export function keptEpisodes({ transcriptSteps }: RunDetail): string {
  const shown = transcriptSteps.slice(-8).join(", ");
  return `episodes of evaluations were kept after updates ${transcriptSteps.length > 8 ? "..., " : ""}${shown}`;
}

/** @throws ConfigError when none were kept after that update */
export async function showEpisodes(
  run: OpenRun,
  detail: RunDetail,
  step: number,
  { json, terminal }: { readonly json: true | undefined; readonly terminal: Terminal },
): Promise<void> {
  const kept = await run.transcripts.update(step);
  if (kept === undefined) {
    const cure = detail.transcriptSteps.length > 0 ? keptEpisodes(detail) : "this run kept none";
    throw new ConfigError(
      `[run show] no episodes: got --episodes ${step}, expected an update after which some were kept. Choose another; ${cure}.`,
    );
  }
  if (json) return terminal.printJson(kept.rows.map(evaluatedEpisode));
  if (kept.damaged > 0) terminal.warn(`${kept.damaged} lines are damaged, and left out`);
  for (const episode of kept.rows) for (const line of episodeLines(episode)) terminal.print(line);
}

/** Texts of worlds may hold what a terminal obeys: it is written out. */
function* episodeLines(transcript: EvaluationTranscript): Generator<string> {
  const { split, mode, instructions, taskId, taskType, ended, failure, steps } = evaluatedEpisode(
    transcript,
    0,
  );
  const read = instructions === null ? [] : [`${instructions} instructions`];
  yield printable(`${[split, mode, ...read, taskType, taskId].join(", ")}: ${ended}, ${steps.length} turns`);
  if (failure !== null) yield printable(`  failed: ${failure}`);
  for (const { observation, action, valid, repeated, truncated, reward } of steps) {
    for (const line of observation.split("\n")) yield `  ${printable(line)}`;
    const marks = [
      ...(valid ? [] : ["not valid"]),
      ...(repeated ? ["repeated"] : []),
      ...(truncated ? ["cut off"] : []),
      ...(reward === 0 ? [] : [`reward ${reward}`]),
    ];
    yield `> ${printable(action)}${marks.length > 0 ? ` (${marks.join(", ")})` : ""}`;
  }
  yield "";
}
