/** Rows of training as records of a run. */
import type { RolloutRow } from "../../core/run_record.js";
import type { Row } from "../rows.js";

/**
 * @param step update that the rows were made for, from 1 on
 * @param verdict what its action was labelled; a row that judges has its own
 */
export function rolloutRow(step: number, row: Row, verdict: Row["verdict"] = row.verdict): RolloutRow {
  return {
    step,
    kind: row.kind,
    group: row.group,
    episode: row.episode,
    env_step: row.step,
    task_id: row.taskId,
    task_type: row.taskType,
    prompt: row.text?.text ?? "",
    prompt_blocks: (row.text?.blocks ?? []).map(({ name, text }) => ({ name, text })),
    prompt_tokens: row.prompt,
    prompt_hash: row.text?.hash ?? "",
    observation: row.observation ?? null,
    action: row.action ?? "",
    action_tokens: row.answer,
    log_probs: row.logProbs ?? [],
    mask: row.answer.map((_, t) => row.mask?.[t] ?? 1),
    weight: row.answer.map((_, t) => row.weight?.[t] ?? 1),
    tag: row.tag ?? null,
    valid: row.valid ?? true,
    truncated: row.truncated ?? false,
    anchor_key: row.anchorKey ?? null,
    state_key: row.stateKey ?? null,
    reward: row.stepReward ?? 0,
    return: row.outcome ?? 0,
    advantage: row.advantage ?? 0,
    advantage_parts: row.parts ?? {},
    verdict: verdict ?? null,
  };
}
