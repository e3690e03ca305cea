/** GCD over a run, without a GPU: the loss of its stream, its weight, and what it remembers. */
import { expect, test } from "vitest";
import { type TrainConfigInput, trainConfigSchema } from "../../src/config/schema.js";
import type { Qwen2Model } from "../../src/model/qwen2.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { Gcd, openJudge } from "../../src/rl/gcd/gcd.js";
import { JUDGE_WORDS } from "../../src/rl/gcd/judge.js";
import type { StreamResult } from "../../src/rl/gcd/stream.js";
import type { RolloutWorker } from "../../src/rl/play/rollout.js";
import { lossOptions } from "../support/rows.js";

const tokenizer = new Tokenizer(buildWordTokenizer([...JUDGE_WORDS, ":"], { roles: ["user", "assistant"] }));
const worker = { prompts: { tokenizer } } as unknown as RolloutWorker;

function open(input: TrainConfigInput): Gcd {
  const config = trainConfigSchema.parse({ prompt: { format: "plain" }, ...input });
  return new Gcd({ config, worker, model: undefined as unknown as Qwen2Model });
}

/** An update in which the judge was asked. */
const asked = (balancedAccuracy: number): StreamResult => ({
  ...{ rows: [], metrics: {} },
  quality: { balancedAccuracy, recall: { good: 1, bad: 1 }, questions: 2 },
});

test("the judge is that of the configuration", () => {
  const judge = openJudge({
    config: trainConfigSchema.parse({
      gcd: { mode: "think" },
      prompt: { format: "plain", context: "step", history: 7 },
    }),
    worker,
  });
  expect(judge.options).toEqual({ format: "plain", mode: "think", context: "step", history: 7 });
});

test("the loss is the policy's, by sequences, times lambda, without a term of entropy and with every row", () => {
  const gcd = open({ gcd: { lambda: 0.5, warmup_steps: 0, max_completion_length: 9 } });
  const { policy } = lossOptions({ clipLow: 0.3, entropyCoef: 0.1, skipBelow: 0.2, coefficient: 1 });
  expect(gcd.lossOptions(policy)).toEqual({
    classification: {
      ...policy,
      ...{ coefficient: 0.5, aggregation: "sequence_mean", normaliser: 9, entropyCoef: 0, skipBelow: 0 },
    },
  });
  expect(gcd.head).toBeUndefined();
  gcd.release();
});

test("lambda rises with updates in which the judge was asked, ends when it is good, and is the same after a resume", async () => {
  const settings = { gcd: { lambda: 0.5, warmup_steps: 2, stop_above: 0.9, patience: 1 } };
  const gcd = open(settings);
  expect(gcd.weight).toBe(0.25);
  gcd.finish({ ...asked(0.6), quality: undefined });
  expect(gcd.weight).toBe(0.25);
  gcd.finish(asked(0.9));
  expect(gcd.weight).toBe(0.5);
  gcd.finish(asked(0.95));
  expect(gcd.weight).toBe(0);
  const saved = JSON.parse(JSON.stringify(await gcd.save()));
  expect(saved).toEqual({ weight: { updates: 2, solved: 1 }, head: null });
  const resumed = open(settings);
  resumed.restore(saved);
  expect(resumed.weight).toBe(0);
  resumed.finish(asked(0.5));
  expect(resumed.weight).toBe(0.5);
});
