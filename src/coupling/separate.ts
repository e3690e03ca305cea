/** The slow way to per-sample gradients: one forward and backward pass for each sample. What the fast way is held against. */
import { Tape } from "../autograd/tape.js";
import type { Qwen2Model } from "../model/qwen2.js";
import { requireTrainable, trainableNames } from "./pass.js";
import { type CouplingSample, checkSamples, packSamples } from "./samples.js";

/** Appends the forward and backward pass of samples as one batch: the gradient of the sum over them is added to the policy's. */
export function addBatchGradient(policy: Qwen2Model, samples: readonly CouplingSample[]): void {
  const { packed, index, target, weights } = packSamples(samples);
  const tape = new Tape(policy.launcher, { activations: policy.activations });
  const hidden = policy.hidden(tape, policy.batch(tape, packed));
  const { log_prob } = policy.score(tape, hidden, index, target);
  tape.backward([[log_prob, tape.input(weights)]]);
  tape.release();
}

/**
 * Gradients of single samples, read back whole: S times the model's size of host memory.
 * @param policy with trainable parameters, whose gradients are overwritten, and cleared at the end
 * @returns for each sample, gradients by Hugging Face name
 */
export async function separateGradients(
  policy: Qwen2Model,
  samples: readonly CouplingSample[],
): Promise<Map<string, Float32Array>[]> {
  requireTrainable(policy);
  checkSamples(samples, policy.config);
  const { trained: parameters } = policy;
  const gradients: Map<string, Float32Array>[] = [];
  for (const sample of samples) {
    parameters.clearGradients();
    addBatchGradient(policy, [sample]);
    const own = new Map<string, Float32Array>();
    for (const name of trainableNames(policy)) own.set(name, await parameters.readGradient(name));
    gradients.push(own);
  }
  parameters.clearGradients();
  return gradients;
}

/** Gram of gradients as `separateGradients` gives them, by parameter, summed in float64: [S, S] each, row-major. */
export function gramOfGradients(
  gradients: readonly ReadonlyMap<string, Float32Array>[],
): Map<string, Float64Array> {
  const S = gradients.length;
  const layers = new Map<string, Float64Array>();
  for (const name of gradients[0]?.keys() ?? []) {
    const gram = new Float64Array(S * S);
    for (let i = 0; i < S; i++) {
      const a = gradients[i]?.get(name) as Float32Array;
      for (let j = 0; j <= i; j++) {
        const b = gradients[j]?.get(name) as Float32Array;
        let sum = 0;
        for (let k = 0; k < a.length; k++) sum += (a[k] as number) * (b[k] as number);
        gram[i * S + j] = sum;
        gram[j * S + i] = sum;
      }
    }
    layers.set(name, gram);
  }
  return layers;
}
