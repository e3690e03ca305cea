/** GCD over a run, without a GPU: the loss of its stream, its weight, and what it remembers. */
import { expect, test, vi } from "vitest";
import { globals } from "webgpu";
import { type TrainConfigInput, trainConfigSchema } from "../../src/config/schema.js";
import { planningRuntime } from "../../src/gpu/planning_device.js";
import { Launcher } from "../../src/kernels/index.js";
import type { Qwen2Model } from "../../src/model/qwen2.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { Gcd, openJudge } from "../../src/rl/gcd/gcd.js";
import { gradientSimilarity } from "../../src/rl/gcd/hard_pairs.js";
import { JUDGE_WORDS } from "../../src/rl/gcd/judge.js";
import { classificationStream, type StreamResult } from "../../src/rl/gcd/stream.js";
import { ValueHead } from "../../src/rl/gcd/value_head.js";
import type { RolloutWorker } from "../../src/rl/play/rollout.js";
import { lossOptions, unplaced } from "../support/rows.js";

// both ask the policy
vi.mock("../../src/rl/gcd/hard_pairs.js", () => ({ gradientSimilarity: vi.fn() }));
vi.mock("../../src/rl/gcd/stream.js", () => ({ classificationStream: vi.fn() }));

const tokenizer = new Tokenizer(buildWordTokenizer([...JUDGE_WORDS, ":"], { roles: ["user", "assistant"] }));
const worker = {
  prompts: { tokenizer },
  sampler: { name: "sampler" },
  endToken: 6,
} as unknown as RolloutWorker;

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

test("questions are asked by its judge, of pairs with close gradients where that is wanted, and train while lambda is above 0", async () => {
  const model = undefined as unknown as Qwen2Model;
  const similarity = () => 0.5;
  vi.mocked(gradientSimilarity).mockResolvedValue(similarity);
  vi.mocked(classificationStream).mockResolvedValue(asked(1));
  const settings = { lambda: 0.5, warmup_steps: 0, stop_above: 0.9, patience: 1 };
  const gcd = open({ gcd: { ...settings, hard_pairs: 4 } });
  expect(await gcd.rows([], [], 7)).toEqual(asked(1));
  expect(vi.mocked(gradientSimilarity).mock.calls).toEqual([[model, [], 4]]);
  const deps = {
    config: gcd.deps.config,
    judge: gcd.judge,
    model,
    head: undefined,
    sampler: worker.sampler,
    endToken: 6,
  };
  const input = { rows: [], labels: [], index: 7, isTrained: true, similarity };
  expect(vi.mocked(classificationStream).mock.calls).toEqual([[deps, input]]);
  vi.mocked(gradientSimilarity).mockClear();
  const solved = open({ gcd: settings });
  solved.finish(asked(0.95));
  await solved.rows([], [], 8);
  expect(vi.mocked(classificationStream).mock.lastCall?.[1]).toEqual({
    ...{ rows: [], labels: [], index: 8, isTrained: false, similarity: undefined },
  });
  expect(gradientSimilarity).not.toHaveBeenCalled();
});

test("a classifier is there where the configuration asks for one, with the optimiser of its stage", async () => {
  // constants alone: the device computes nothing
  Object.assign(globalThis, globals);
  const launcher = new Launcher(await planningRuntime({ isSoftware: true }));
  const model = { launcher, config: { hidden_size: 4 } } as unknown as Qwen2Model;
  const config = trainConfigSchema.parse({ prompt: { format: "plain" }, gcd: { head: "value" } });
  const { head } = new Gcd({ config, worker, model });
  expect(head).toBeInstanceOf(ValueHead);
  expect(await head?.save()).toMatchObject({ "value_head.weight": Array(8).fill(0) });
  head?.release();
  expect(launcher.runtime.buffers.liveBytes).toBe(0);
});

test("a classifier in the place of the words learns what the answer says, is saved, and goes on from there", async () => {
  const gcd = open({ gcd: { lambda: 0.5 } });
  const calls: unknown[] = [];
  const head = {
    save: async () => "saved",
    restore: (saved: unknown) => void calls.push(saved),
    release: () => void calls.push("release"),
  };
  Object.assign(gcd, { head });
  const { policy } = lossOptions({});
  const options = gcd.lossOptions(policy).head;
  expect(options?.classifier).toBe(head);
  const { good, bad } = gcd.judge.verdictTokens;
  const labels = [good, bad].map((token) => options?.labelOf({ ...unplaced, prompt: [1], answer: [token] }));
  expect(labels).toEqual(["good", "bad"]);
  expect(await gcd.save()).toEqual({ weight: { updates: 0, solved: 0 }, head: "saved" });
  gcd.restore({ weight: { updates: 3, solved: 0 }, head: "kept" });
  gcd.release();
  expect(calls).toEqual(["kept", "release"]);
});
