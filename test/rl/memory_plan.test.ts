/** What a memory plan lets the run's own code do, with texts of sizes worked out by hand, and the settings that would need less. */
import { afterEach, describe, expect, test, vi } from "vitest";
import { globals } from "webgpu";
import { type TrainConfigInput, trainConfigSchema } from "../../src/config/schema.js";
import { presetConfig } from "../../src/model/config.js";
import { type GenerationRequest, Generator, type SamplingOptions } from "../../src/model/generate.js";
import type { LoraConfig } from "../../src/model/lora_config.js";
import type { Qwen2Model } from "../../src/model/qwen2.js";
import { ASSUMED_TEXTS, memoryCures, type PlanRequest, planMemory } from "../../src/rl/loop/memory_plan.js";
import type { Objective } from "../../src/rl/objective/objective.js";
import { policyObjective } from "../../src/rl/objective/policy.js";
import type { Row } from "../../src/rl/rows.js";
import { Learner } from "../../src/rl/update/learner.js";

vi.mock("../../src/rl/objective/policy.js", async (original) => {
  const real = await original<typeof import("../../src/rl/objective/policy.js")>();
  return { ...real, policyObjective: vi.fn(real.policyObjective) };
});
// constants alone: the device of a plan computes nothing
Object.assign(globalThis, globals);
afterEach(() => {
  vi.restoreAllMocks();
});

const V = 40;
const texts = { prompt: 20, shownPrompt: 12, shown: 3, observation: 5 };

function requestOf(input: TrainConfigInput, changes: Partial<PlanRequest> = {}): PlanRequest {
  const config = trainConfigSchema.parse(input);
  const model = presetConfig("nano", V, { num_hidden_layers: 1 });
  return { config, model, lora: undefined, facts: { isSoftware: true }, texts, ...changes };
}

/** What a plan asks of generator and learner, in its order; none of it is done. */
async function planned(request: PlanRequest) {
  const events: string[] = [];
  const rows: (readonly Row[])[] = [];
  const models: Qwen2Model[] = [];
  const prompts: (readonly number[])[][] = [];
  const lengths = (of: readonly { readonly length: number }[]) =>
    [...new Set(of.map(({ length }) => length))].join();
  vi.spyOn(Generator.prototype, "generate").mockImplementation(async function (
    this: Generator,
    requests: readonly GenerationRequest[],
    { maxNewTokens, temperature, endTokens, seed }: SamplingOptions,
  ) {
    prompts.push(requests.map(({ prompt }) => prompt));
    expect([temperature, endTokens, seed]).toEqual([1, [0], 0]);
    expect(requests.map(({ stream }) => stream)).toEqual([...requests.keys()]);
    events.push(
      `play ${requests.length} of ${lengths(requests.map(({ prompt }) => prompt))}, answers ${maxNewTokens}`,
    );
    return [];
  });
  const noted = (learner: Learner, of: readonly Pick<Row, "prompt" | "answer">[]) =>
    `${of.length} of ${lengths(of.map(({ prompt }) => prompt))}, answers ${lengths(of.map(({ answer }) => answer))}, ` +
    `within ${learner.tokensPerMicroBatch}`;
  vi.spyOn(Learner.prototype, "score").mockImplementation(async function (
    this: Learner,
    of: readonly Pick<Row, "prompt" | "answer">[],
    temperature: number,
    by?: Qwen2Model,
  ) {
    events.push(`score ${noted(this, of)} at ${temperature}${by ? " by the reference" : ""}`);
    return of.map(({ answer }) => new Float32Array(answer.length));
  });
  vi.spyOn(Learner.prototype, "update").mockImplementation(async function (
    this: Learner,
    objective: Objective,
    rate: number,
    options?: object,
  ) {
    models.push(this.model);
    rows.push(objective.rows as readonly Row[]);
    expect(options).toEqual({ keepLogProbs: true });
    events.push(`update ${noted(this, objective.rows)} at ${objective.temperature}, rate ${rate}`);
    return {} as never;
  });
  const plan = await planMemory(request);
  vi.restoreAllMocks();
  return { plan, events, rows, models, prompts };
}

const two: TrainConfigInput = {
  world: { max_steps: 4 },
  imitation: { episodes: 5, batch_size: 16, tokens_per_micro_batch: 50 },
  grpo: {
    ...{ max_steps: 1, tasks_per_step: 2, num_generations: 3, max_completion_length: 4 },
    ...{ tokens_per_micro_batch: 100, beta: 0.1, temperature: 0.5 },
  },
  eval: { episodes: 2 },
};

describe("a plan of both stages", () => {
  test("plays, scores and updates with rows that fill a micro-batch", async () => {
    const { events, rows, plan, prompts } = await planned(requestOf(two));
    expect(events).toEqual([
      "play 2 of 20, answers 4",
      // 12 + 3 - 1 tokens a row
      "update 3 of 12, answers 3, within 50 at 1, rate 0",
      "play 6 of 20, answers 4",
      // 20 + 4 - 1
      "score 4 of 20, answers 4, within 100 at 1 by the reference",
      "score 4 of 20, answers 4, within 100 at 1",
      "update 4 of 20, answers 4, within 100 at 0.5, rate 0",
      "play 2 of 20, answers 4",
    ]);
    const [, played] = rows;
    expect(played.map(({ advantage, episode, step }) => [advantage, episode, step])).toEqual([
      [1, 0, 0],
      [-1, 1, 0],
      [1, 2, 0],
      [-1, 3, 0],
    ]);
    // with scores of the policy that played, and of the reference
    const four = Array(4).fill(new Float32Array(4));
    expect(vi.mocked(policyObjective).mock.lastCall?.[1]).toEqual({ old: four, reference: four });
    // texts that differ in their first token, of tokens that the model has
    const text = (first: number) => [first, ...Array.from({ length: 19 }, (_, t) => t + 1)];
    expect(played.map(({ prompt }) => prompt)).toEqual([0, 1, 2, 3].map(text));
    expect(prompts[0]).toEqual([0, 1].map(text));
    expect(played[0].answer).toEqual([1, 1, 2, 3]);
    expect(plan.texts).toEqual(texts);
  });

  test("is of no more rows than there are, and of one where not even that fits", async () => {
    const few = await planned(requestOf({ ...two, imitation: { ...two.imitation, batch_size: 2 } }));
    expect(few.events[1]).toBe("update 2 of 12, answers 3, within 50 at 1, rate 0");
    const tight = await planned(
      requestOf({
        ...two,
        grpo: { ...two.grpo, tasks_per_step: 1, num_generations: 2 },
        world: { max_steps: 1 },
      }),
    );
    expect(tight.events.at(-2)).toBe("update 2 of 20, answers 4, within 100 at 0.5, rate 0");
    const narrow = await planned(requestOf({ ...two, grpo: { ...two.grpo, tokens_per_micro_batch: 5 } }));
    expect(narrow.events.at(-2)).toBe("update 1 of 20, answers 4, within 5 at 0.5, rate 0");
  });

  test("counts environments, sequences and the start", async () => {
    const bounded = await planned(requestOf({ ...two, world: { max_steps: 1, max_environments: 1 } }));
    expect(bounded.events.filter((event) => event.startsWith("play"))).toEqual(
      Array(3).fill("play 1 of 20, answers 4"),
    );
    expect(bounded.events.at(-2)).toContain("update 1 of");
    const many = await planned(
      requestOf({
        ...two,
        grpo: { ...two.grpo, tasks_per_step: 100 },
        eval: { episodes: 300, at_start: false },
      }),
    );
    expect(many.events[0]).toContain("update");
    expect(many.events.filter((event) => event.startsWith("play"))).toEqual(
      Array(2).fill("play 256 of 20, answers 4"),
    );
  });

  test("has a reference policy where KL costs something, which scores where it is in the loss", async () => {
    const scores = async (grpo: TrainConfigInput["grpo"]) => {
      const { events, plan } = await planned(requestOf({ ...two, grpo: { ...two.grpo, ...grpo } }));
      const bytes = plan.rows.find(({ name }) => name === "reference policy")?.bytes ?? 0;
      return [events.filter((event) => event.startsWith("score")).length, bytes > 0];
    };
    expect(await scores({ beta: 0.1 })).toEqual([2, true]);
    expect(await scores({ beta: 0.1, kl_in: "reward", kl_estimator: "k1" })).toEqual([1, true]);
    expect(await scores({ beta: 0 })).toEqual([1, false]);
  });

  test("computes as the run does", async () => {
    const plain = (await planned(requestOf(two))).models;
    expect(plain.map(({ fused, recompute, adapter }) => [fused, recompute, adapter])).toEqual(
      Array(2).fill([true, false, undefined]),
    );
    expect(plain[0].parameters.requiresGrad).toBe(true);
    const lora: LoraConfig = { rank: 2, alpha: 4, dropout: 0, targets: ["q_proj"] };
    const model = { gradient_checkpointing: true, fused: false, precision: "bf16" } as const;
    const [changed] = (await planned(requestOf({ ...two, model, lora: { rank: 2 } }, { lora }))).models;
    expect([changed.fused, changed.recompute, changed.parameters.storage]).toEqual([false, true, "bf16"]);
    expect([changed.parameters.requiresGrad, changed.adapter?.lora]).toEqual([false, lora]);
  });
});

describe("texts", () => {
  const only = (events: readonly string[]) => events.filter((event) => /^(play 6|update)/.test(event));

  test("grow over an episode where it is one text; a row then goes on from the one before", async () => {
    const input: TrainConfigInput = { ...two, prompt: { context: "episode" } };
    const { events, rows } = await planned(requestOf(input));
    expect(only(events)).toEqual([
      // the expert's rows are apart unless whole episodes are drawn
      "update 3 of 12, answers 3, within 50 at 1, rate 0",
      // 20 + 3 (4 + 5)
      "play 6 of 47, answers 4",
      "update 3 of 20,29,38, answers 4, within 100 at 0.5, rate 0",
    ]);
    expect(rows[1].map(({ episode, step }) => [episode, step])).toEqual([
      [0, 0],
      [0, 1],
      [0, 2],
    ]);
    const wide = await planned(requestOf({ ...input, grpo: { ...two.grpo, tokens_per_micro_batch: 110 } }));
    // two texts of 51 tokens
    expect(wide.rows[1].map(({ episode, step, prompt }) => [episode, step, prompt[0]])).toEqual([
      [0, 0, 0],
      [0, 1, 0],
      [0, 2, 0],
      [1, 0, 1],
      [1, 1, 1],
      [1, 2, 1],
    ]);
    const drawn = {
      ...two.imitation,
      batch_of: "episodes",
      batch_size: 1,
      tokens_per_micro_batch: 60,
    } as const;
    const episodes = await planned(requestOf({ ...input, imitation: drawn }));
    // of 12 + 3 tokens, less than a prompt of play: one row a text, of the four of an episode
    expect(only(episodes.events)[0]).toBe("update 4 of 20, answers 3, within 60 at 1, rate 0");
    expect(only((await planned(requestOf({ ...two, imitation: drawn }))).events)[0]).toBe(
      "update 4 of 12, answers 3, within 60 at 1, rate 0",
    );
  });

  test("are no longer than the prompt's limit and the model's context allow", async () => {
    const longest = async (input: TrainConfigInput, changes: Partial<PlanRequest> = {}) => {
      const { events } = await planned(requestOf({ ...two, ...input }, changes));
      return only(events)[1];
    };
    expect(await longest({ prompt: { max_tokens: 7 } })).toBe("play 6 of 7, answers 4");
    expect(await longest({ prompt: { max_tokens: 30 } })).toBe("play 6 of 20, answers 4");
    const model = presetConfig("nano", V, { num_hidden_layers: 1, max_position_embeddings: 15 });
    expect(await longest({}, { model })).toBe("play 6 of 11, answers 4");
    const least = presetConfig("nano", V, { num_hidden_layers: 1, max_position_embeddings: 4 });
    expect(await longest({}, { model: least })).toBe("play 6 of 1, answers 4");
  });

  test("are of assumed sizes where nothing is known", async () => {
    const { plan, events } = await planned(requestOf(two, { texts: undefined }));
    expect(plan.texts).toEqual(ASSUMED_TEXTS);
    expect(events[0]).toBe("play 2 of 512, answers 4");
  });
});

/** Play and updates take memory by their sizes alone: of each episode, and of each token that a micro-batch may have. */
function countSizes(): void {
  const hold = async (model: Qwen2Model, bytes: number) => {
    const { buffers } = model.launcher.runtime;
    buffers.release(buffers.acquire(bytes, "add.y", true));
  };
  vi.spyOn(Generator.prototype, "generate").mockImplementation(async function (this: Generator, requests) {
    await hold(this.model, 16_384 * requests.length);
    return [];
  });
  vi.spyOn(Learner.prototype, "score").mockResolvedValue([]);
  vi.spyOn(Learner.prototype, "update").mockImplementation(async function (this: Learner) {
    await hold(this.model, (this.model.recompute ? 1024 : 8192) * this.tokensPerMicroBatch);
    return {} as never;
  });
}

test("what would need less: each setting that saves a twentieth, then those together that save more, as it is planned", async () => {
  countSizes();
  const input: TrainConfigInput = { ...two, grpo: { ...two.grpo, tasks_per_step: 3 } };
  const request = requestOf(input);
  const plan = await planMemory(request);
  const cures = await memoryCures(request, plan);
  const lora: LoraConfig = { rank: 16, alpha: 32, dropout: 0, targets: request.config.lora.targets };
  const bytesWith = async (settings: string, from: PlanRequest = request) => {
    let { config, lora: adapter } = from;
    for (const [name, value] of settings.split(" ").map((setting) => setting.split("="))) {
      const [section, field] = name.split(".") as ["grpo" | "lora", string];
      if (section === "lora") adapter = lora;
      const known: unknown = value === "true" ? true : /^[\d.]+$/.test(value) ? Number(value) : value;
      config = { ...config, [section]: { ...config[section], [field]: known } };
    }
    return (await planMemory({ ...from, config, lora: adapter })).totalBytes;
  };
  const savings = async (ways: readonly string[], from: PlanRequest, { totalBytes: most }: typeof plan) => {
    const found: { settings: string; totalBytes: number }[] = [];
    for (const settings of ways) found.push({ settings, totalBytes: await bytesWith(settings, from) });
    return found
      .filter(({ totalBytes }) => totalBytes < 0.95 * most)
      .sort((a, b) => a.totalBytes - b.totalBytes);
  };
  const ways = [
    ...["model.gradient_checkpointing=true", "model.precision=mixed"],
    "imitation.adam_moments=f16 grpo.adam_moments=f16",
    ...["grpo.beta=0", "grpo.tasks_per_step=2"],
    ...["imitation.tokens_per_micro_batch=13", "grpo.tokens_per_micro_batch=25"],
    ...["lora.rank=16", "lora.rank=16 model.precision=bf16"],
  ];
  const alone = await savings(ways, request, plan);
  expect(alone.length).toBeGreaterThan(4);
  expect(alone.length).toBeLessThan(ways.length);
  expect(cures.slice(0, alone.length)).toEqual(alone);
  // each one with all before it that saved
  const together = cures.slice(alone.length);
  expect(together.length).toBeGreaterThan(1);
  let least = alone[0].totalBytes;
  for (const { settings, totalBytes } of together) {
    expect(totalBytes).toBe(await bytesWith(settings));
    expect(totalBytes).toBeLessThan(0.95 * least);
    const names = settings.split(" ").map((setting) => setting.split("=")[0]);
    expect(new Set(names).size).toBe(names.length);
    least = totalBytes;
  }
  // play that takes most of all needs fewer tasks
  const crowd = requestOf({ ...input, grpo: { ...input.grpo, num_generations: 80 } });
  const found = (await memoryCures(crowd, await planMemory(crowd))).map(({ settings }) => settings);
  expect(found).toContain("grpo.tasks_per_step=2");
  // an adapter that is there is none to add
  const adapted = requestOf(
    { ...input, imitation: { episodes: 0 }, lora: { rank: 2 } },
    { lora: { ...lora, rank: 2 } },
  );
  const others = await memoryCures(adapted, await planMemory(adapted));
  expect(others.filter(({ settings }) => settings.includes("lora"))).toEqual([]);
  expect(others.map(({ settings }) => settings)).toContain("grpo.tokens_per_micro_batch=25");
  expect(others.filter(({ settings }) => settings.includes("imitation"))).toEqual([]);
});
