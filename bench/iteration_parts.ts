/** The parts of an iteration with a clock on them, and a record of what they did. */
import type { Environment, World } from "../src/env/world.js";
import type { Generation } from "../src/model/generate.js";
import type { Qwen2Model } from "../src/model/qwen2.js";
import { type EncodedChat, Tokenizer, type TokenizerFiles } from "../src/model/tokenizer.js";
import type { AdamW } from "../src/optim/adamw.js";
import type { PolicyObjective } from "../src/rl/objective/policy.js";
import { type Prompt, PromptBuilder } from "../src/rl/play/prompt.js";
import type { PromptOptions } from "../src/rl/play/prompt_state.js";
import type { ActionSampler } from "../src/rl/play/sampler.js";
import { Learner, type UpdateOptions, type UpdateResult } from "../src/rl/update/learner.js";
import type { IterationClock } from "./iteration_clock.js";

/** Prompts that were answered together. */
export interface PlayedBatch {
  readonly prompts: readonly (readonly number[])[];
  readonly answers: readonly Pick<Generation, "tokens" | "logProbs">[];
}

/** What an iteration played and computed, of the last one. */
export class IterationRecord {
  batches: PlayedBatch[] = [];
  updates: PolicyObjective[] = [];
  gradNorm = 0;

  clear(): void {
    this.batches = [];
    this.updates = [];
  }
}

/** @param world whose environments answer at once: the clock has one part at a time */
export function timedWorld(world: World, clock: IterationClock): World {
  const timed = (environment: Environment): Environment => ({
    reset: (options) => clock.span("world", () => environment.reset(options)),
    step: (command) => clock.span("world", () => environment.step(command)),
    ...(environment.snapshot && { snapshot: () => environment.snapshot?.() }),
    ...(environment.restore && { restore: (snapshot) => environment.restore?.(snapshot) as never }),
    close: () => environment.close(),
  });
  return {
    id: world.id,
    splits: world.splits,
    tasks: (split) => world.tasks(split),
    create: () => timed(world.create()),
    ...(world.expert && { expert: (task, from) => world.expert?.(task, from) ?? null }),
    ...(world.close && { close: () => world.close?.() }),
  };
}

export class TimedTokenizer extends Tokenizer {
  constructor(
    files: TokenizerFiles,
    readonly clock: IterationClock,
  ) {
    super(files);
  }

  override encode(...args: Parameters<Tokenizer["encode"]>): number[] {
    return this.clock.span("tokenising", () => super.encode(...args));
  }

  override encodeChat(...args: Parameters<Tokenizer["encodeChat"]>): EncodedChat {
    return this.clock.span("tokenising", () => super.encodeChat(...args));
  }

  override encodeFilled(...args: Parameters<Tokenizer["encodeFilled"]>): EncodedChat {
    return this.clock.span("tokenising", () => super.encodeFilled(...args));
  }

  override decode(...args: Parameters<Tokenizer["decode"]>): string {
    return this.clock.span("tokenising", () => super.decode(...args));
  }
}

export class TimedPrompts extends PromptBuilder {
  constructor(
    tokenizer: Tokenizer,
    options: PromptOptions,
    readonly clock: IterationClock,
  ) {
    super(tokenizer, options);
  }

  override build(...args: Parameters<PromptBuilder["build"]>): Prompt {
    return this.clock.span("prompt building", () => super.build(...args));
  }

  override buildWithin(...args: Parameters<PromptBuilder["buildWithin"]>): Prompt | undefined {
    return this.clock.span("prompt building", () => super.buildWithin(...args));
  }
}

/** Begins with the prompts; whoever made the sampler turns the clock to decoding. */
export function timedSampler(
  sampler: ActionSampler,
  clock: IterationClock,
  record: IterationRecord,
): ActionSampler {
  return {
    maxTokens: sampler.maxTokens,
    async generate(requests, options) {
      const answers = await clock.span("prefill", () => sampler.generate(requests, options));
      record.batches.push({ prompts: requests.map(({ prompt }) => prompt), answers });
      return answers;
    },
  };
}

export class TimedLearner extends Learner {
  constructor(
    model: Qwen2Model,
    optimizer: AdamW,
    tokens: number,
    readonly clock: IterationClock,
    readonly record: IterationRecord,
  ) {
    super(model, optimizer, tokens);
  }

  override async update(
    objective: PolicyObjective,
    learningRate: number,
    options?: UpdateOptions,
  ): Promise<UpdateResult> {
    const result = await this.clock.span("update", () => super.update(objective, learningRate, options));
    this.record.updates.push(objective);
    this.record.gradNorm = result.gradNorm;
    return result;
  }

  override score(...args: Parameters<Learner["score"]>): Promise<Float32Array[]> {
    return this.clock.span("scoring", () => super.score(...args));
  }
}
