/** Evaluations that are stopped, and go on where they stopped. */
import { expect, test } from "vitest";
import { type TrainConfigInput, trainConfigSchema } from "../../src/config/schema.js";
import type { Evaluation } from "../../src/core/run_record.js";
import type { GenerationRequest, SamplingOptions } from "../../src/model/generate.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { type EvaluationEpisode, type EvaluationOptions, Evaluator } from "../../src/rl/play/evaluate.js";
import { PromptBuilder } from "../../src/rl/play/prompt.js";
import { RolloutWorker } from "../../src/rl/play/rollout.js";
import { CORRIDOR_COMMANDS, CorridorWorld } from "../support/corridor_world.js";

const tokenizer = new Tokenizer(buildWordTokenizer(new CorridorWorld().sampleTexts()));

const settings: TrainConfigInput = {
  world: { max_steps: 6, train_split: "other" },
  eval: { samples: 3, temperature: 0.7, episodes: 3 },
};

interface Asked {
  readonly request: GenerationRequest;
  readonly options: SamplingOptions;
}

/** Evaluates; the sampler answers by stream, and calls `onAsk` before each batch. */
async function evaluate(
  options: EvaluationOptions,
  onAsk = (_batch: number) => {},
  { world = new CorridorWorld(), change = settings } = {},
) {
  const config = trainConfigSchema.parse(change);
  const asked: Asked[] = [];
  let batch = 0;
  const sampler = {
    generate: async (requests: readonly GenerationRequest[], sampling: SamplingOptions) => {
      onAsk(batch++);
      return requests.map((request) => {
        asked.push({ request, options: sampling });
        const word = CORRIDOR_COMMANDS[request.stream % CORRIDOR_COMMANDS.length];
        const tokens = [...tokenizer.encode(word), tokenizer.eosTokenId as number];
        return { tokens, logProbs: tokens.map(() => -1), finished: true };
      });
    },
  };
  const prompts = new PromptBuilder(tokenizer, config.prompt);
  const worker = new RolloutWorker(world, prompts, sampler, tokenizer.eosTokenId as number);
  const results: Evaluation[] = [];
  for await (const result of new Evaluator(config, world, worker).run(4, "grpo", options))
    results.push(result);
  await worker.close();
  expect(world.closed).toBe(world.opened);
  return { results, asked };
}

const whole = await evaluate({});

test("greedy plays a task once, sampled as often as it is told, at its own temperature", () => {
  const [greedy, sampled] = whole.results;
  expect(greedy).toMatchObject({ step: 4, stage: "grpo", split: "train", mode: "greedy", episodes: 3 });
  expect(sampled).toMatchObject({ mode: "sampled", episodes: 9 });
  expect(Object.keys(greedy).filter((name) => /@/.test(name))).toEqual([]);
  expect(Object.keys(sampled).filter((name) => /@/.test(name))).toEqual(["avg@3", "pass@2", "pass@3"]);
  expect(sampled["avg@3"]).toBeCloseTo(sampled.success, 12);
  for (const name of ["success", "success_low", "success_high"]) {
    expect(greedy[`${name}/odd`]).toBeTypeOf("number");
    expect(greedy[`${name}/even`]).toBeTypeOf("number");
  }
  const temperatures = new Set(whole.asked.map(({ options }) => options.temperature));
  expect([...temperatures]).toEqual([0, 0.7]);
  // episodes of one task differ in nothing but their random streams
  const first = whole.asked.filter(({ options }) => options.temperature > 0).slice(0, 9);
  expect(new Set(first.map(({ request }) => request.stream)).size).toBe(9);
});

test("instructions are read in one of two plays of each task and mode, and the results say in which", async () => {
  const block = "right right left";
  const { results, asked } = await evaluate({
    instructions: ({ taskType }) => (taskType === "odd" ? block : undefined),
  });
  expect(results.map(({ mode, instructions }) => [mode, instructions])).toEqual([
    ["greedy", "without"],
    ["greedy", "with"],
    ["sampled", "without"],
    ["sampled", "with"],
  ]);
  const told = asked.filter(({ request }) => tokenizer.decode([...request.prompt]).includes(block));
  const temperatures = new Set(told.map(({ options }) => options.temperature));
  expect([...temperatures]).toEqual([0, 0.7]);
  // those without come first in each mode
  const greedy = asked.filter(({ options }) => options.temperature === 0);
  const isTold = ({ request }: Asked) => tokenizer.decode([...request.prompt]).includes(block);
  const half = greedy.length / 2;
  expect(greedy.slice(0, half).filter(isTold)).toEqual([]);
  expect(greedy.slice(half).some(isTold)).toBe(true);
  // without them a play is what it was
  expect(results[0]).toEqual({ ...whole.results[0], instructions: "without" });
});

test("what is there is not played again", async () => {
  const { results } = await evaluate({ done: [{ split: "train", mode: "greedy" }] });
  expect(results).toEqual([whole.results[1]]);
});

test("an evaluation that was stopped goes on from its episodes, with the same result", async () => {
  const played: EvaluationEpisode[] = [];
  const controller = new AbortController();
  const records = { played, add: (episode: EvaluationEpisode) => void played.push(episode) };
  let batches = 0;
  const stopped = await evaluate({ records, signal: controller.signal }, () => {
    if (++batches === 10) controller.abort();
  });
  expect(stopped.results).toEqual(whole.results.slice(0, 1));
  const saved = JSON.parse(JSON.stringify(played)) as EvaluationEpisode[];
  const known = saved.length;
  expect(known).toBeGreaterThan(3);
  expect(known).toBeLessThan(12);
  const rest: EvaluationEpisode[] = [];
  const resumed = await evaluate({
    records: { played: saved, add: (episode) => void rest.push(episode) },
  });
  expect(resumed.results).toEqual(whole.results);
  expect(rest.length).toBe(12 - known);
  expect(resumed.asked.length).toBeLessThan(whole.asked.length);
});

/** Plays one greedy episode of each task asked for, and gives what is kept of them. */
async function kept(evaluation: TrainConfigInput["eval"], world = new CorridorWorld()) {
  const episodes: EvaluationEpisode[] = [];
  const records = { played: [], add: (episode: EvaluationEpisode) => void episodes.push(episode) };
  const change = {
    world: { max_steps: 6 },
    eval: { modes: ["greedy" as const], episodes: 9, ...evaluation },
  };
  const { results } = await evaluate({ records }, undefined, { world, change });
  return { results, episodes };
}

/** Two splits more than the one that is trained on. */
class Splits extends CorridorWorld {
  override readonly splits = ["train", "near", "far"];
}

test("splits are those that are named, or all but the training split; tasks are filtered by type and cut", async () => {
  const splitsOf = async (splits: string[] | null) =>
    (await kept({ splits }, new Splits())).results.map(({ split }) => split);
  expect(await splitsOf(null)).toEqual(["near", "far"]);
  expect(await splitsOf(["far"])).toEqual(["far"]);
  expect(await splitsOf([])).toEqual([]);
  const tasksOf = async (evaluation: TrainConfigInput["eval"]) =>
    (await kept({ splits: ["near"], ...evaluation })).episodes.map(({ taskId }) => taskId);
  expect((await tasksOf({})).sort()).toEqual(["one", "three", "two"]);
  expect(await tasksOf({ task_types: ["odd"] })).toEqual(["one"]);
  expect(await tasksOf({ episodes: 2 })).toHaveLength(2);
  // the first few of a shuffle of the split's own
  const firsts = await Promise.all(
    ["near", "far", "a", "b", "c", "d", "e", "f"].map(async (split) => {
      const { episodes } = await kept({ splits: [split], episodes: 1 });
      return episodes[0].taskId;
    }),
  );
  expect(new Set(firsts).size).toBeGreaterThan(1);
});

test("what is kept of an episode is what its numbers are made from; a failure says why", async () => {
  const { results, episodes } = await kept(
    { splits: ["near"], task_types: ["odd"], samples: 1 },
    new CorridorWorld(),
  );
  const [episode] = episodes;
  expect(Object.keys(episode).sort()).toEqual(
    ["ended", "mode", "rows", "sample", "split", "taskId", "taskType"].sort(),
  );
  expect(episode).toMatchObject({ taskId: "one", taskType: "odd", split: "near", mode: "greedy", sample: 0 });
  expect(episode.rows.length).toBeGreaterThan(0);
  expect(episode.rows[0]).toMatchObject({ observation: "You are at 0 . task : one", stateKey: "one 0" });
  expect(Object.keys(episode.rows[0]).sort()).toEqual(["action", "observation", "stateKey", "valid"]);
  expect(results[0]).toMatchObject({ "episodes/odd": 1, episodes: 1 });
  expect(results[0]).not.toHaveProperty("instructions");
  const broken = new CorridorWorld({ fault: (task) => (task === "one" ? "throws" : undefined) });
  const failed = await kept({ splits: ["near"] }, broken);
  const reasons = failed.episodes.map(({ taskId, ended, failure }) => [taskId, ended === "failed", failure]);
  expect(reasons).toContainEqual(["one", true, expect.stringContaining("the floor gave way")]);
  expect(failed.results[0]).toMatchObject({ episodes: 2, failed_rate: 1 / 3 });
});

test("samples of a task are numbered", () => {
  const numbers = new Set<number>();
  const records = { played: [], add: ({ sample }: EvaluationEpisode) => void numbers.add(sample) };
  return evaluate({ records }).then(() => expect([...numbers].sort()).toEqual([0, 1, 2]));
});

test("an error that is no stop is told", async () => {
  await expect(
    evaluate({}, () => {
      throw new Error("the sampler broke");
    }),
  ).rejects.toThrow("the sampler broke");
});

test("episodes and results of another split, mode or reading are not taken for these", async () => {
  const played: EvaluationEpisode[] = [];
  const instructions = () => "right right left";
  const add = (episode: EvaluationEpisode) => void played.push(episode);
  await evaluate({ instructions, records: { played: [], add } });
  expect(new Set(played.map(({ instructions: read }) => read))).toEqual(new Set(["without", "with"]));
  const again = async (known: readonly EvaluationEpisode[]) => {
    const fresh: EvaluationEpisode[] = [];
    const records = { played: known, add: (episode: EvaluationEpisode) => void fresh.push(episode) };
    await evaluate({ instructions, records });
    return fresh;
  };
  expect(await again(played)).toEqual([]);
  // three tasks: greedy once and sampled three times, with and without
  const without = played.filter(({ instructions: read }) => read === "without");
  const rest = await again(without);
  expect(rest).toHaveLength(12);
  expect(new Set(rest.map(({ instructions: read }) => read))).toEqual(new Set(["with"]));
  expect(await again(played.map((one) => ({ ...one, split: "near" })))).toHaveLength(24);
  const left = async (done: EvaluationOptions["done"]) =>
    (await evaluate({ instructions, done })).results.map(({ mode, instructions: read }) => `${mode} ${read}`);
  const all = ["greedy without", "greedy with", "sampled without", "sampled with"];
  expect(await left([{ split: "near", mode: "greedy", instructions: "with" }])).toEqual(all);
  expect(await left([{ split: "train", mode: "greedy" }])).toEqual(all);
  const done = [
    { split: "near", mode: "greedy", instructions: "with" },
    { split: "train", mode: "greedy", instructions: "with" },
  ] as const;
  expect(await left(done)).toEqual(all.filter((one) => one !== "greedy with"));
});
