/** Episodes of evaluations, written and read back: `evaluations/step_*.jsonl`, one file for each update after which was evaluated. */
import { join } from "node:path";
import { z } from "zod";
import type { EvaluationTranscript } from "../../core/run_record.js";
import { readIfPresent, writeFileAtomic } from "../files/files.js";
import { jsonLine } from "../files/json_lines.js";
import { stepName } from "./checkpoints.js";
import { RUN_FILES } from "./run_info.js";

const schema = z.looseObject({
  step: z.int(),
  split: z.string(),
  mode: z.enum(["greedy", "sampled"]),
  instructions: z.enum(["with", "without"]).optional(),
  task_id: z.string().default(""),
  task_type: z.string().default(""),
  sample: z.int().min(0).default(0),
  ended: z.enum(["won", "lost", "truncated", "failed"]),
  failure: z.string().optional(),
  steps: z.array(
    z.looseObject({
      observation: z.string(),
      action: z.string(),
      valid: z.boolean().default(true),
      truncated: z.boolean().default(false),
      reward: z.number().default(0),
    }),
  ),
});

/** An episode of an evaluation; undefined for what is none. */
export function parseTranscript(line: unknown): EvaluationTranscript | undefined {
  const result = schema.safeParse(line);
  return result.success ? result.data : undefined;
}

/**
 * Puts the episodes of one split and mode into the file of their update. Episodes of the same part that an interrupted evaluation
 * left there are replaced, so that a resumed run has the files of one that was never stopped.
 * @param run its folder
 */
export async function writeTranscripts(
  run: string,
  step: number,
  episodes: readonly EvaluationTranscript[],
): Promise<void> {
  if (episodes.length === 0) return;
  const file = join(run, RUN_FILES.transcripts, `${stepName(step)}.jsonl`);
  const before = (await readIfPresent(file))?.toString("utf8").split("\n") ?? [];
  const parts = new Set(episodes.map(partOf));
  const kept = before.filter((line) => {
    const known = parsedLine(line);
    return known !== undefined && !parts.has(partOf(known));
  });
  await writeFileAtomic(file, [...kept.map((line) => `${line}\n`), ...episodes.map(jsonLine)].join(""));
}

/** What a line holds; undefined for one that is damaged: a transcript is no reason to end a training. */
function parsedLine(line: string): EvaluationTranscript | undefined {
  try {
    return parseTranscript(JSON.parse(line));
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function partOf({ split, mode, instructions }: EvaluationTranscript): string {
  return JSON.stringify([split, mode, instructions ?? ""]);
}
