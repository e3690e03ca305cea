/** What an optimiser really did to the weights, as a direction. */
import { Tensor } from "../autograd/tensor.js";
import { subtractFrom } from "../kernels/layers/add.js";
import type { Qwen2Model } from "../model/qwen2.js";
import type { Direction } from "./directions.js";

/** Copies of the trainable weights, as large as these; the caller releases them. */
export interface KeptWeights {
  /** The weights as they are now minus those that were kept. They lie where the gradients were, until these are cleared. */
  readonly update: () => Direction;
  readonly release: () => void;
}

/** Copies what is trained of a policy, masters where it computes in f16. */
export function keepWeights({ trained, launcher }: Qwen2Model): KeptWeights {
  const { runtime } = launcher;
  const kept = trained.buckets.flatMap(({ master, gradient }) => {
    if (!master || !gradient) return [];
    const copy = Tensor.empty(runtime, master.shape, "f32", "coupling.kept");
    runtime.copy(master.range, copy.range);
    return [{ master, gradient, copy }];
  });
  return {
    update: () => {
      for (const { master, gradient, copy } of kept) {
        runtime.copy(master.range, gradient.range);
        subtractFrom(launcher, gradient, copy);
      }
      return (name) => trained.get(name).grad;
    },
    release: () => {
      for (const { copy } of kept) copy.release();
    },
  };
}
