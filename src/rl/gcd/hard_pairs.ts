/** Pairs of a good and a bad action that push each other most: by the cosine of their gradients. Ours (RECON). */
import { groupBy } from "../../core/group_by.js";
import { perSampleGram } from "../../coupling/gram.js";
import { sampleOf } from "../../coupling/samples.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import type { LabelledAction } from "./labels.js";

/**
 * Measures, by one forward and backward pass, the gradients of labelled actions that have one of the other class in their
 * state.
 * @param most actions that are measured, those with the most evidence; a state is measured whole or not at all
 * @returns the cosine of two measured actions, undefined for others
 */
export async function gradientSimilarity(
  model: Qwen2Model,
  labels: readonly LabelledAction[],
  most: number,
): Promise<(good: LabelledAction, bad: LabelledAction) => number | undefined> {
  const measured = twoSided(labels, most);
  if (measured.length === 0) return () => undefined;
  const place = new Map(measured.map((label, index) => [label, index]));
  const { gram, samples: S } = await perSampleGram(
    model,
    measured.map(({ row }) => sampleOf(row)),
  );
  return (good, bad) => {
    const [i, j] = [place.get(good), place.get(bad)];
    if (i === undefined || j === undefined) return undefined;
    const norms = Math.sqrt(gram[i * S + i] * gram[j * S + j]);
    return norms > 0 ? gram[i * S + j] / norms : undefined;
  };
}

/** Labels of whole states that have both classes, the states with the most evidence first. */
function twoSided(labels: readonly LabelledAction[], most: number): LabelledAction[] {
  const states = [...groupBy(labels, ({ state }) => state).values()]
    .filter((members) => new Set(members.map(({ verdict }) => verdict)).size === 2)
    .map((members) => ({
      members,
      strength: members.reduce((sum, label) => Math.max(sum, label.strength), 0),
    }))
    .sort((a, b) => b.strength - a.strength);
  const chosen: LabelledAction[] = [];
  for (const { members } of states) if (chosen.length + members.length <= most) chosen.push(...members);
  return chosen;
}
