/** The classification stream without a model: what a judge with known answers makes of labels that are known. */
import { describe, expect, test } from "vitest";
import { type TrainConfigInput, trainConfigSchema } from "../../src/config/schema.js";
import type { GenerationRequest, SamplingOptions } from "../../src/model/generate.js";
import type { Qwen2Model } from "../../src/model/qwen2.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { JUDGE_WORDS, Judge } from "../../src/rl/gcd/judge.js";
import { type LabelledAction, labelActions } from "../../src/rl/gcd/labels.js";
import { classificationStream, isHeldOut } from "../../src/rl/gcd/stream.js";
import type { VerdictProbabilities } from "../../src/rl/gcd/verdicts.js";
import type { PlayedRow, Row } from "../../src/rl/rows.js";
import { unplaced } from "../support/rows.js";

const speakers = Array.from({ length: 20 }, (_, n) => `speaker${n}`);
const tokenizer = new Tokenizer(
  buildWordTokenizer([...speakers, "red", "blue", "wants", ...JUDGE_WORDS, ":"], {
    roles: ["user", "assistant"],
  }),
);
/** Everybody wants red: red is a good action, blue a bad one. */
const played = speakers.flatMap((speaker, group) =>
  ["red", "blue"].map((action, episode): PlayedRow => {
    const text = `${speaker} wants red`;
    const wins = Number(action === "red");
    return {
      ...unplaced,
      group,
      episode,
      taskId: text,
      anchorKey: text,
      observation: text,
      action,
      text: { blocks: [{ name: "task", text }], text, hash: text },
      prompt: tokenizer.encode(text),
      answer: tokenizer.encode(action),
      logProbs: [-1],
      valid: true,
      truncated: false,
      stepReward: wins,
      outcome: wins,
    };
  }),
);
const { labels } = labelActions(played, {
  source: "step_advantage",
  threshold: 0.1,
  minVisits: 1,
  conflicts: "drop",
  gamma: 0.95,
});
const rightVerdict = ({ action }: Row) => (action === "red" ? "good" : "bad");
const trainedTasks = new Set(played.map(({ taskId }) => taskId).filter((taskId) => !isHeldOut(taskId)));

interface Asking {
  readonly gcd?: TrainConfigInput["gcd"];
  /** What the judge thinks of a question. */
  readonly thinks?: (question: string) => VerdictProbabilities;
  /** What it says, of the member-th sample, where it is asked for words. */
  readonly says?: (member: number) => { readonly text: string; readonly finished: boolean };
  readonly isTrained?: boolean;
  /** In the place of those of the game. */
  readonly asked?: readonly LabelledAction[];
}

async function streamOf({ gcd, thinks, says, isTrained = true, asked = labels }: Asking) {
  const parsed = trainConfigSchema.parse({
    seed: 4,
    grpo: { temperature: 0.7 },
    gcd: { enabled: true, ...gcd },
  });
  // more than a configuration may ask for, unless a test asks for less: the game is tiny
  const share = gcd?.max_token_share ?? 100;
  const config = { ...parsed, gcd: { ...parsed.gcd, max_token_share: share } };
  const { mode, num_generations: K } = config.gcd;
  const judge = new Judge(tokenizer, { format: "plain", mode, context: "step", history: 1 });
  const calls: { requests: readonly GenerationRequest[]; options: SamplingOptions }[] = [];
  const result = await classificationStream(
    {
      config,
      judge,
      model: undefined as unknown as Qwen2Model,
      head: {
        probabilities: async (prompts) =>
          prompts.map((tokens) => thinks?.(tokenizer.decode([...tokens])) ?? { good: 0.8, bad: 0.1 }),
      },
      sampler: {
        generate: async (requests, options) => {
          calls.push({ requests, options });
          return requests.map((_, at) => {
            const { text, finished } = says?.(at % K) ?? { text: "good", finished: true };
            const tokens = tokenizer.encode(text);
            return { tokens, logProbs: tokens.map(() => -0.5), finished };
          });
        },
      },
      endToken: 3,
    },
    { rows: played, labels: asked, index: 6, isTrained },
  );
  return { ...result, judge, calls };
}

describe("direct verdicts", () => {
  test("each question has one row: the right verdict, pushed as its probability asks for", async () => {
    const { rows, judge, metrics } = await streamOf({ gcd: { loss: "mixed", standardise: false } });
    expect(new Set(rows.map(({ taskId }) => taskId))).toEqual(trainedTasks);
    expect(rows).toHaveLength(2 * trainedTasks.size);
    for (const row of rows) {
      const verdict = rightVerdict(row);
      const p = verdict === "good" ? 0.8 : 0.1;
      expect(row).toMatchObject({ kind: "classification", answer: [judge.verdictTokens[verdict]], verdict });
      expect(row.advantage).toBeCloseTo((p + 1) / 2, 12);
      expect(row.parts?.classification).toBe(row.advantage);
      expect(row.logProbs?.[0]).toBeCloseTo(Math.log(p), 12);
      expect(tokenizer.decode([...row.prompt])).toBe(`${row.taskId} judge : ${row.action}`);
    }
    expect(rows.map(({ group }) => group)).toEqual([...rows.keys()]);
    expect(metrics).toMatchObject({ "gcd/questions": rows.length, "gcd/skipped": 0 });
  });

  test("a judge that calls everything good has half of it right; one that knows has all, on tasks not trained on too", async () => {
    const all = await streamOf({});
    expect(all.quality).toMatchObject({ balancedAccuracy: 0.5, recall: { good: 1, bad: 0 } });
    expect(all.metrics).toMatchObject({
      "gcd/balanced_accuracy": 0.5,
      "gcd/balanced_accuracy_held_out": 0.5,
      "gcd/recall_good": 1,
      "gcd/recall_bad": 0,
    });
    expect(all.metrics["gcd/verdict_mass"]).toBeCloseTo(0.9, 12);
    const knows = await streamOf({
      thinks: (question) =>
        question.endsWith("red") ? { good: 0.5, bad: 0.5 - 1e-6 } : { good: 0, bad: 0.3 },
    });
    expect(knows.metrics).toMatchObject({ "gcd/balanced_accuracy": 1, "gcd/balanced_accuracy_held_out": 1 });
    // neither is no answer
    const neither = await streamOf({ thinks: () => ({ good: 0.2, bad: 0.2 }) });
    expect(neither.quality).toMatchObject({ balancedAccuracy: 0 });
  });

  test("tasks that are held out are counted apart, and so are actions that were admissible", async () => {
    const isHeld = (question: string) => isHeldOut(`${question.split(" ")[0]} wants red`);
    const right = (question: string) =>
      question.endsWith("red") ? { good: 0.6, bad: 0.3 } : { good: 0.3, bad: 0.6 };
    const wrong = (question: string) => ({ good: right(question).bad, bad: right(question).good });
    const { metrics } = await streamOf({
      thinks: (question) => (isHeld(question) ? wrong(question) : right(question)),
    });
    expect(metrics).toMatchObject({ "gcd/balanced_accuracy": 1, "gcd/balanced_accuracy_held_out": 0 });
    // of three trained tasks two have a refused blue, about which the judge is right
    const refused = new Set([...trainedTasks].slice(0, 2));
    const some = labels
      .filter(({ row }) => [...trainedTasks].slice(0, 3).includes(row.taskId))
      .map((label) =>
        label.action === "blue" && refused.has(label.row.taskId)
          ? { ...label, row: { ...label.row, valid: false } }
          : label,
      );
    const speaker = ({ row }: LabelledAction) => row.taskId.split(" ")[0];
    const known = new Set(some.filter(({ row }) => refused.has(row.taskId)).map(speaker));
    const told = await streamOf({
      asked: some,
      thinks: (question) => (known.has(question.split(" ")[0]) ? right(question) : { good: 0.6, bad: 0.3 }),
    });
    expect(told.metrics["gcd/recall_bad"]).toBeCloseTo(2 / 3, 12);
    expect(told.metrics["gcd/balanced_accuracy"]).toBeCloseTo(5 / 6, 12);
    expect(told.metrics["gcd/balanced_accuracy_admissible"]).toBe(0.5);
  });

  test("the entropy of verdicts is by hand; without labels an update is skipped", async () => {
    const { metrics } = await streamOf({});
    // shares 8/9 and 1/9
    expect(metrics["gcd/verdict_entropy"]).toBeCloseTo(0.348832, 6);
    const none = await streamOf({ asked: [] });
    expect(none).toMatchObject({ rows: [], quality: undefined });
    expect(none.metrics).toMatchObject({ "gcd/questions": 0, "gcd/skipped": 1, "gcd/token_share": 0 });
  });

  test.each([
    [2, 1],
    [3, 1],
    [4, 2],
    [5, 2],
    [6, 3],
    [99, 4],
  ])("a limit of %d questions about a state allows %d pairs", async (limit, pairs) => {
    const [good, bad] = labels.filter(({ row }) => row.taskId === [...trainedTasks][0]);
    const asked = Array.from({ length: 4 }, () => [{ ...good }, { ...bad }]).flat();
    const caps = { max_per_task: 99, max_per_episode: 99, across_states: false };
    const { metrics } = await streamOf({ asked, gcd: { ...caps, max_per_state: limit } });
    expect(metrics["gcd/questions"]).toBe(2 * pairs);
  });

  test("without training the questions are asked for the metrics alone", async () => {
    const { rows, metrics, quality } = await streamOf({ isTrained: false });
    expect(rows).toEqual([]);
    expect(quality?.questions).toBe(2 * trainedTasks.size);
    expect(metrics).toMatchObject({ "gcd/questions": quality?.questions, "gcd/token_share": 0 });
  });

  test("whole pairs are asked, as many as the share of tokens allows", async () => {
    const tokens = played.reduce((sum, { prompt, answer }) => sum + prompt.length + answer.length, 0);
    const { rows: all } = await streamOf({});
    const spent = (pairs: number) =>
      all.slice(0, 2 * pairs).reduce((sum, { prompt, answer }) => sum + prompt.length + answer.length, 0);
    const share = (pairs: number, more = 0) => (spent(pairs) + more) / tokens;
    expect((await streamOf({ gcd: { max_token_share: share(2) } })).rows).toHaveLength(4);
    expect((await streamOf({ gcd: { max_token_share: share(3, -1) } })).rows).toHaveLength(4);
    const { rows, metrics } = await streamOf({ gcd: { max_token_share: share(3) } });
    expect(rows).toHaveLength(6);
    expect(metrics["gcd/token_share"]).toBeCloseTo(spent(3) / (spent(3) + tokens), 12);
  });

  test("shuffled labels are as many of each, no longer tied to the actions", async () => {
    const { rows, judge, quality } = await streamOf({ gcd: { shuffle_labels: true } });
    const said = (row: Row) => (row.answer[0] === judge.verdictTokens.good ? "good" : "bad");
    expect(rows.filter((row) => said(row) === "good")).toHaveLength(rows.length / 2);
    expect(rows.some((row) => said(row) !== rightVerdict(row))).toBe(true);
    // the quality that is told is that by the true labels
    expect(quality).toMatchObject({ recall: { good: 1, bad: 0 } });
  });
});

describe("sampled verdicts", () => {
  const answers = [
    { text: "red good", finished: true },
    { text: "red bad", finished: true },
    { text: "red good", finished: false },
    { text: "red red", finished: true },
  ];
  const gcd = { mode: "think", num_generations: 4, unparsable_penalty: 0.5, standardise: false } as const;

  test("are paid where they say what is right, against the other answers to the same question", async () => {
    const { rows } = await streamOf({ gcd, says: (member) => answers[member] });
    expect(rows).toHaveLength(4 * 2 * trainedTasks.size);
    for (const row of rows) {
      const right = rightVerdict(row);
      const rewards = [Number(right === "good"), Number(right === "bad"), -0.5, -0.5];
      const centre = rewards.reduce((sum, reward) => sum + reward, 0) / 4;
      expect(row.outcome).toBe(rewards[row.episode]);
      expect(row.advantage).toBeCloseTo(rewards[row.episode] - centre, 12);
      expect(row.parts?.classification).toBe(row.advantage);
      expect(row).toMatchObject({
        kind: "classification",
        answer: tokenizer.encode(answers[row.episode].text),
        valid: row.episode < 2,
        truncated: row.episode === 2,
      });
    }
  });

  test("a question costs its copies with the longest answers allowed", async () => {
    const tokens = played.reduce((sum, { prompt, answer }) => sum + prompt.length + answer.length, 0);
    const few = { ...gcd, max_completion_length: 5 };
    const { rows } = await streamOf({ gcd: few, says: (member) => answers[member] });
    // of each question four copies: rows of the first two pairs are 16
    const cost = rows.slice(0, 16).reduce((sum, { prompt }) => sum + prompt.length + 5, 0);
    const asked = async (most: number) =>
      (await streamOf({ gcd: { ...few, max_token_share: most / tokens }, says: (member) => answers[member] }))
        .rows.length;
    expect(await asked(cost)).toBe(16);
    expect(await asked(cost - 1)).toBe(8);
  });

  test("each has a random stream of its own, and is sampled as the rollout is", async () => {
    const { calls, rows } = await streamOf({ gcd, says: (member) => answers[member] });
    expect(calls).toHaveLength(1);
    const [{ requests, options }] = calls;
    expect(requests.map(({ prompt }) => prompt)).toEqual(rows.map(({ prompt }) => prompt));
    expect(new Set(requests.map(({ stream }) => stream)).size).toBe(requests.length);
    expect(options).toMatchObject({ temperature: 0.7, endTokens: [3], seed: 4 });
    expect(options.maxNewTokens).toBe(trainConfigSchema.parse({}).gcd.max_completion_length);
  });
});
