/**
 * The classification stream of an update: labels of what was played, balanced questions, verdicts, and the rows that go
 * through the policy loss beside the played ones. Generative Classification Disentanglement (2509.23870); everything that the
 * paper leaves open is our reconstruction (RECON).
 */
import type { TrainConfig } from "../../config/schema.js";
import { hashText } from "../../core/hash.js";
import { Random } from "../../core/random.js";
import { mean } from "../../core/statistics.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import type { ActionSampler } from "../play/sampler.js";
import type { PlayedRow, Row } from "../rows.js";
import type { Judge, Question } from "./judge.js";
import type { LabelledAction } from "./labels.js";
import { balancedPairs, type Candidate } from "./pairs.js";
import type { ValueHead } from "./value_head.js";
import {
  directAdvantage,
  type JudgeQuality,
  judgeQuality,
  sampledAdvantages,
  type VerdictProbabilities,
  verdictEntropy,
  verdictProbabilities,
  verdictReward,
} from "./verdicts.js";

/** What the stream works with. */
export interface StreamDeps {
  readonly config: TrainConfig;
  readonly judge: Judge;
  readonly model: Qwen2Model;
  /** Judges in the place of the policy's tokens, where the configuration asks for it. */
  readonly head?: Pick<ValueHead, "probabilities">;
  /** Answers questions in `think` mode. */
  readonly sampler: ActionSampler;
  readonly endToken: number;
}

/** One update's share of the stream. */
export interface StreamInput {
  readonly rows: readonly PlayedRow[];
  readonly labels: readonly LabelledAction[];
  /** Number of the update within its stage: names the random streams. */
  readonly index: number;
  /** False: the questions are asked for the metrics alone, and make no rows. */
  readonly isTrained: boolean;
  readonly similarity?: (good: LabelledAction, bad: LabelledAction) => number | undefined;
}

export interface StreamResult {
  /** Rows of the kind `classification`, in pairs of questions; none where the update has no pair, or does not train on it. */
  readonly rows: readonly Row[];
  /** On training tasks, before the update; undefined where a class is missing. */
  readonly quality: JudgeQuality | undefined;
  readonly metrics: Readonly<Record<string, number>>;
}

/** One question in this many tasks is asked without training on it: tells whether the judge generalises. */
const HELD_OUT_ONE_IN = 5;

/** Whether the actions of a task are judged for the metrics only. A property of the task: it never changes. */
export function isHeldOut(taskId: string): boolean {
  return hashText(`held out ${taskId}`) % HELD_OUT_ONE_IN === 0;
}

/** A candidate with the question about it. */
interface Posed {
  readonly candidate: Candidate;
  readonly question: Question;
}

/** The same with what the judge thinks. */
interface Asked extends Posed {
  readonly probabilities: VerdictProbabilities;
}

export async function classificationStream(deps: StreamDeps, input: StreamInput): Promise<StreamResult> {
  const { gcd, seed } = deps.config;
  const random = Random.of(seed, "gcd", input.index);
  const [trained, heldOut] = [false, true].map((held) =>
    input.labels.filter(({ row }) => isHeldOut(row.taskId) === held),
  );
  const asked = await ask(deps, capped(deps, input.rows, choose(deps, input, trained, random)));
  const others = await ask(deps, choose(deps, input, heldOut, random));
  const labelled = gcd.shuffle_labels ? shuffledLabels(asked, random) : asked;
  const taught = input.isTrained ? labelled : [];
  const rows =
    gcd.mode === "direct" ? directRows(deps, taught) : await sampledRows(deps, taught, input.index);
  const quality = qualityOf(asked);
  return { rows, quality, metrics: metricsOf({ asked, others, quality, rows, played: input.rows }) };
}

function choose(
  { config: { gcd }, judge }: StreamDeps,
  { similarity }: StreamInput,
  labels: readonly LabelledAction[],
  random: Random,
): Posed[] {
  const candidates = balancedPairs(
    labels,
    {
      perState: Math.floor(gcd.max_per_state / 2),
      perTask: gcd.max_per_task,
      perEpisode: gcd.max_per_episode,
      most: gcd.max_pairs,
      acrossStates: gcd.across_states,
      similarity,
    },
    random,
  );
  return candidates.map((candidate) => ({ candidate, question: judge.ask(candidate.row, candidate.action) }));
}

/** Whole pairs, as many as the share of tokens allows. */
function capped(
  { config: { gcd } }: StreamDeps,
  rows: readonly PlayedRow[],
  posed: readonly Posed[],
): Posed[] {
  const allowed = gcd.max_token_share * tokensOf(rows);
  const copies = gcd.mode === "direct" ? 1 : gcd.num_generations;
  const answer = gcd.mode === "direct" ? 1 : gcd.max_completion_length;
  let spent = 0;
  const kept: Posed[] = [];
  for (let at = 0; at < posed.length; at += 2) {
    const pair = posed.slice(at, at + 2);
    for (const { question } of pair) spent += copies * (question.tokens.length + answer);
    if (spent > allowed) break;
    kept.push(...pair);
  }
  return kept;
}

function tokensOf(rows: readonly Pick<Row, "prompt" | "answer">[]): number {
  return rows.reduce((sum, { prompt, answer }) => sum + prompt.length + answer.length, 0);
}

async function ask(deps: StreamDeps, posed: readonly Posed[]): Promise<Asked[]> {
  const { judge, config, model, head } = deps;
  const prompts = posed.map(({ question }) => question.tokens);
  const { temperature, tokens_per_micro_batch: tokensPerMicroBatch } = config.grpo;
  const tokens = judge.verdictTokens;
  const probabilities = head
    ? await head.probabilities(prompts, tokensPerMicroBatch)
    : await verdictProbabilities(model, prompts, { tokens, temperature, tokensPerMicroBatch });
  return posed.map((one, at) => ({ ...one, probabilities: probabilities[at] }));
}

/** The control: the same questions and as many labels of each class, dealt out anew. */
function shuffledLabels(asked: readonly Asked[], random: Random): Asked[] {
  const labels = random.shuffle(asked.map(({ candidate }) => candidate.verdict));
  return asked.map((one, at) => ({ ...one, candidate: { ...one.candidate, verdict: labels[at] } }));
}

/** Columns that a question's rows share. */
function questionRow({ candidate, question }: Asked, group: number): Omit<Row, "answer"> {
  const { row, action, verdict } = candidate;
  return {
    kind: "classification",
    group,
    episode: 0,
    step: row.step,
    taskId: row.taskId,
    taskType: row.taskType,
    prompt: question.tokens,
    text: question.text,
    observation: row.observation,
    anchorKey: row.anchorKey,
    action,
    verdict,
  };
}

function directRows({ config: { gcd }, judge }: StreamDeps, asked: readonly Asked[]): Row[] {
  return asked.map((one, group) => {
    const { verdict } = one.candidate;
    const p = one.probabilities[verdict];
    const advantage = directAdvantage(p, gcd.loss, gcd.standardise);
    return {
      ...questionRow(one, group),
      answer: [judge.verdictTokens[verdict]],
      logProbs: [Math.log(p)],
      advantage,
      parts: { classification: advantage },
    };
  });
}

async function sampledRows(deps: StreamDeps, asked: readonly Asked[], index: number): Promise<Row[]> {
  const { config, judge, sampler, endToken } = deps;
  const { gcd, grpo, seed } = config;
  const K = gcd.num_generations;
  const answers = await sampler.generate(
    asked.flatMap(({ question }, group) =>
      Array.from({ length: K }, (_, member) => ({
        prompt: question.tokens,
        stream: hashText(`gcd ${index}/${group}/${member}`),
      })),
    ),
    {
      temperature: grpo.temperature,
      maxNewTokens: gcd.max_completion_length,
      endTokens: [endToken],
      seed,
    },
  );
  return asked.flatMap((one, group) => {
    const own = answers.slice(group * K, (group + 1) * K);
    const rewards = own.map(({ tokens, finished }) =>
      verdictReward(judge.parse(tokens, finished), one.candidate.verdict, gcd.unparsable_penalty),
    );
    const advantages = sampledAdvantages(rewards, gcd.standardise);
    return own.map(
      ({ tokens, logProbs, finished }, member): Row => ({
        ...questionRow(one, group),
        episode: member,
        answer: tokens,
        logProbs,
        valid: judge.parse(tokens, finished) !== undefined,
        truncated: !finished,
        outcome: rewards[member],
        advantage: advantages[member],
        parts: { classification: advantages[member] },
      }),
    );
  });
}

function qualityOf(asked: readonly Asked[]): JudgeQuality | undefined {
  return judgeQuality(
    asked.map(({ candidate, probabilities: { good, bad } }) => ({
      label: candidate.verdict,
      said: good === bad ? undefined : good > bad ? "good" : "bad",
    })),
  );
}

function metricsOf(of: {
  readonly asked: readonly Asked[];
  readonly others: readonly Asked[];
  readonly quality: JudgeQuality | undefined;
  readonly rows: readonly Row[];
  readonly played: readonly PlayedRow[];
}): Record<string, number> {
  const { asked, others, quality, rows, played } = of;
  const admissible = qualityOf(asked.filter(({ candidate }) => candidate.admissible));
  const heldOut = qualityOf(others);
  const accuracy = (name: string, one: JudgeQuality | undefined): Record<string, number> =>
    one ? { [name]: one.balancedAccuracy } : {};
  const spent = tokensOf(rows);
  return {
    "gcd/questions": asked.length,
    "gcd/skipped": Number(asked.length === 0),
    ...accuracy("gcd/balanced_accuracy", quality),
    ...(quality && { "gcd/recall_good": quality.recall.good, "gcd/recall_bad": quality.recall.bad }),
    ...accuracy("gcd/balanced_accuracy_admissible", admissible),
    ...accuracy("gcd/balanced_accuracy_held_out", heldOut),
    "gcd/verdict_entropy": mean(asked.map(({ probabilities }) => verdictEntropy(probabilities))),
    "gcd/verdict_mass": mean(asked.map(({ probabilities: { good, bad } }) => good + bad)),
    "gcd/token_share": spent / Math.max(1, spent + tokensOf(played)),
  };
}
