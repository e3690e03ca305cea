/** Critiques in words, by a policy whose answers are known. */
import { expect, test } from "vitest";
import { trainConfigSchema } from "../../src/config/schema.js";
import { Launcher } from "../../src/kernels/index.js";
import type { GenerationRequest, SamplingOptions } from "../../src/model/generate.js";
import type { Qwen2Model } from "../../src/model/qwen2.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { criticise } from "../../src/rl/gcd/critique.js";
import { JUDGE_WORDS, Judge } from "../../src/rl/gcd/judge.js";
import type { RolloutWorker } from "../../src/rl/play/rollout.js";
import { scoreSequences } from "../../src/rl/update/score.js";
import { couplingPolicy } from "../support/coupling_policy.js";
import { testRuntime } from "../support/runtime.js";

const vocabulary = ["a shut door open wait it is of no use :", ...JUDGE_WORDS];
const tokenizer = new Tokenizer(buildWordTokenizer(vocabulary, { roles: ["user", "assistant"] }));
const text = { blocks: [{ name: "observation" as const, text: "a shut door" }], text: "", hash: "" };

test("a critique is an answer that ends with bad, and its words are those before; each example has its own stream", async () => {
  const judge = new Judge(tokenizer, { format: "plain", mode: "think", context: "step", history: 1 });
  const calls: { requests: readonly GenerationRequest[]; options: SamplingOptions }[] = [];
  const answers = [
    { text: "it is of no use bad", finished: true },
    { text: "it is of no use bad", finished: false },
    { text: "it is of use good", finished: true },
  ];
  const sampler = {
    generate: async (requests: readonly GenerationRequest[], options: SamplingOptions) => {
      calls.push({ requests, options });
      return answers.map(({ text, finished }) => ({
        tokens: tokenizer.encode(text),
        logProbs: [],
        finished,
      }));
    },
  };
  const config = trainConfigSchema.parse({ seed: 5, gcd: { max_completion_length: 7 } });
  const worker = { sampler, endToken: 3 } as unknown as RolloutWorker;
  const critiques = await criticise({ config, worker, judge, model: undefined as unknown as Qwen2Model })(
    ["open", "wait", "open"].map((action) => ({ text, action })),
  );
  expect(critiques).toEqual([
    { isBad: true, words: "it is of no use" },
    { isBad: false, words: "it is of no use" },
    { isBad: false, words: "it is of use" },
  ]);
  expect(calls).toHaveLength(1);
  const [{ requests, options }] = calls;
  expect(requests.map(({ prompt }) => tokenizer.decode([...prompt]))).toEqual([
    "a shut door judge : open",
    "a shut door judge : wait",
    "a shut door judge : open",
  ]);
  // a function of what is asked
  expect(requests[0].stream).toBe(requests[2].stream);
  expect(requests[0].stream).not.toBe(requests[1].stream);
  expect(options).toEqual({ temperature: 0, maxNewTokens: 7, endTokens: [3], seed: 5 });
});

test("where the verdict is all that is said, it is the likelier of the two, and there are no words", async () => {
  const model = couplingPolicy(new Launcher(await testRuntime()));
  const judge = new Judge(tokenizer, { format: "plain", mode: "direct", context: "step", history: 1 });
  const config = trainConfigSchema.parse({ grpo: { temperature: 0.5 } });
  const actions = ["open", "wait", "it", "is", "of", "no", "use", "a"];
  const prompts = actions.map((action) => judge.ask({ text }, action).tokens);
  const worker = undefined as unknown as RolloutWorker;
  const critiques = await criticise({ config, worker, judge, model })(
    actions.map((action) => ({ text, action })),
  );
  // the distribution after each prompt, scored by itself
  const { good, bad } = judge.verdictTokens;
  const sequences = prompts.flatMap((prompt) => [good, bad].map((token) => [...prompt, token]));
  const scores = (await scoreSequences(model, sequences)).map(({ logProbs }) => logProbs.at(-1) as number);
  expect(critiques).toEqual(actions.map((_, at) => ({ isBad: scores[2 * at + 1] > scores[2 * at] })));
  expect(new Set(critiques.map(({ isBad }) => isBad)).size).toBe(2);
  // where both are as likely the habit is not called bad
  model.parameters.load("model.norm.weight", new Float32Array(model.config.hidden_size));
  expect(await criticise({ config, worker, judge, model })([{ text, action: "open" }])).toEqual([
    { isBad: false },
  ]);
});
