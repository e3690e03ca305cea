/** GCD over a run: the judge, the weight of its loss, and the classification rows of each update. */
import type { TrainConfig } from "../../config/schema.js";
import type { Json } from "../../core/run_record.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import type { PolicyLossOptions, StreamLoss } from "../objective/policy.js";
import type { RolloutWorker } from "../play/rollout.js";
import type { PlayedRow, Row } from "../rows.js";
import { gradientSimilarity } from "./hard_pairs.js";
import { Judge } from "./judge.js";
import type { LabelledAction } from "./labels.js";
import { classificationStream, type StreamResult } from "./stream.js";
import { ValueHead } from "./value_head.js";
import { afterUpdate, WEIGHT_START, type WeightOptions, type WeightState, weightOf } from "./weight.js";

/** What a stage with GCD works with. */
export interface GcdDeps {
  readonly config: TrainConfig;
  readonly model: Qwen2Model;
  readonly worker: RolloutWorker;
}

/** Opens the judge of a configuration. @throws ConfigError when the tokenizer has no verdict tokens */
export function openJudge({ config: { gcd, prompt }, worker }: Pick<GcdDeps, "config" | "worker">): Judge {
  return new Judge(worker.prompts.tokenizer, {
    format: prompt.format,
    mode: gcd.mode,
    context: prompt.context,
    history: prompt.history,
  });
}

/** Owns the value head, where that control is asked for. */
export class Gcd {
  readonly judge: Judge;
  readonly head: ValueHead | undefined;
  #state: WeightState = WEIGHT_START;

  constructor(readonly deps: GcdDeps) {
    const { config, model } = deps;
    this.judge = openJudge(deps);
    const { learning_rate: learningRate, max_grad_norm: maxGradNorm } = config.grpo;
    this.head =
      config.gcd.head === "value"
        ? new ValueHead(model, { seed: config.seed, learningRate, maxGradNorm })
        : undefined;
  }

  get #options(): WeightOptions {
    const { lambda, warmup_steps: warmup, stop_above: stopAbove, patience } = this.deps.config.gcd;
    return { lambda, warmup, stopAbove, patience };
  }

  /** lambda of the next update. */
  get weight(): number {
    return weightOf(this.#state, this.#options);
  }

  /** Classification rows of one update, from the labels of what was played. */
  async rows(
    played: readonly PlayedRow[],
    labels: readonly LabelledAction[],
    index: number,
  ): Promise<StreamResult> {
    const { config, model, worker } = this.deps;
    const { judge, head } = this;
    const deps = { config, judge, model, head, sampler: worker.sampler, endToken: worker.endToken };
    const { hard_pairs: most } = config.gcd;
    const similarity = most > 0 ? await gradientSimilarity(model, labels, most) : undefined;
    return classificationStream(deps, {
      rows: played,
      labels,
      index,
      isTrained: this.weight > 0,
      similarity,
    });
  }

  /** The loss of the classification stream in the next update, beside that of the policy. */
  lossOptions(policy: StreamLoss): Pick<PolicyLossOptions, "classification" | "head"> {
    const { gcd } = this.deps.config;
    const { good } = this.judge.verdictTokens;
    const labelOf = ({ answer }: Row) => (answer[0] === good ? ("good" as const) : ("bad" as const));
    return {
      classification: {
        ...policy,
        coefficient: this.weight,
        aggregation: "sequence_mean",
        normaliser: gcd.max_completion_length,
        entropyCoef: 0,
        skipBelow: 0,
      },
      ...(this.head && { head: { classifier: this.head, labelOf } }),
    };
  }

  /** Takes note of an update in which the judge was asked. */
  finish({ quality }: StreamResult): void {
    if (quality) this.#state = afterUpdate(this.#state, quality.balancedAccuracy, this.#options);
  }

  /** Plain data for a checkpoint. */
  async save(): Promise<Json> {
    return { weight: { ...this.#state }, head: this.head ? await this.head.save() : null };
  }

  restore(saved: Json): void {
    const { weight, head } = saved as unknown as { readonly weight: WeightState; readonly head: Json };
    this.#state = weight;
    this.head?.restore(head);
  }

  release(): void {
    this.head?.release();
  }
}
