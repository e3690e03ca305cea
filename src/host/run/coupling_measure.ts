/** Measures the coupling of an update's samples under one policy, and holds the prediction against real steps. */
import type { DistinctSample } from "../../coupling/analysis/batch.js";
import { classCosines } from "../../coupling/analysis/class_cosines.js";
import { couplingDocument, type MeasuredBatch } from "../../coupling/analysis/document.js";
import { influence } from "../../coupling/analysis/influence.js";
import { agreement, leaveOneOutPrediction } from "../../coupling/analysis/leave_one_out.js";
import { directions } from "../../coupling/directions.js";
import { perSampleGram } from "../../coupling/gram.js";
import { backwardOf } from "../../coupling/ground_truth/passes.js";
import { leaveOneOutChanges, plainStepChanges, rateFor } from "../../coupling/ground_truth/real_steps.js";
import type {
  CosinesByState,
  CouplingAgreement,
  CouplingDocument,
  TokenHeat,
} from "../../report/coupling_document.js";
import { actionTokenMask } from "../../rl/play/action_tokens.js";
import { throughOptimiser } from "./coupling_optimiser.js";
import { stateViews } from "./coupling_states.js";
import type { RunPolicy } from "./run_policy.js";

/** Gram and log-probabilities of samples, from whatever computes them. */
export interface MeasuredGram {
  /** [S, S], row-major: of all parameters, and of each by Hugging Face name. */
  readonly gram: Float64Array;
  readonly layers: Readonly<Record<string, Float64Array>>;
  readonly logProbs: Float64Array;
}

export interface MeasureRequest {
  readonly policy: RunPolicy;
  readonly samples: readonly DistinctSample[];
  readonly measured: MeasuredGram;
  readonly passport: CouplingDocument["passport"];
  /** What all rows of the update say, those without advantage too. */
  readonly rows: Pick<MeasuredBatch, "repeats" | "sharedTokens" | "stateAction">;
  /** Bytes of GPU memory for a second Gram; undefined = no limit. */
  readonly budgetBytes: number | undefined;
  /** Also leave samples out. */
  readonly verify: boolean;
}

/** Largest change of log-probability of the plain step that is measured, in nats. */
const STEP_NATS = 0.01;
/** Samples that are left out in turn. */
const LEFT_OUT = 8;

/** @returns the analysis; the policy's weights are as before */
export async function measureCoupling(request: MeasureRequest): Promise<CouplingDocument> {
  const { policy, samples, measured, passport, verify } = request;
  const { gram, layers, logProbs } = measured;
  const advantages = samples.map(({ advantage }) => advantage);
  const weights = samples.map(({ weight }) => weight);
  const { total, inversions } = influence(gram, advantages, { weights });
  const rate = rateFor(total, STEP_NATS);
  const step = {
    model: policy.model,
    samples,
    coefficients: advantages.map((advantage, i) => weights[i] * advantage),
  };
  const changes = await plainStepChanges(step, rate);
  const predicted = total.map((value) => rate * value);
  const optimiser = await throughOptimiser(policy, step, request.budgetBytes);
  const agreements: CouplingAgreement[] = [
    { what: "plain gradient step", ...agreement(predicted, changes) },
    ...(verify ? [await leaveOneOut(step, measured, samples, rate, changes)] : []),
    {
      what: "AdamW's step, products with its actual update",
      ...agreement(optimiser.predicted, optimiser.realised),
    },
    {
      what: "AdamW's step, raw K in place of the update (slope has no meaning)",
      ...agreement(total, optimiser.realised),
    },
  ];
  const shown = inversions.reduce<number>(
    (most, j) => (total[j] > total[most] ? j : most),
    inversions[0] ?? 0,
  );
  return couplingDocument({
    ...{ name: policy.name, passport, samples, gram, layers, logProbs, agreements, optimiser },
    ...(await stateViews(policy, samples, { raw: total, optimiser: optimiser.predicted })),
    ...request.rows,
    actionTokens: await actionCosines(request),
    realised: Array.from(changes, (value) => (rate > 0 ? value / rate : 0)),
    tokenHeat: await tokenHeatOf(policy, samples, step.coefficients, shown),
  });
}

/**
 * Cosines by class of the gradients of the action's tokens alone: thoughts and tags that all answers share make whole answers
 * look alike.
 * @returns undefined where every token counts anyway
 */
async function actionCosines({
  policy: { model, tokenizer, config },
  samples,
  budgetBytes,
}: MeasureRequest): Promise<CosinesByState | undefined> {
  const { answer } = config.prompt;
  if (answer === "command") return undefined;
  const decode = (tokens: readonly number[]) => tokenizer.decode(tokens, { skipSpecialTokens: true });
  const masked = samples.map((sample) => {
    const mask = actionTokenMask(sample.tokens.slice(sample.responseStart), decode, answer);
    return { ...sample, weights: sample.weights.map((weight, t) => weight * mask[t]) };
  });
  const { gram } = await perSampleGram(model, masked, { budgetBytes });
  return classCosines(
    gram,
    samples.map(({ advantage }) => advantage),
    samples.map(({ state }) => state),
  );
}

type Step = Parameters<typeof plainStepChanges>[0];

async function leaveOneOut(
  step: Step,
  { gram }: MeasuredGram,
  samples: readonly DistinctSample[],
  rate: number,
  whole: Float64Array,
): Promise<CouplingAgreement> {
  const advantages = samples.map(({ advantage }) => advantage);
  const options = { weights: samples.map(({ weight }) => weight), learningRate: rate };
  const [predicted, realised]: [number[], number[]] = [[], []];
  const count = Math.min(LEFT_OUT, samples.length);
  for (let turn = 0; turn < count; turn++) {
    const left = Math.floor((turn * samples.length) / count);
    predicted.push(...leaveOneOutPrediction(gram, advantages, left, options));
    realised.push(...(await leaveOneOutChanges(step, rate, left, whole)));
  }
  return { what: `plain step without one of ${count} samples in turn`, ...agreement(predicted, realised) };
}

/** Tokens shown at most. */
const HEAT_TOKENS = 64;

/** What the whole update does to each token of one sample. */
async function tokenHeatOf(
  { model, tokenizer }: RunPolicy,
  samples: readonly DistinctSample[],
  coefficients: readonly number[],
  shown: number,
): Promise<TokenHeat> {
  backwardOf(model, samples, coefficients);
  const sample = samples[shown];
  const response = sample.tokens.slice(sample.responseStart).slice(0, HEAT_TOKENS);
  const single = response.map((_, t) => ({
    ...sample,
    weights: sample.weights.map((weight, at) => (at === t ? weight : 0)),
  }));
  const { dots } = await directions(model, single, [(name) => model.trained.get(name).grad]);
  return {
    sample: shown,
    what: "Predicted change of each token's log-probability by the whole update, per unit of learning rate.",
    tokens: response.map((token, t) => ({ text: tokenizer.decode([token]), value: dots[t] })),
  };
}
