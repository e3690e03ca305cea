/** One forward and backward pass over a batch of samples, whose gradients go piece by piece to sinks. */
import { Tape } from "../autograd/tape.js";
import { ArgumentError } from "../core/errors.js";
import type { Qwen2Model } from "../model/qwen2.js";
import type { PlannedPath } from "./paths.js";
import { SampleGradients } from "./sample_gradients.js";
import { type CouplingSample, packSamples } from "./samples.js";
import type { PieceSink } from "./taken.js";
import type { Workspace } from "./workspace.js";

/** Bytes of one piece: near the size of a processor's cache, or of a large GPU's. */
export function defaultPieceBytes({ facts }: Pick<Workspace, "facts">): number {
  return (facts.isSoftware ? 4 : 32) * 2 ** 20;
}

/** Parameters that gradients are taken of: by Hugging Face name, or the factors of an adapter by PEFT's. */
export function trainableNames({ checkpointShapes, trained }: Qwen2Model): string[] {
  return checkpointShapes.map(({ name }) => name).filter((name) => trained.isTrainable(name));
}

/**
 * Brings the policy to where it can be measured: weights that an adapter changes take memory from their first use on, and belong
 * to the policy rather than to what is forecast beside it.
 * @throws ArgumentError when none of the policy's parameters has a gradient
 */
export function requireTrainable({ trained, adapter }: Qwen2Model): void {
  if (!trained.requiresGrad) {
    throw new ArgumentError(
      "[coupling] the parameters are frozen: got requiresGrad false, expected true, or true for some of them. Load the policy with requiresGrad true.",
    );
  }
  adapter?.refresh();
}

/**
 * Shows the gradients of all samples to the sinks. Nothing is added to the parameters' gradients but by a sink.
 * @returns sum over a sample's response of weight times log-probability, for each
 * @throws ArgumentError when one of these sums is not finite, naming the sample as number `numbers` of it
 */
export async function samplePass(
  policy: Qwen2Model,
  samples: readonly CouplingSample[],
  {
    workspace,
    sinks,
    pieceBytes,
    paths,
  }: {
    readonly workspace: Workspace;
    readonly sinks: readonly PieceSink[];
    readonly pieceBytes: number;
    readonly paths?: ReadonlyMap<string, PlannedPath>;
  },
  numbers: readonly number[] = samples.map((_, s) => s),
): Promise<number[]> {
  const { launcher, config } = policy;
  const packed = packSamples(samples);
  const observer = new SampleGradients({
    workspace,
    samples: packed,
    shapes: policy.trainedShapes,
    isTied: config.tie_word_embeddings && policy.adapter === undefined,
    sinks,
    pieceBytes,
    paths,
  });
  const tape = new Tape(launcher, { activations: policy.activations, observer });
  const hidden = policy.hidden(tape, policy.batch(tape, packed.packed));
  const { log_prob } = policy.score(tape, hidden, packed.index, packed.target);
  // backward releases what the tape recorded
  const kept = log_prob.view(log_prob.shape, 0, false);
  tape.backward([[log_prob, tape.input(packed.weights)]]);
  tape.release();
  observer.release();
  const values = (await kept.read()) as Float32Array;
  kept.release();
  const sums = samples.map((_, s) => {
    let sum = 0;
    for (let r = packed.scoredOffsets[s] as number; r < (packed.scoredOffsets[s + 1] as number); r++)
      sum += (packed.weights[r] as number) * (values[r] as number);
    return sum;
  });
  const bad = [...sums.keys()].filter((s) => !Number.isFinite(sums[s]));
  const first = await firstBadAlone(bad, async (s) =>
    Number.isFinite(await logProbAlone(policy, samples[s])),
  );
  if (first === undefined) return sums;
  throw new ArgumentError(
    `[coupling] sample ${numbers[first]}: its log-probability is not finite: got ${sums[first]}. Check the model's weights, or leave the sample out.`,
  );
}

/**
 * What is not a number spreads to samples beside it, since masked places count as 0 times their value.
 * @returns the first sample that is bad by itself, or the first one
 */
export async function firstBadAlone(
  bad: readonly number[],
  isFine: (sample: number) => Promise<boolean>,
): Promise<number | undefined> {
  for (const sample of bad) if (!(await isFine(sample))) return sample;
  return bad[0];
}

async function logProbAlone(policy: Qwen2Model, sample: CouplingSample): Promise<number> {
  const { packed, index, target, weights } = packSamples([sample]);
  const tape = new Tape(policy.launcher, { record: false, activations: policy.activations });
  const { log_prob } = policy.score(tape, policy.hidden(tape, policy.batch(tape, packed)), index, target);
  const values = (await log_prob.read()) as Float32Array;
  tape.release();
  return values.reduce((sum, value, r) => sum + (weights[r] as number) * value, 0);
}
