/** Hidden states of an update's samples: what they say of good and bad actions, and which answers hold others down. */

import type { DistinctSample } from "../../coupling/analysis/batch.js";
import { goodAnswers } from "../../coupling/analysis/group_scores.js";
import type { LabelledStates } from "../../coupling/analysis/representation.js";
import { centroids, linearProbe, principalPlane } from "../../coupling/analysis/representation.js";
import { type ResponseStates, responseStates } from "../../coupling/ground_truth/response_states.js";
import type { GoodAnswers, RepresentationView } from "../../report/coupling_document.js";
import { actionTokenMask } from "../../rl/play/action_tokens.js";
import type { RunPolicy } from "./run_policy.js";

export interface StateViews {
  readonly views: readonly RepresentationView[];
  readonly goodAnswers: GoodAnswers;
}

/** Seed of the probe's split and shuffles. */
const SEED = 0;

/**
 * Two places of each answer: where the first token of its action is chosen, which knows the state and nothing of the action; and
 * where the whole action has been read.
 * @param changes one a sample, predicted, of a plain step and of the optimiser's
 */
export async function stateViews(
  { model, tokenizer, config }: RunPolicy,
  samples: readonly DistinctSample[],
  changes: { readonly raw: ArrayLike<number>; readonly optimiser: ArrayLike<number> },
): Promise<StateViews> {
  const read = await responseStates(model, samples);
  const decode = (tokens: readonly number[]) => tokenizer.decode(tokens, { skipSpecialTokens: true });
  const width = model.config.hidden_size;
  const [before, after]: [Float32Array[], Float32Array[]] = [[], []];
  read.forEach((states, i) => {
    const answer = samples[i].tokens.slice(samples[i].responseStart);
    const mask = actionTokenMask(answer, decode, config.prompt.answer);
    const [first, last] = [mask.indexOf(1), lastWord(answer, mask, decode)];
    before.push(stateAt(states, Math.max(0, first), width));
    after.push(stateAt(states, last + 1, width));
  });
  const view = (what: string, hidden: readonly Float32Array[]): RepresentationView => {
    const data: LabelledStates = {
      hidden,
      isGood: samples.map(({ advantage }) => advantage > 0),
      states: samples.map(({ state }) => state),
    };
    return {
      what,
      probe: linearProbe(data, { seed: SEED }),
      centroids: centroids(data),
      plane: principalPlane(hidden),
    };
  };
  return {
    views: [
      view("before the action: the state alone is known", before),
      view("after the action: state and action are known", after),
    ],
    goodAnswers: goodAnswers({
      samples,
      lastLayer: read,
      ...changes,
      textOf: (token) => tokenizer.decode([token]),
    }),
  };
}

/** Place of the last token of the action that has text: the end token says nothing of it. */
function lastWord(
  answer: readonly number[],
  mask: readonly number[],
  decode: (tokens: readonly number[]) => string,
): number {
  const words = answer.flatMap((token, t) => (mask[t] === 1 && decode([token]) !== "" ? [t] : []));
  return words.at(-1) ?? answer.length - 1;
}

/** The state that predicts token t, or that has read all tokens. */
function stateAt({ tokens, hidden, after }: ResponseStates, t: number, width: number): Float32Array {
  return t < tokens.length
    ? Float32Array.from(hidden as Float32Array).slice(t * width, (t + 1) * width)
    : after;
}
