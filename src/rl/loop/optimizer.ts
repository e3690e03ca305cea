/** The optimiser of a stage, from its settings. */
import type { Qwen2Model } from "../../model/qwen2.js";
import { AdamW, type AdamWOptions } from "../../optim/adamw.js";
import type { StageSettings } from "./stage.js";

/** What the settings of a stage say of AdamW. */
export function adamSettings(settings: StageSettings): Omit<AdamWOptions, "parameters" | "launcher"> {
  return {
    lr: settings.learning_rate,
    betas: [settings.adam_beta1, settings.adam_beta2],
    eps: settings.adam_epsilon,
    moments: settings.adam_moments,
    weightDecay: settings.weight_decay,
    maxGradNorm: settings.max_grad_norm,
  };
}

/** A fresh AdamW on what a model trains. Loss scaling where it computes in half precision. */
export function stageOptimizer(
  { launcher, trained, parameters }: Qwen2Model,
  settings: StageSettings,
): AdamW {
  return new AdamW({
    parameters: trained,
    launcher,
    ...adamSettings(settings),
    lossScale: parameters.half ? {} : undefined,
  });
}
