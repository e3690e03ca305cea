/**
 * What exact policy gradient does to a softmax over the actions of one state, with no other state involved. Punishing a
 * likely action moves its mass to the others, mildly flawed ones included (the squeezing effect); the numbers here say how
 * much of a rise is due to that, and must not be called coupling.
 */
import { ArgumentError } from "../../core/errors.js";
import { requireFinite, requireLength } from "./checks.js";

/**
 * First-order change of every log-probability per unit of learning rate, by the exact gradient of sum_k pi_k A_k on the
 * logits: pi_k A_k - sum_j pi_j^2 A_j, where advantages are about the mean of the policy, sum_j pi_j A_j = 0.
 * @param policy [K], probabilities that add up to 1
 * @param advantages [K]
 * @returns [K]
 * @source Ren & Sutherland 2407.10490 for the effect; this closed form is the softmax's gradient
 */
export function softmaxChange(policy: ArrayLike<number>, advantages: ArrayLike<number>): Float64Array {
  requirePolicy(policy);
  requireLength("advantages", advantages, policy.length);
  requireFinite("advantages", advantages);
  let common = 0;
  for (let j = 0; j < policy.length; j++) common += policy[j] ** 2 * advantages[j];
  return Float64Array.from({ length: policy.length }, (_, k) => policy[k] * advantages[k] - common);
}

/** A_k = Q_k - sum_j pi_j Q_j. */
export function policyAdvantages(policy: ArrayLike<number>, values: ArrayLike<number>): Float64Array {
  requirePolicy(policy);
  requireLength("values", values, policy.length);
  let average = 0;
  for (let j = 0; j < policy.length; j++) average += policy[j] * values[j];
  return Float64Array.from({ length: policy.length }, (_, k) => values[k] - average);
}

/**
 * Follows the logits of one state by steps of z_k += rate pi_k A_k.
 * @param start [K], probabilities above 0
 * @param values [K], expected return of each action
 * @returns probabilities before the first step and after each: `steps` + 1 lists
 */
export function softmaxTrajectory(
  start: ArrayLike<number>,
  values: ArrayLike<number>,
  rate: number,
  steps: number,
): Float64Array[] {
  requirePolicy(start);
  const logits = Float64Array.from(start, Math.log);
  requireFinite("logarithms of the start", logits);
  const path: Float64Array[] = [Float64Array.from(start)];
  for (let step = 0; step < steps; step++) {
    const policy = path[step];
    const advantages = policyAdvantages(policy, values);
    for (let k = 0; k < logits.length; k++) logits[k] += rate * policy[k] * advantages[k];
    path.push(softmax(logits));
  }
  return path;
}

function softmax(logits: Float64Array): Float64Array {
  const most = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp(logit - most));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

function requirePolicy(policy: ArrayLike<number>): void {
  const sum = Array.from(policy).reduce((total, share) => total + share, 0);
  if (Array.from(policy).every((share) => share >= 0) && Math.abs(sum - 1) < 1e-6) return;
  throw new ArgumentError(
    `[coupling] not a policy: got probabilities that add up to ${sum}, expected 1 and none below 0. Pass all actions.`,
  );
}
