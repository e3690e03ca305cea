/** The policy's own critiques of its habits, for prompt-based correction. Ours (RECON). */
import { hashText } from "../../core/hash.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import type { Critique, Example } from "../correction/correction.js";
import type { GcdDeps } from "./gcd.js";
import type { Judge } from "./judge.js";
import { verdictProbabilities } from "./verdicts.js";

export interface CritiqueDeps extends Pick<GcdDeps, "config" | "worker"> {
  readonly model: Qwen2Model;
  readonly judge: Judge;
}

/**
 * Asks the policy about examples of habits. In `think` mode it answers in words, of which those of a right "bad" verdict are
 * kept; in `direct` mode the verdict is all it says, and an instruction has a template's words only.
 */
export function criticise(deps: CritiqueDeps) {
  return async (examples: readonly Example[]): Promise<Critique[]> => {
    const { judge, config, model, worker } = deps;
    const questions = examples.map(({ text, action }) => judge.ask({ text }, action));
    if (judge.options.mode === "direct") {
      const { temperature, tokens_per_micro_batch: tokensPerMicroBatch } = config.grpo;
      const tokens = judge.verdictTokens;
      const prompts = questions.map((question) => question.tokens);
      const said = await verdictProbabilities(model, prompts, { tokens, temperature, tokensPerMicroBatch });
      return said.map(({ good, bad }) => ({ isBad: bad > good }));
    }
    const answers = await worker.sampler.generate(
      questions.map(({ tokens, text }) => ({ prompt: tokens, stream: hashText(`critique ${text.hash}`) })),
      {
        temperature: 0,
        maxNewTokens: config.gcd.max_completion_length,
        endTokens: [worker.endToken],
        seed: config.seed,
      },
    );
    return answers.map(({ tokens, finished }) => ({
      isBad: judge.parse(tokens, finished) === "bad",
      words: judge.reasoning(tokens),
    }));
  };
}
