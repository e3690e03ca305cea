/** What a peer gets of an iteration of ours: prompts, answers and rows, so that the world costs it nothing. */
import { microBatches } from "../src/rl/update/micro_batches.js";
import type { IterationWork } from "./iteration.js";
import type { Work } from "./measure.js";
import type { TrainingProblem } from "./workloads.js";

/** A row of the update, with the advantage and the loss weight of each answer token. */
interface PeerRow {
  readonly prompt: readonly number[];
  readonly answer: readonly number[];
  readonly advantages: readonly number[];
  readonly weights: readonly number[];
}

/** An iteration as it was played: what was asked together, and the rows of each micro-batch. */
export interface IterationProblem extends Pick<TrainingProblem, "config" | "weights" | "optimizer"> {
  readonly temperature: number;
  readonly clipLow: number;
  readonly clipHigh: number;
  readonly maxGradNorm: number;
  readonly batches: readonly {
    readonly prompts: readonly (readonly number[])[];
    readonly answers: readonly (readonly number[])[];
  }[];
  readonly microBatches: readonly (readonly PeerRow[])[];
  /** Of ours, to be held against: of each sampled token in order, and of the gradient before clipping. */
  readonly logProbs: readonly number[];
  readonly gradNorm: number;
  readonly sampledTokens: number;
}

/** What a peer finds for the answers of ours. */
export interface PeerFindings {
  /** While decoding token by token, in the order of the problem. */
  readonly logProbs: readonly number[];
  readonly gradNorm: number;
}

/** Plays and updates; `run` takes whole iterations. */
export interface PeerIteration extends Work {
  check(): Promise<PeerFindings>;
  /** Mean milliseconds of play and update since it was opened. */
  phases(): Promise<Readonly<Record<string, number>>>;
  release(): void | Promise<void>;
}

/** The last iteration of a work as a problem for peers. @throws Error when it made other than one update */
export async function iterationProblem(work: IterationWork): Promise<IterationProblem> {
  const { record, config, model, sampledTokens } = work;
  const [update, ...more] = record.updates;
  if (!update || more.length > 0)
    throw new Error(`expected one update an iteration, got ${record.updates.length}`);
  const { grpo } = config;
  const { config: shape } = model;
  return {
    config: {
      layers: shape.num_hidden_layers,
      C: shape.hidden_size,
      H: shape.num_attention_heads,
      Kv: shape.num_key_value_heads,
      F: shape.intermediate_size,
      V: shape.vocab_size,
      epsilon: shape.rms_norm_eps,
      theta: shape.rope_theta,
    },
    weights: await work.weights(),
    optimizer: {
      learningRate: 0,
      beta1: grpo.adam_beta1,
      beta2: grpo.adam_beta2,
      epsilon: grpo.adam_epsilon,
      weightDecay: grpo.weight_decay,
    },
    temperature: grpo.temperature,
    clipLow: grpo.epsilon,
    clipHigh: grpo.epsilon_high ?? grpo.epsilon,
    maxGradNorm: grpo.max_grad_norm,
    batches: record.batches.map(({ prompts, answers }) => ({
      prompts,
      answers: answers.map(({ tokens }) => tokens),
    })),
    microBatches: microBatches(update.rows, grpo.tokens_per_micro_batch).map(({ first, end }) =>
      update.selected.slice(first, end).map(({ advantages, weights }, index) => {
        const { prompt, answer } = update.rows[first + index];
        return { prompt, answer, advantages, weights };
      }),
    ),
    logProbs: record.batches.flatMap(({ answers }) => answers.flatMap(({ logProbs }) => logProbs)),
    gradNorm: record.gradNorm,
    sampledTokens,
  };
}

/** Nats, and share of the gradient's norm. */
const ALLOWED = { logProb: 2e-3, gradNorm: 1e-2 } as const;

/** What is wrong with a peer's iteration, as a sentence. */
export function iterationMismatch(found: PeerFindings, expected: IterationProblem): string | undefined {
  const { logProbs, gradNorm } = expected;
  if (found.logProbs.length !== logProbs.length)
    return `another number of tokens: got ${found.logProbs.length}, expected ${logProbs.length}`;
  const wrong = logProbs.findIndex((value, t) => !(Math.abs(found.logProbs[t] - value) <= ALLOWED.logProb));
  if (wrong >= 0)
    return `another log-probability of token ${wrong}: got ${found.logProbs[wrong]}, expected ${logProbs[wrong]} within ${ALLOWED.logProb}`;
  if (!(Math.abs(found.gradNorm / gradNorm - 1) <= ALLOWED.gradNorm))
    return `another gradient: got norm ${found.gradNorm}, expected ${gradNorm} within ${100 * ALLOWED.gradNorm} %`;
  return undefined;
}
