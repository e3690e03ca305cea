/** Evaluates the policy of a configuration as training does, without training it. */
import type { TrainConfig } from "../../config/schema.js";
import { DataError } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import type { Evaluation } from "../../core/run_record.js";
import type { Runtime } from "../../gpu/runtime.js";
import { Launcher } from "../../kernels/index.js";
import { Generator } from "../../model/generate.js";
import { Evaluator } from "../../rl/play/evaluate.js";
import { PromptBuilder } from "../../rl/play/prompt.js";
import { RolloutWorker, workerOptions } from "../../rl/play/rollout.js";
import { hostTimer } from "../run/timer.js";
import { openPolicy, openTrainingWorld } from "../run/training_setup.js";

export interface EvaluateDeps {
  readonly runtime: Runtime;
  readonly signal: AbortSignal;
  readonly logger: Logger;
}

/**
 * One evaluation a split and mode of `config.eval`, of the policy in `config.model.path`.
 * @returns undefined when a stop was asked for
 */
export async function evaluateModel(
  config: TrainConfig,
  { runtime, signal, logger }: EvaluateDeps,
): Promise<Evaluation[] | undefined> {
  const world = await openTrainingWorld(config);
  const { model, tokenizer } = await openPolicy(config, world, new Launcher(runtime));
  const generator = new Generator(model, { tokensPerBatch: config.grpo.tokens_per_micro_batch });
  try {
    const endToken = tokenizer.eosTokenId;
    if (endToken === null) {
      throw new DataError(
        `[${config.model.path}] the tokenizer names no eos_token: expected one that ends an action. Add it to tokenizer_config.json.`,
      );
    }
    const prompts = new PromptBuilder(tokenizer, config.prompt);
    const worker = new RolloutWorker(world, prompts, generator, endToken, workerOptions(config, hostTimer));
    const evaluations: Evaluation[] = [];
    for await (const one of new Evaluator(config, world, worker).run(0, "start", { signal })) {
      logger.info(`start, ${one.split}, ${one.mode}: success ${(100 * one.success).toFixed(1)} %`);
      evaluations.push(one);
    }
    await worker.close();
    return signal.aborted ? undefined : evaluations;
  } finally {
    generator.release();
    model.release();
    model.parameters.release();
  }
}
