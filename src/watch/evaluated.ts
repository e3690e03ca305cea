/** From transcripts of an evaluation to what is shown of its episodes. Pure. */
import type { EvaluationTranscript } from "../core/run_record.js";
import type { EvaluatedEpisode, EvaluatedLine } from "./api.js";
import { repeats } from "./groups.js";

/** @param index place in its file */
export function evaluatedLine(transcript: EvaluationTranscript, index: number): EvaluatedLine {
  const { split, mode, instructions, task_id, task_type, sample, ended, failure, steps } = transcript;
  return {
    ...{ index, split, mode, instructions: instructions ?? null, sample, ended, failure: failure ?? null },
    taskId: task_id,
    taskType: task_type,
    turns: steps.length,
    invalid: steps.filter(({ valid }) => !valid).length,
    repeated: repeats(steps).filter(Boolean).length,
  };
}

export function evaluatedEpisode(transcript: EvaluationTranscript, index: number): EvaluatedEpisode {
  const repeated = repeats(transcript.steps);
  return {
    ...evaluatedLine(transcript, index),
    step: transcript.step,
    steps: transcript.steps.map(({ observation, action, valid, truncated, reward }, at) => ({
      ...{ observation, action, valid, truncated, repeated: repeated[at], reward },
    })),
  };
}
