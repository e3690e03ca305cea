/** The update that a run's optimiser really makes on some samples, and what it does to each of them. */
import { FlatParameters } from "../../autograd/flat_parameters.js";
import { directions } from "../../coupling/directions.js";
import { optimiserStepChanges, type RealStep } from "../../coupling/ground_truth/real_steps.js";
import { AdamW } from "../../optim/adamw.js";
import { adamSettings } from "../../rl/loop/optimizer.js";
import { restoreOptimizer } from "../../rl/loop/policy_state.js";
import type { RunPolicy } from "./run_policy.js";

/** Changes of log-probability by one step of the optimiser, in nats; one a sample. */
export interface ThroughOptimiser {
  /** Products of each sample's gradient with the actual update: first order in the weights, exact in the optimiser. */
  readonly predicted: Float64Array;
  readonly realised: Float64Array;
}

/**
 * One step of AdamW with the checkpoint's moments and the run's settings, measured and undone.
 * @param step its coefficients are w_i A_i
 */
export async function throughOptimiser(
  { config: { grpo }, checkpoint }: RunPolicy,
  step: RealStep,
  budgetBytes: number | undefined,
): Promise<ThroughOptimiser> {
  const { model, samples } = step;
  const { trained: parameters, launcher } = model;
  const optimizer = new AdamW({ parameters, launcher, ...adamSettings(grpo) });
  const update = new FlatParameters(launcher.runtime, model.trainedShapes, { requiresGrad: false });
  try {
    // a stage begins with fresh moments
    if (checkpoint.stage === "grpo") await restoreOptimizer(optimizer, checkpoint.optimizer);
    const made = await optimiserStepChanges(step, optimizer, grpo.learning_rate);
    for (const [name, values] of made.update) update.load(name, values);
    const { dots } = await directions(model, samples, [(name) => update.get(name)], { budgetBytes });
    return { predicted: dots, realised: made.changes };
  } finally {
    optimizer.release();
    update.release();
  }
}
