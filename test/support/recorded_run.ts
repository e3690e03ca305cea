/** Run folders as training leaves them, made without training: as many updates and rows as a test wants. */
import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { trainConfigSchema } from "../../src/config/schema.js";
import {
  type EvaluationTranscript,
  RECORD_VERSION,
  type RolloutRow,
  type RunInfo,
} from "../../src/core/run_record.js";
import { stepName } from "../../src/host/run/checkpoints.js";

export interface RecordedRunOptions {
  readonly updates: number;
  /** Updates whose rollouts are kept; default: all. */
  readonly rollouts?: readonly number[];
  /** Evaluations whose episodes are kept; default: none, as in runs of older versions. */
  readonly transcripts?: readonly number[];
  readonly groups?: number;
  readonly episodes?: number;
  readonly turns?: number;
  readonly status?: RunInfo["status"];
  /** Over the defaults. */
  readonly settings?: Parameters<typeof trainConfigSchema.parse>[0];
}

/** A metrics row. */
export function metricsLine(step: number, changes: Readonly<Record<string, unknown>> = {}): string {
  const share = step / (step + 100);
  return `${JSON.stringify({
    ...{
      step,
      stage: "grpo",
      success: share,
      reward: 2 * share,
      entropy: 1 - share,
      loss: 1 / step,
      kl: share / 10,
    },
    ...{
      "dead_groups/before_penalties": 1 - share,
      grad_norm: 0.5,
      "perf/tokens_per_s": 2000,
      time: 1.7e9 + step,
    },
    ...Object.fromEntries(
      Array.from({ length: 40 }, (_, i) => [`more/metric_${i}`, Math.sin(i + step / 50)]),
    ),
    ...changes,
  })}\n`;
}

export function evaluationLine(step: number, success: number): string {
  return `${JSON.stringify({
    ...{
      step,
      stage: "grpo",
      split: "in_domain",
      mode: "greedy",
      episodes: 64,
      success,
      success_low: success / 2,
    },
    ...{
      success_high: (1 + success) / 2,
      "success/pick": success,
      "success_low/pick": 0,
      "success_high/pick": 1,
      time: 1,
    },
  })}\n`;
}

/** One step of an episode. Episodes of a group share their first turn; odd ones win. */
export function rolloutRow(
  step: number,
  { group, episode, turn }: { readonly group: number; readonly episode: number; readonly turn: number },
  changes: Partial<RolloutRow> = {},
): RolloutRow {
  const wins = episode % 2 === 1;
  const isFirst = turn === 0;
  return {
    ...{ step, kind: "policy", group, episode, env_step: turn, task_id: `task ${group}`, task_type: "pick" },
    prompt: `You are in room ${group}.${turn} .`,
    prompt_blocks: [{ name: "instructions", text: "> do not look twice" }],
    ...{ prompt_tokens: [1, 2, 3 + turn], prompt_hash: "0".repeat(16) },
    observation: isFirst
      ? `You are in room ${group}.`
      : `You see <b>${wins ? "a mug" : "nothing"}</b> ${turn}.`,
    action: isFirst ? "look" : wins ? "take mug" : "go away",
    ...{ action_tokens: [4, 5], log_probs: [-0.1, -0.7], mask: [1, 1], weight: [1, 1], tag: null },
    ...{ valid: wins || turn !== 1, truncated: false, anchor_key: `room ${group}.${turn}`, state_key: null },
    ...{ reward: 0, return: group === 0 ? 0 : Number(wins), advantage: group === 0 ? 0 : wins ? 0.5 : -0.5 },
    ...{ advantage_parts: { outcome: 0.4, step: 0.1 }, verdict: isFirst ? null : wins ? "good" : "bad" },
    ...changes,
  } as RolloutRow;
}

/** Two tasks of one split, greedy; later evaluations win more. The first task is played in vain, with a repeated action. */
function transcriptLines(step: number): string {
  const lines = [0, 1].map((task): EvaluationTranscript => {
    const ended = task === 1 && step > 5 ? "won" : "truncated";
    const action = ended === "won" ? "take mug" : "look";
    const see = { truncated: false, valid: true, reward: 0 };
    return {
      ...{ step, split: "in_domain", mode: "greedy", task_id: `game ${task}`, task_type: "pick", sample: 0 },
      ended,
      steps: [
        { ...see, observation: "You are in a <i>room</i>.", action },
        { ...see, observation: "You are in a <i>room</i>.", action, reward: Number(ended === "won") },
        { ...see, observation: "Nothing \u001b[31mhappens.", action: "fly", valid: false },
      ],
    };
  });
  return lines.map((line) => `${JSON.stringify(line)}\n`).join("");
}

/** Writes a run folder. @param folder made here */
export function writeRecordedRun(folder: string, options: RecordedRunOptions): void {
  const { updates, groups = 2, episodes = 4, turns = 3, status = "finished", settings = {} } = options;
  mkdirSync(join(folder, "rollouts"), { recursive: true });
  const info: RunInfo = {
    ...{ recordVersion: RECORD_VERSION, name: "recorded", seed: 3, status, step: updates },
    ...{ started: "2026-01-02T03:04:05.000Z", updated: "2026-01-02T05:00:00.000Z" },
    sessions: [
      {
        ...{ started: "2026-01-02T03:04:05.000Z", fromStep: 0, argv: ["train", "--name", "recorded"] },
        ...{ version: "0.1.0", node: "20", platform: "linux x64", git: null, adapter: { device: "none" } },
      },
    ],
  };
  writeFileSync(join(folder, "run.json"), JSON.stringify(info));
  const config = trainConfigSchema.parse({
    grpo: { max_steps: updates, warmup_steps: 0 },
    imitation: { episodes: 0 },
    ...(settings as object),
  });
  writeFileSync(join(folder, "config.yaml"), stringify(config));
  const steps = Array.from({ length: updates }, (_, at) => at + 1);
  writeFileSync(join(folder, "metrics.jsonl"), steps.map((step) => metricsLine(step)).join(""));
  const evaluated = steps.filter((step) => step % Math.ceil(updates / 10) === 0);
  writeFileSync(join(folder, "eval.jsonl"), evaluated.map((step) => evaluationLine(step, 0.5)).join(""));
  const { transcripts = [] } = options;
  if (transcripts.length > 0) mkdirSync(join(folder, "evaluations"));
  for (const step of transcripts)
    writeFileSync(join(folder, "evaluations", `${stepName(step)}.jsonl`), transcriptLines(step));
  for (const step of options.rollouts ?? steps) writeRollouts(folder, step, { groups, episodes, turns });
}

function writeRollouts(
  folder: string,
  step: number,
  { groups, episodes, turns }: { readonly groups: number; readonly episodes: number; readonly turns: number },
): void {
  const places = Array.from({ length: groups * episodes * turns }, (_, at) => ({
    turn: at % turns,
    episode: Math.floor(at / turns) % episodes,
    group: Math.floor(at / turns / episodes),
  }));
  const lines = places.map((place) => `${JSON.stringify(rolloutRow(step, place))}\n`);
  writeFileSync(join(folder, "rollouts", `${stepName(step)}.jsonl`), lines.join(""));
}

/** More updates, as a running training appends them. */
export function appendUpdates(folder: string, from: number, count: number): void {
  for (let step = from; step < from + count; step++)
    appendFileSync(join(folder, "metrics.jsonl"), metricsLine(step));
}
