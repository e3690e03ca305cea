/** Updates of a policy in float64 on the host: losses as their formulas stand, every token by itself, and AdamW. */
import { type ReferenceConfig, type ReferenceWeights, referenceScore } from "./reference_qwen2.js";
import { constant, differentiate, exp, minus, plus, power, type Scalar, scaled, total } from "./scalars.js";

export type Weights = ReadonlyMap<string, ArrayLike<number>>;

/** What AdamW needs, under the names of a stage's settings. */
export interface OptimizerSettings {
  readonly max_grad_norm: number;
  readonly weight_decay: number;
  readonly adam_beta1: number;
  readonly adam_beta2: number;
  readonly adam_epsilon: number;
}

export interface AnswerRow {
  readonly prompt: readonly number[];
  readonly answer: readonly number[];
}

/** Scores of the tokens after the first `from`, under weights to differentiate by. */
function scoresFrom(
  config: ReferenceConfig,
  weights: ReferenceWeights,
  row: AnswerRow,
  from: number,
  temperature = 1,
) {
  const { logProbs, entropy } = referenceScore(config, weights, [...row.prompt, ...row.answer], temperature);
  return { logProbs: logProbs.slice(from - 1), entropy: entropy.slice(from - 1) };
}

function scalarsOf(weights: Weights): Map<string, Scalar[]> {
  return new Map([...weights].map(([name, values]) => [name, Array.from(values, constant)]));
}

/** Log-probabilities of an answer, as numbers. */
export function answerLogProbs(
  config: ReferenceConfig,
  weights: Weights,
  row: AnswerRow,
  temperature: number,
): number[] {
  const scalars = scalarsOf(weights);
  const { logProbs } = scoresFrom(
    config,
    (name) => scalars.get(name) as Scalar[],
    row,
    row.prompt.length,
    temperature,
  );
  return logProbs.map(({ value }) => value);
}

/** Mean over answer tokens of -log p, and `promptWeight` times the sum over prompt tokens, over the same count. */
export function imitationLoss(
  config: ReferenceConfig,
  weights: ReferenceWeights,
  rows: readonly AnswerRow[],
  promptWeight: number,
): Scalar {
  const tokens = rows.reduce((sum, { answer }) => sum + answer.length, 0);
  const terms = rows.flatMap((row) => {
    const { logProbs } = scoresFrom(config, weights, row, 1);
    const prompt = row.prompt.length - 1;
    return logProbs.map((logProb, t) => scaled(logProb, (t < prompt ? -promptWeight : -1) / tokens));
  });
  return total(terms);
}

export interface PolicyRow extends AnswerRow {
  readonly advantage: number;
  /** 0 leaves the token out. */
  readonly mask: readonly number[];
  /** Under the behaviour policy. */
  readonly old: readonly number[];
  readonly reference: readonly number[];
}

export interface PolicyLossSettings {
  readonly temperature: number;
  readonly epsilon: number;
  readonly epsilon_high: number;
  readonly delta: number;
  readonly beta: number;
  readonly kl_estimator: "k1" | "k2" | "k3";
  readonly entropy_coef: number;
  readonly loss_aggregation: "token_mean" | "sequence_mean" | "sequence_sum";
  readonly max_completion_length: number;
}

/** GRPO: clipped surrogate with a dual clip, KL to a reference policy, entropy bonus. */
export function policyLoss(
  config: ReferenceConfig,
  weights: ReferenceWeights,
  rows: readonly PolicyRow[],
  settings: PolicyLossSettings,
): Scalar {
  const counts = rows.map(({ mask }) => mask.filter((value) => value > 0).length);
  const tokens = counts.reduce((sum, count) => sum + count, 0);
  const sequences = counts.filter((count) => count > 0).length;
  const terms = rows.flatMap((row, index) => {
    const { logProbs, entropy } = scoresFrom(config, weights, row, row.prompt.length, settings.temperature);
    const weight = {
      token_mean: 1 / tokens,
      sequence_mean: 1 / (sequences * counts[index]),
      sequence_sum: 1 / (sequences * settings.max_completion_length),
    }[settings.loss_aggregation];
    return row.mask.flatMap((mask, t) => {
      if (mask === 0) return [];
      const ratio = exp(minus(logProbs[t], constant(row.old[t])));
      return [
        scaled(surrogate(ratio, row.advantage, settings), -weight),
        scaled(
          divergence(minus(constant(row.reference[t]), logProbs[t]), settings.kl_estimator),
          settings.beta * weight,
        ),
        scaled(entropy[t], -settings.entropy_coef * weight),
      ];
    });
  });
  return total(terms);
}

/** min(r A, clip(r) A), and at least delta A where A is negative. */
function surrogate(ratio: Scalar, A: number, { epsilon, epsilon_high, delta }: PolicyLossSettings): Scalar {
  const clipped = Math.min(1 + epsilon_high, Math.max(1 - epsilon, ratio.value));
  const least = ratio.value * A <= clipped * A ? scaled(ratio, A) : constant(clipped * A);
  return A < 0 && least.value < delta * A ? constant(delta * A) : least;
}

/** Estimates of KL(policy || reference) from d = log reference - log policy. */
function divergence(d: Scalar, kind: PolicyLossSettings["kl_estimator"]): Scalar {
  if (kind === "k1") return scaled(d, -1);
  if (kind === "k2") return scaled(power(d, 2), 0.5);
  return minus(exp(d), plus(d, constant(1)));
}

/** AdamW from the start of a stage. */
export class Float64Optimizer {
  readonly #first = new Map<string, Float64Array>();
  readonly #second = new Map<string, Float64Array>();
  #steps = 0;

  /** @param decays whether weight decay applies to the parameter of a name */
  constructor(
    readonly settings: OptimizerSettings,
    readonly decays: (name: string) => boolean,
  ) {}

  /** @returns the weights after a step down the loss */
  step(
    weights: Weights,
    rate: number,
    loss: (weights: ReferenceWeights) => Scalar,
  ): Map<string, Float64Array> {
    const { max_grad_norm, weight_decay, adam_beta1, adam_beta2, adam_epsilon } = this.settings;
    const scalars = scalarsOf(weights);
    differentiate(loss((name) => scalars.get(name) as Scalar[]));
    const squares = [...scalars.values()].flat().map(({ grad }) => grad ** 2);
    const norm = Math.sqrt(squares.reduce((sum, square) => sum + square, 0));
    const clip = Math.min(1, max_grad_norm / norm);
    this.#steps++;
    const after = new Map<string, Float64Array>();
    for (const [name, values] of scalars) {
      const first = this.#moments(this.#first, name, values.length);
      const second = this.#moments(this.#second, name, values.length);
      const decay = this.decays(name) ? 1 - rate * weight_decay : 1;
      const moved = values.map(({ value, grad }, i) => {
        const g = clip * grad;
        first[i] = adam_beta1 * first[i] + (1 - adam_beta1) * g;
        second[i] = adam_beta2 * second[i] + (1 - adam_beta2) * g * g;
        const m = first[i] / (1 - adam_beta1 ** this.#steps);
        const v = second[i] / (1 - adam_beta2 ** this.#steps);
        return decay * value - (rate * m) / (Math.sqrt(v) + adam_epsilon);
      });
      after.set(name, Float64Array.from(moved));
    }
    return after;
  }

  #moments(of: Map<string, Float64Array>, name: string, size: number): Float64Array {
    const moments = of.get(name) ?? new Float64Array(size);
    of.set(name, moments);
    return moments;
  }
}
