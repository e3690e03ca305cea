/** Evaluates the policy of a configuration as training does, without training it. */

import type { MatrixStorage } from "../../autograd/parameter_slots.js";
import type { TrainConfig } from "../../config/schema.js";
import { storageOf } from "../../config/sections.js";
import { ConfigError, DataError } from "../../core/errors.js";
import type { Evaluation } from "../../core/run_record.js";
import type { Runtime } from "../../gpu/runtime.js";
import { Launcher } from "../../kernels/index.js";
import { Generator } from "../../model/generate.js";
import { type EvaluationOptions, Evaluator } from "../../rl/play/evaluate.js";
import { PromptBuilder } from "../../rl/play/prompt.js";
import { RolloutWorker, workerOptions } from "../../rl/play/rollout.js";
import { loadPolicy, policyTokenizer } from "../model/policy_folder.js";
import { hostTimer } from "../run/timer.js";
import { openTrainingWorld } from "../run/training_setup.js";

export interface EvaluateRequest extends EvaluationOptions {
  readonly runtime: Runtime;
  readonly signal: AbortSignal;
  /** Folder of an adapter on the model. Those of the configuration are of its training. */
  readonly lora?: string | undefined;
  /** Of the policy's matrices; default: as `model.precision` says. */
  readonly storage?: MatrixStorage | undefined;
  /** Told every result as it is made. */
  readonly onResult: (result: Evaluation) => void;
}

/**
 * One evaluation a split and mode of `config.eval`, of the policy in `config.model.path`: the same episodes, and so the same
 * numbers, as an evaluation while training.
 * @returns what was evaluated; not all when a stop was asked for
 * @throws ConfigError when the configuration names no model
 */
export async function evaluateModel(config: TrainConfig, request: EvaluateRequest): Promise<Evaluation[]> {
  const { path, precision } = config.model;
  if (path === null) {
    throw new ConfigError("[model.path] no policy to evaluate: got null, expected a model folder. Name one.");
  }
  const { runtime, onResult, lora, storage, ...options } = request;
  const world = await openTrainingWorld(config);
  try {
    const { model, folder } = await loadPolicy(new Launcher(runtime), path, {
      requiresGrad: false,
      storage: storage ?? storageOf(precision),
      lora,
    });
    const tokenizer = policyTokenizer(folder);
    const generator = new Generator(model, { tokensPerBatch: config.grpo.tokens_per_micro_batch });
    try {
      if (tokenizer.eosTokenId === null) throw noEndToken(path);
      const prompts = new PromptBuilder(tokenizer, config.prompt);
      const rules = workerOptions(config, { timer: hostTimer });
      const worker = new RolloutWorker(world, prompts, generator, tokenizer.eosTokenId, rules);
      const results: Evaluation[] = [];
      for await (const one of new Evaluator(config, world, worker).run(0, "start", options)) {
        results.push(one);
        onResult(one);
      }
      await worker.close();
      return results;
    } finally {
      generator.release();
      model.release();
      model.parameters.release();
    }
  } finally {
    await world.close?.();
  }
}

function noEndToken(path: string): DataError {
  return new DataError(
    `[${path}] tokenizer names no end token: got none, expected eos_token in tokenizer_config.json. Add it.`,
  );
}
