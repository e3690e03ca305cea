/** How sure the policy is of each verdict, and the advantages that follow. RECON, but for the formulas of GRPO. */
import { Tape } from "../../autograd/tape.js";
import { mean, standardDeviation } from "../../core/statistics.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import { microBatches } from "../update/micro_batches.js";
import type { Verdict } from "./labels.js";

/** Probabilities of the two verdicts as next token; what other tokens have is missing from their sum. */
export type VerdictProbabilities = Readonly<Record<Verdict, number>>;

export interface VerdictScoring {
  readonly tokens: Readonly<Record<Verdict, number>>;
  /** Divides the logits. */
  readonly temperature: number;
  readonly tokensPerMicroBatch: number;
}

/** Both verdicts' probabilities after each prompt, from one forward pass. */
export async function verdictProbabilities(
  model: Qwen2Model,
  prompts: readonly (readonly number[])[],
  { tokens, temperature, tokensPerMicroBatch }: VerdictScoring,
): Promise<VerdictProbabilities[]> {
  const rows = prompts.map((prompt) => ({ prompt, answer: [tokens.good] }));
  const results: VerdictProbabilities[] = [];
  for (const { packed, index } of microBatches(rows, tokensPerMicroBatch)) {
    const tape = new Tape(model.launcher, { record: false, activations: model.activations });
    const hidden = model.hidden(tape, model.batch(tape, packed));
    // both are asked for at the same place
    const places = Uint32Array.from([...index, ...index]);
    const targets = Uint32Array.from(places, (_, at) => (at < index.length ? tokens.good : tokens.bad));
    const { log_prob } = model.score(tape, hidden, places, targets, temperature);
    const values = (await log_prob.read()) as Float32Array;
    tape.release();
    index.forEach((_, at) => {
      results.push({ good: Math.exp(values[at]), bad: Math.exp(values[at + index.length]) });
    });
  }
  return results;
}

export const GCD_LOSSES = ["grpo", "ce", "mixed"] as const;
export type GcdLoss = (typeof GCD_LOSSES)[number];

/** Added to the standard deviation. @source as in the policy's advantages */
const EPSILON = 1e-4;

/**
 * Advantage of the right verdict for which one step up its log-probability is the exact expected gradient. The reward is 1
 * for the right verdict and 0 for any other token, p its probability. Since sum over tokens of p grad log p = 0,
 *
 *     E[(r - p) grad log pi] = p grad log p
 *
 * so the advantage is p / sigma with sigma = sqrt(p (1 - p)) (`grpo`, standardised), p (`grpo`, not standardised), 1 (`ce`:
 * cross entropy, which has a gradient where p is near 0, too), or the mean of the first and the last (`mixed`).
 */
export function directAdvantage(p: number, loss: GcdLoss, standardise: boolean): number {
  const grpo = standardise ? p / (Math.sqrt(p * (1 - p)) + EPSILON) : p;
  if (loss === "grpo") return grpo;
  return loss === "ce" ? 1 : (grpo + 1) / 2;
}

/** Reward of a sampled verdict: 1 where right, 0 where wrong, `-penalty` where there is none. */
export function verdictReward(said: Verdict | undefined, label: Verdict, penalty: number): number {
  if (said === undefined) return -penalty;
  return said === label ? 1 : 0;
}

/** GRPO's advantages of the K sampled verdicts on one question. @source 2402.03300, 4.1.2, with the N - 1 deviation */
export function sampledAdvantages(rewards: readonly number[], standardise: boolean): number[] {
  const centre = mean(rewards);
  const scale = standardise ? standardDeviation(rewards) + EPSILON : 1;
  return rewards.map((reward) => (reward - centre) / scale);
}

/** What the judge got right, by class. */
export interface JudgeQuality {
  /** Mean of the two recalls. */
  readonly balancedAccuracy: number;
  readonly recall: Readonly<Record<Verdict, number>>;
  readonly questions: number;
}

/** @returns undefined where one of the classes was not asked about */
export function judgeQuality(
  answers: readonly { readonly label: Verdict; readonly said: Verdict | undefined }[],
): JudgeQuality | undefined {
  const recallOf = (label: Verdict) => {
    const asked = answers.filter((answer) => answer.label === label);
    return asked.length > 0 ? asked.filter(({ said }) => said === label).length / asked.length : undefined;
  };
  const [good, bad] = [recallOf("good"), recallOf("bad")];
  if (good === undefined || bad === undefined) return undefined;
  return { balancedAccuracy: (good + bad) / 2, recall: { good, bad }, questions: answers.length };
}

/** Entropy of the two-way verdict, the two probabilities scaled to 1; natural logarithm. */
export function verdictEntropy({ good, bad }: VerdictProbabilities): number {
  const p = good / (good + bad);
  return [p, 1 - p].reduce((sum, share) => (share > 0 ? sum - share * Math.log(share) : sum), 0);
}
