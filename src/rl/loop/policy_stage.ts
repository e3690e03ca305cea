/**
 * The stage that learns by play: roll out groups, compare episodes within each group, judge what was done, improve the policy
 * on every row.
 */
import type { TrainConfig } from "../../config/schema.js";
import type { Json, RunSink } from "../../core/run_record.js";
import { decisionStates } from "../../coupling/ground_truth/response_states.js";
import { sampleOf } from "../../coupling/samples.js";
import type { Task } from "../../env/world.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import { checkSameStart } from "../advantages/anchors.js";
import { type Advantages, estimateAdvantages } from "../advantages/estimate.js";
import type { ScoredAnswer } from "../advantages/kl_reward.js";
import { selectGroups } from "../advantages/selection.js";
import { advantageOptions, advantageRows, anchoredRows, rewardKl } from "../advantages/settings.js";
import { Correction } from "../correction/correction.js";
import { expertVerdicts } from "../gcd/critic.js";
import { criticise } from "../gcd/critique.js";
import { Gcd, openJudge } from "../gcd/gcd.js";
import { type LabelledAction, labelActions, pairKey, stateOf, type Verdict } from "../gcd/labels.js";
import { tokenFactor } from "../objective/selection.js";
import type { Episode } from "../play/episode.js";
import { playRules, type RolloutWorker } from "../play/rollout.js";
import type { PlayedRow } from "../rows.js";
import { withTokenWeights } from "../update/token_weights.js";
import { isMeasured, watchedMetrics, watchRows } from "./coupling_probe.js";
import { itemsOfStep } from "./data_order.js";
import { applyHooks, dropHarmful, influenceReport, type OnInfluence } from "./influence_hook.js";
import { labelMetrics, policyMetrics } from "./policy_metrics.js";
import { policyLoss, updatePolicy } from "./policy_update.js";
import { rolloutRow } from "./records.js";
import type { Stage, UpdateContext } from "./stage.js";

/** What the stage needs for the whole run. */
export interface PolicyStageDeps {
  readonly config: TrainConfig;
  readonly model: Qwen2Model;
  readonly worker: RolloutWorker;
  /** Tasks that are practised. */
  readonly tasks: readonly Task[];
  readonly sink: RunSink;
  readonly now: () => number;
  readonly onInfluence?: OnInfluence | undefined;
}

/** Parts of the stage that remember something from one update to the next. */
interface Remembering {
  readonly gcd: Gcd | undefined;
  readonly correction: Correction | undefined;
}

export function policyStage(deps: PolicyStageDeps): Stage {
  const { grpo, eval: evaluation } = deps.config;
  const parts = openParts(deps);
  const { gcd, correction } = parts;
  return {
    name: "grpo",
    settings: grpo,
    needsReference: grpo.beta > 0,
    evaluateEvery: evaluation.every,
    update: (context) => iteration({ ...deps, ...parts, ...context }),
    instructions: () =>
      correction && correction.active.length > 0 ? (taskType) => correction.block(taskType) : undefined,
    save: async () => ({ gcd: (await gcd?.save()) ?? null, correction: correction?.save() ?? null }),
    restore: (saved) => {
      const { gcd: ofGcd, correction: ofCorrection } = saved as Record<"gcd" | "correction", Json>;
      if (ofGcd !== null) gcd?.restore(ofGcd);
      if (ofCorrection !== null) correction?.restore(ofCorrection);
    },
    release: () => gcd?.release(),
  };
}

function openParts(deps: PolicyStageDeps): Remembering {
  const { config, model, worker } = deps;
  const { tokenizer } = worker.prompts;
  return {
    gcd: config.gcd.enabled ? new Gcd({ config, model, worker }) : undefined,
    correction: config.correction.enabled
      ? new Correction({
          config,
          criticise: criticise({ config, model, worker, judge: openJudge(deps) }),
          tokensOf: (text) => tokenizer.encode(text).length,
        })
      : undefined,
  };
}

type Iteration = PolicyStageDeps & Remembering & UpdateContext;

/** @returns metrics under TRL's names where they exist */
async function iteration(work: Iteration): Promise<Record<string, number>> {
  const { config, gcd, correction, index, now } = work;
  const started = now();
  const { episodes, kept, statistics } = await sampleGroups(work);
  const rolledOut = now();
  const { success_reward } = config.grpo;
  const played = await anchoredRows(
    kept.flatMap(({ rows }) => rows.map((row) => ({ ...row, outcome: row.outcome * success_reward }))),
    config.grpo,
    (keyed) => decisionStates(work.model, keyed.map(sampleOf), config.grpo.tokens_per_micro_batch),
  );
  checkSameStart(played);
  const reference = await rewardReference(work, played);
  const advantages = estimateAdvantages(
    advantageRows(played, config.grpo, reference),
    advantageOptions(config.grpo),
  );
  const own = await withTokenWeights(
    work.model,
    played.map((row, at) => judgedRow(config, row, advantages, at)),
    config.grpo,
  );
  const { rows, metrics: hooked } = await hookedRows(work, own);
  const labelled = gcd || correction ? await labelRows(work, rows) : undefined;
  const judged = labelled && (await gcd?.rows(rows, labelled.labels, index));
  const labelledAt = now();
  const watched = isMeasured(config, index)
    ? await watchRows(config, work.learner, rows.filter(counts), index)
    : undefined;
  const watchedAt = now();
  const updates = await updatePolicy(
    { ...work, classification: gcd?.lossOptions(policyLoss(config)), head: gcd?.head },
    rows,
    judged?.rows ?? [],
  );
  const updatedAt = now();
  const coupling = watched && (await watchedMetrics(watched, work.learner));
  const measuring = watchedAt - labelledAt + now() - updatedAt;
  const lambda = gcd?.weight ?? 0;
  if (judged) gcd?.finish(judged);
  const verdictOf = verdictsOf(labelled?.labels ?? []);
  const corrected = await correct(work, rows, verdictOf);
  if (config.log.rollouts) {
    const played = rows.map((row) => rolloutRow(work.step, row, verdictOf(row)));
    const asked = (judged?.rows ?? []).map((row) => rolloutRow(work.step, row));
    await work.sink.rollouts(work.step, [...played, ...asked]);
  }
  return {
    ...policyMetrics(work, episodes, advantages, rows, updates, {
      rollout: rolledOut - started,
      update: now() - rolledOut - measuring,
    }),
    ...(reference && rewardKl(reference, config.grpo)),
    ...statistics,
    ...hooked,
    ...(coupling && { ...coupling, "perf/step_ms/coupling": measuring }),
    ...(labelled && labelMetrics(labelled.counts)),
    ...(judged && {
      ...judged.metrics,
      "gcd/lambda": lambda,
      "gcd/loss": updates.reduce((sum, { classification }) => sum + classification.loss, 0) / updates.length,
    }),
    ...(correction && corrected),
  };
}

/** The rows as hooks leave them, where there are any. */
async function hookedRows(
  { config, learner, step, onInfluence }: Iteration,
  rows: readonly PlayedRow[],
): Promise<{ readonly rows: readonly PlayedRow[]; readonly metrics: Readonly<Record<string, number>> }> {
  const { drop_harmful } = config.coupling;
  const hooks = [
    ...(drop_harmful > 0 ? [dropHarmful(drop_harmful)] : []),
    ...(onInfluence ? [onInfluence] : []),
  ];
  if (hooks.length === 0) return { rows, metrics: {} };
  return applyHooks(hooks, await influenceReport(learner, config, rows, step), rows);
}

/** Some token of the row has a weight. */
function counts(row: PlayedRow): boolean {
  return row.answer.some((_, t) => tokenFactor(row, t) > 0);
}

/**
 * Log-probabilities of the answers under both policies, where the reward needs them: by the same passes, since those of
 * sampling round otherwise, and a policy that is the reference has to pay exactly nothing.
 */
async function rewardReference(
  { learner, config, reference }: Iteration,
  rows: readonly PlayedRow[],
): Promise<ScoredAnswer[] | undefined> {
  if (!reference || config.grpo.kl_in === "loss") return undefined;
  const { temperature } = config.grpo;
  const [policy, fixed] = [
    await learner.score(rows, temperature),
    await learner.score(rows, temperature, reference),
  ];
  return policy.map((logProbs, row) => ({ logProbs, referenceLogProbs: fixed[row] }));
}

interface SampledGroups {
  /** All that were played. */
  readonly episodes: readonly Episode[];
  /** Those that are trained on: none that failed. */
  readonly kept: readonly Episode[];
  readonly statistics: Record<string, number>;
}

/** The groups of one iteration; with `filter_groups`, groups with contrast out of as many rollouts as it takes. */
async function sampleGroups(work: Iteration): Promise<SampledGroups> {
  const { filter_groups, filter_groups_max_batches, tasks_per_step } = work.config.grpo;
  const episodes = await rollOut(work, 0);
  const worked = () => episodes.filter(({ ended }) => ended !== "failed");
  if (!filter_groups) return { episodes, kept: worked(), statistics: {} };
  const select = () =>
    selectGroups(
      worked().flatMap(({ group, rows }) => rows.slice(0, 1).map(({ outcome }) => ({ group, outcome }))),
      tasks_per_step,
    );
  let batches = 1;
  for (; batches < filter_groups_max_batches && select().missing > 0; batches++) {
    episodes.push(...(await rollOut(work, batches)));
  }
  const { kept, dropped } = select();
  const groups = new Set(kept);
  return {
    episodes,
    kept: worked().filter(({ group }) => groups.has(group)),
    statistics: {
      "filter_groups/batches": batches,
      "filter_groups/dropped": dropped.length / (batches * tasks_per_step),
    },
  };
}

/** @param batch which rollout of the iteration; each draws its own tasks and samples */
async function rollOut(
  { config, worker, tasks, index, correction }: Iteration,
  batch: number,
): Promise<Episode[]> {
  const { tasks_per_step, num_generations, temperature, top_k, top_p, max_completion_length } = config.grpo;
  const suffix = batch === 0 ? "" : `, batch ${batch}`;
  const chosen = itemsOfStep(config.seed, `tasks${suffix}`, tasks, tasks_per_step, index);
  const requests = chosen.flatMap((task, place) => {
    const group = batch * tasks_per_step + place;
    return Array.from({ length: num_generations }, (_, member) => ({
      taskId: task.id,
      taskType: task.type,
      group,
      episode: group * num_generations + member,
    }));
  });
  return worker.play(requests, {
    ...playRules(config),
    maxSteps: config.world.max_steps,
    sampling: { temperature, topK: top_k, topP: top_p, maxNewTokens: max_completion_length },
    seed: config.seed,
    label: `grpo ${index}${suffix}`,
    instructions: correction && (({ taskType, group }) => correction.blockFor(taskType, index, group)),
  });
}

/** A played row with its advantage. */
function judgedRow({ grpo }: TrainConfig, row: PlayedRow, advantages: Advantages, index: number): PlayedRow {
  const isMasked = row.truncated && grpo.mask_truncated_completions;
  return {
    ...row,
    ...(isMasked && { mask: row.answer.map(() => 0) }),
    advantage: advantages.total[index],
    parts: Object.fromEntries(Object.entries(advantages.parts).map(([name, part]) => [name, part[index]])),
  };
}

/** Which of the actions were good and which bad, as the configuration wants to know it. */
async function labelRows({ config, worker }: Iteration, rows: readonly PlayedRow[]) {
  const { gcd, grpo, seed } = config;
  const { label_source: source, threshold, min_visits: minVisits, conflicts } = gcd;
  const critic = source === "critic" ? await expertVerdicts(worker.world, rows, seed) : undefined;
  return labelActions(rows, { source, threshold, minVisits, conflicts, gamma: grpo.gamma }, critic);
}

/** What each played action was labelled. */
function verdictsOf(labels: readonly LabelledAction[]): (row: PlayedRow) => Verdict | undefined {
  const verdicts = new Map(labels.map(({ state, action, verdict }) => [pairKey(state, action), verdict]));
  return (row) => verdicts.get(pairKey(stateOf(row), row.action));
}

/** Counts habits, and from time to time makes and retires instructions. */
async function correct(
  { correction, index, step }: Iteration,
  rows: readonly PlayedRow[],
  verdictOf: (row: PlayedRow) => Verdict | undefined,
): Promise<Record<string, number> | undefined> {
  if (!correction) return undefined;
  correction.observe(rows, verdictOf);
  return correction.refresh(index, step);
}
