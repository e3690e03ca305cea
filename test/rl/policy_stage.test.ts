/** Iterations of the stage that plays, with a worker and a learner that only take notes: what is played, labelled, trained and told. */
import { afterEach, describe, expect, test, vi } from "vitest";
import { type TrainConfigInput, trainConfigSchema } from "../../src/config/schema.js";
import type { Metrics, RolloutRow } from "../../src/core/run_record.js";
import { POLICY_STATISTICS } from "../../src/kernels/index.js";
import type { Qwen2Model } from "../../src/model/qwen2.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { Correction } from "../../src/rl/correction/correction.js";
import { Gcd } from "../../src/rl/gcd/gcd.js";
import { JUDGE_WORDS } from "../../src/rl/gcd/judge.js";
import { type WatchedRows, watchedMetrics, watchRows } from "../../src/rl/loop/coupling_probe.js";
import { itemsOfStep } from "../../src/rl/loop/data_order.js";
import { influenceReport } from "../../src/rl/loop/influence_hook.js";
import { type PolicyStageDeps, policyStage } from "../../src/rl/loop/policy_stage.js";
import type { UpdateContext } from "../../src/rl/loop/stage.js";
import type { Episode, EpisodeRequest } from "../../src/rl/play/episode.js";
import type { RolloutOptions } from "../../src/rl/play/rollout.js";
import type { PlayedRow, Row } from "../../src/rl/rows.js";
import { colourWorld } from "../support/colour_world.js";
import { played, unplaced } from "../support/rows.js";

// both measure gradients of a model
vi.mock("../../src/rl/loop/coupling_probe.js", async (original) => ({
  ...(await original<object>()),
  watchRows: vi.fn(),
  watchedMetrics: vi.fn(),
}));
vi.mock("../../src/rl/loop/influence_hook.js", async (original) => ({
  ...(await original<object>()),
  influenceReport: vi.fn(),
}));
afterEach(() => {
  vi.restoreAllMocks();
  vi.mocked(watchRows).mockReset();
});

const model = { name: "policy" } as unknown as Qwen2Model;
const reference = { name: "reference" } as unknown as Qwen2Model;
const world = colourWorld();
const tasks = world.tasks("train").slice(0, 2);
const tokenizer = new Tokenizer(buildWordTokenizer([...JUDGE_WORDS, ":"], { roles: ["user", "assistant"] }));

/** Two groups of two episodes. Where one of two wins their advantages are 0.5 and -0.5. */
const two = { tasks_per_step: 2, num_generations: 2, scale_rewards: "none", success_reward: 1 } as const;

type Outcome = number | "failed";

interface Scene {
  /** Default: the first episode of each group wins. */
  readonly outcomeOf?: (request: EpisodeRequest) => Outcome;
  /** What the row of an episode has beside. */
  readonly rowOf?: (request: EpisodeRequest) => Partial<PlayedRow>;
  readonly reference?: Qwen2Model;
  /** Log-probability of each token of a row. */
  readonly scoreOf?: (row: Row, by: Qwen2Model) => number;
  readonly index?: number;
  /** What the clock says, look after look. */
  readonly times?: readonly number[];
  readonly deps?: Partial<PolicyStageDeps>;
}

function open(input: TrainConfigInput, scene: Scene = {}) {
  const { outcomeOf = ({ episode }) => 1 - (episode % 2), rowOf = () => ({}) } = scene;
  const plays: { readonly requests: readonly EpisodeRequest[]; readonly options: RolloutOptions }[] = [];
  const scored: { readonly rows: readonly Row[]; readonly temperature: number; readonly by?: Qwen2Model }[] =
    [];
  const updated: { readonly rows: readonly Row[]; readonly rate: number }[] = [];
  const records: { readonly step: number; readonly rows: readonly RolloutRow[] }[] = [];
  const episodeOf = (request: EpisodeRequest): Episode => {
    const outcome = outcomeOf(request);
    const isFailed = outcome === "failed";
    const row: PlayedRow = {
      ...{
        ...played,
        ...request,
        prompt: [request.group],
        answer: [50, request.episode],
        logProbs: [-1, -1],
      },
      ...{ text: { blocks: [], text: "", hash: `state ${request.group}` }, action: `act ${request.episode}` },
      outcome: isFailed ? 0 : outcome,
      ...rowOf(request),
    };
    return { ...request, ended: isFailed ? "failed" : outcome > 0 ? "won" : "lost", rows: [row] };
  };
  const worker = {
    ...{ world, prompts: { tokenizer } },
    play: async (requests: readonly EpisodeRequest[], options: RolloutOptions) => {
      plays.push({ requests, options });
      return requests.map(episodeOf);
    },
  };
  const learner = {
    model,
    score: async (rows: readonly Row[], temperature: number, by?: Qwen2Model) => {
      scored.push({ rows, temperature, by });
      const value = (row: Row) => scene.scoreOf?.(row, by ?? model) ?? -1;
      return rows.map((row) => Float32Array.from(row.answer, () => value(row)));
    },
    update: async ({ rows }: { readonly rows: readonly Row[] }, rate: number) => {
      updated.push({ rows, rate });
      const stats = new Float32Array(2 * POLICY_STATISTICS.length);
      // 3, 5, ... of the classification stream
      stats[POLICY_STATISTICS.length + POLICY_STATISTICS.indexOf("loss")] = 1 + 2 * updated.length;
      const logProbs = rows.map(({ answer }) => Float32Array.from(answer, () => -1));
      const step = { gradNorm: 1, skipped: false, skippedSteps: 0, lossScale: 1 };
      return { stats: [stats], logProbs, packedTokens: 8, ...step };
    },
  };
  const times = [...(scene.times ?? [])];
  const stage = policyStage({
    config: trainConfigSchema.parse({ ...input, prompt: { format: "plain", ...input.prompt } }),
    ...{ model, tasks, now: () => times.shift() ?? 0 },
    worker: worker as unknown as PolicyStageDeps["worker"],
    sink: {
      rollouts: async (step: number, rows: readonly RolloutRow[]) => void records.push({ step, rows }),
    } as unknown as PolicyStageDeps["sink"],
    ...scene.deps,
  });
  const update = () =>
    stage.update({
      ...{ learner: learner as unknown as UpdateContext["learner"], reference: scene.reference },
      ...{ index: scene.index ?? 0, step: 11, learningRate: 0.5 },
    });
  return { stage, update, learner, plays, scored, updated, records };
}

async function iterate(input: TrainConfigInput, scene: Scene = {}) {
  const opened = open({ log: { rollouts: true }, ...input }, scene);
  const metrics: Metrics | Record<string, number> = await opened.update();
  const rows = opened.records.flatMap((record) => record.rows);
  return { ...opened, metrics: metrics as Readonly<Record<string, number>>, rows };
}

describe("play", () => {
  test("is of groups of the stage's tasks, by the rules of the configuration", async () => {
    const { plays } = await iterate(
      {
        seed: 7,
        world: { max_steps: 5, anchor: "state_key", outcome: "score" },
        prompt: { valid_action: "well_formed" },
        grpo: { ...two, temperature: 0.7, top_k: 3, top_p: 0.9, max_completion_length: 4 },
      },
      { index: 3 },
    );
    const [first, second] = itemsOfStep(7, "tasks", tasks, 2, 3);
    const place = (group: number, { id, type }: typeof first) => ({ taskId: id, taskType: type, group });
    expect(plays).toEqual([
      {
        requests: [
          { ...place(0, first), episode: 0 },
          { ...place(0, first), episode: 1 },
          { ...place(1, second), episode: 2 },
          { ...place(1, second), episode: 3 },
        ],
        options: {
          ...{ anchor: "state_key", valid: "well_formed", outcome: "score", maxSteps: 5, seed: 7 },
          sampling: { temperature: 0.7, topK: 3, topP: 0.9, maxNewTokens: 4 },
          ...{ label: "grpo 3", instructions: undefined },
        },
      },
    ]);
  });

  test("goes on with filter_groups until enough groups have contrast", async () => {
    const grpo = { ...two, filter_groups: true, filter_groups_max_batches: 3 };
    const contrast = new Set([0, 3]);
    const outcomeOf = ({ group, episode }: EpisodeRequest) =>
      contrast.has(group) ? episode % 2 : Number(group === 1);
    const { plays, rows, metrics } = await iterate({ seed: 7, grpo }, { outcomeOf });
    expect(plays.map(({ options }) => options.label)).toEqual(["grpo 0", "grpo 0, batch 1"]);
    expect(plays[1].requests.map(({ group, episode }) => [group, episode])).toEqual([
      [2, 4],
      [2, 5],
      [3, 6],
      [3, 7],
    ]);
    const orders = Array.from({ length: 4 }, (_, seed) => seed);
    for (const seed of orders) {
      const drawn = (await iterate({ seed, grpo }, { outcomeOf })).plays[1].requests;
      expect([drawn[0], drawn[2]].map(({ taskId }) => taskId)).toEqual(
        itemsOfStep(seed, "tasks, batch 1", tasks, 2, 0).map(({ id }) => id),
      );
    }
    expect(rows.map(({ group }) => group)).toEqual([0, 0, 3, 3]);
    // two of four groups
    expect(metrics).toMatchObject({ "filter_groups/batches": 2, "filter_groups/dropped": 0.5 });
    // of all that were played
    expect(metrics.success).toBe(4 / 8);
    const bounded = await iterate({ grpo: { ...grpo, filter_groups_max_batches: 1 } }, { outcomeOf });
    expect(bounded.plays).toHaveLength(1);
    expect(bounded.rows.map(({ group }) => group)).toEqual([0, 0]);
    expect(bounded.metrics).toMatchObject({ "filter_groups/batches": 1, "filter_groups/dropped": 0.5 });
    expect((await iterate({ grpo })).plays).toHaveLength(1);
    // what failed is no contrast, and a group without contrast is no part of the update
    const none = await iterate({ grpo }, { outcomeOf: ({ episode }) => (episode % 2 === 0 ? 1 : "failed") });
    expect(none.plays).toHaveLength(3);
    expect(none.rows).toEqual([]);
    const plain = await iterate({ grpo: { ...grpo, filter_groups: false } }, { outcomeOf });
    expect(plain.plays).toHaveLength(1);
    expect(Object.keys(plain.metrics).filter((key) => key.startsWith("filter"))).toEqual([]);
  });
});

describe("rows", () => {
  test("have the advantage within their group in units of the success reward; what failed is left out", async () => {
    const { rows, records, updated, metrics } = await iterate(
      { grpo: { ...two, success_reward: 3 } },
      { outcomeOf: ({ episode }) => [1, 0, 1, "failed" as const][episode] },
    );
    expect(records.map(({ step }) => step)).toEqual([11]);
    expect(rows.map((row) => [row.episode, row.return, row.advantage])).toEqual([
      [0, 3, 1.5],
      [1, 0, -1.5],
      [2, 3, 0],
    ]);
    expect(rows.map(({ advantage_parts }) => advantage_parts.outcome)).toEqual([1.5, -1.5, 0]);
    expect(updated.map((one) => [one.rows.map(({ episode }) => episode), one.rate])).toEqual([[[0, 1], 0.5]]);
    expect(updated[0].rows.map(({ advantage }) => advantage)).toEqual([1.5, -1.5]);
    expect(metrics).toMatchObject({
      rows: 3,
      "rows/computed": 2,
      success: 2 / 3,
      "episodes/failed_rate": 1 / 4,
    });
  });

  test("have no token that counts where the answer was cut short, if that is asked for", async () => {
    const rowOf = ({ episode }: EpisodeRequest) => ({ truncated: episode === 1 });
    const maskOf = async (mask_truncated_completions: boolean) =>
      (await iterate({ grpo: { ...two, mask_truncated_completions } }, { rowOf })).rows.map(
        ({ mask }) => mask,
      );
    const whole = [1, 1];
    expect(await maskOf(true)).toEqual([whole, [0, 0], whole, whole]);
    expect(await maskOf(false)).toEqual([whole, whole, whole, whole]);
  });

  test("are recorded where the configuration says so", async () => {
    expect((await iterate({ grpo: two, log: { rollouts: false } })).records).toEqual([]);
  });

  test("have weights of their tokens by a rival remedy", async () => {
    // the good answer of each group begins as the bad one
    const { rows } = await iterate({ grpo: { ...two, token_weights: "gtpo", conflict_positive: 3 } });
    expect(rows.map(({ weight }) => weight)).toEqual([
      [3, 1],
      [0, 1],
      [3, 1],
      [0, 1],
    ]);
  });

  test("pay for their distance to the reference policy where KL is in the reward", async () => {
    // the first episode: both tokens half a nat below
    const scoreOf = ({ episode }: Row, by: Qwen2Model) => (by === reference && episode === 0 ? -1.5 : -1);
    const kl = { beta: 0.1, kl_estimator: "k1", temperature: 0.7 } as const;
    const { rows, scored, metrics } = await iterate(
      { grpo: { ...two, ...kl, kl_in: "reward" } },
      { reference, scoreOf },
    );
    expect(scored.map((one) => [one.rows.length, one.temperature, one.by])).toEqual([
      [4, 0.7, undefined],
      [4, 0.7, reference],
    ]);
    [0.45, -0.45, 0.5, -0.5].forEach((value, at) => {
      expect(rows[at].advantage).toBeCloseTo(value, 6);
    });
    expect(metrics.kl).toBeCloseTo(1 / 8, 6);
    // in the loss it is the update's
    const inLoss = await iterate({ grpo: { ...two, ...kl, kl_in: "loss" } }, { reference, scoreOf });
    expect(inLoss.rows.map(({ advantage }) => advantage)).toEqual([0.5, -0.5, 0.5, -0.5]);
    expect(inLoss.scored.map(({ by }) => by)).toEqual([reference]);
    const alone = await iterate({ grpo: { ...two, ...kl, kl_in: "reward" } });
    expect(alone.scored).toEqual([]);
  });
});

test("times are those between looks at the clock; what coupling measures counts apart", async () => {
  const times = [0, 1, 10, 100, 1000, 10_000, 100_000];
  const { metrics } = await iterate({ grpo: two }, { times });
  expect(metrics).toMatchObject({
    "perf/step_ms/rollout": 1,
    "perf/step_ms/update": 100_000 - 1 - (90 + 9000),
  });
  expect(metrics).not.toHaveProperty("perf/step_ms/coupling");
});

describe("coupling", () => {
  const coupling = { every: 2, samples: 5 };
  const rowOf = ({ episode }: EpisodeRequest) => ({ truncated: episode === 1 });

  test("is measured of the rows that count before and after the update, every so many of them", async () => {
    const watched = { name: "watched" } as unknown as WatchedRows;
    vi.mocked(watchRows).mockResolvedValue(watched);
    vi.mocked(watchedMetrics).mockResolvedValue({ "coupling/cross": 4 });
    const grpo = { ...two, mask_truncated_completions: true };
    const times = [0, 1, 10, 100, 1000, 10_000, 100_000];
    const { metrics, learner } = await iterate({ grpo, coupling }, { index: 1, rowOf, times });
    const [[config, by, rows, index]] = vi.mocked(watchRows).mock.calls;
    expect([config.coupling.samples, by, index]).toEqual([5, learner, 1]);
    expect(rows.map(({ episode }) => episode)).toEqual([0, 2, 3]);
    expect(vi.mocked(watchedMetrics).mock.calls).toEqual([[watched, learner]]);
    expect(metrics).toMatchObject({ "coupling/cross": 4, "perf/step_ms/coupling": 90 + 9000 });
    vi.mocked(watchRows).mockClear();
    const between = await iterate({ grpo, coupling }, { index: 2 });
    expect(watchRows).not.toHaveBeenCalled();
    expect(between.metrics).not.toHaveProperty("perf/step_ms/coupling");
  });

  test("hooks see the rows before the update and may drop some; without hooks nothing is measured", async () => {
    vi.mocked(influenceReport).mockImplementation(async (_learner, _config, rows, step) => ({
      step,
      rows: rows.map((row, sample) => ({
        ...{ row, sample, self: 0, cross: 0, total: 0 },
        onPunished: sample === 2 ? 1 : 0,
      })),
    }));
    const onInfluence = vi.fn(() => [1, 0.5, 1, 1]);
    const harmful = { drop_harmful: 1 };
    const both = await iterate({ grpo: two, coupling: harmful }, { deps: { onInfluence } });
    const [[by, config, rows, step]] = vi.mocked(influenceReport).mock.calls;
    expect([by, config.grpo.num_generations, rows.length, step]).toEqual([both.learner, 2, 4, 11]);
    expect(rows.map(({ advantage }) => advantage)).toEqual([0.5, -0.5, 0.5, -0.5]);
    expect(onInfluence).toHaveBeenCalledTimes(1);
    expect(both.rows.map(({ weight }) => weight)).toEqual([
      [1, 1],
      [0.5, 0.5],
      [0, 0],
      [1, 1],
    ]);
    const counts = (metrics: object) =>
      Object.entries(metrics).flatMap(([name, value]) => (/coupling.hook/.test(name) ? [value] : []));
    expect(counts(both.metrics)).toEqual([4, 1, 1]);
    const dropped = await iterate({ grpo: two, coupling: harmful });
    expect(counts(dropped.metrics)).toEqual([4, 1, 0]);
    const own = await iterate({ grpo: two }, { deps: { onInfluence } });
    expect(counts(own.metrics)).toEqual([4, 0, 1]);
    vi.mocked(influenceReport).mockClear();
    expect(counts((await iterate({ grpo: two })).metrics)).toEqual([]);
    expect(influenceReport).not.toHaveBeenCalled();
  });
});

const labelled = { enabled: true, label_source: "trajectory", threshold: 0.1, min_visits: 1 } as const;

describe("labels", () => {
  const verdicts = ({ rows }: { readonly rows: readonly RolloutRow[] }) => rows.map(({ verdict }) => verdict);
  const counts = { "labels/good": 2, "labels/bad": 2, "labels/tied": 0, "labels/in_conflict": 0 };

  test("are of the played rows, where judging or correction needs them", async () => {
    const corrected = await iterate({
      grpo: two,
      gcd: { ...labelled, enabled: false },
      correction: { enabled: true },
    });
    expect(verdicts(corrected)).toEqual(["good", "bad", "good", "bad"]);
    expect(corrected.metrics).toMatchObject(counts);
    const plain = await iterate({ grpo: two });
    expect(verdicts(plain)).toEqual([null, null, null, null]);
    expect(plain.metrics).not.toHaveProperty("labels/good");
    const sure = await iterate({
      ...{ grpo: two, gcd: { ...labelled, enabled: false, threshold: 0.6 }, correction: { enabled: true } },
    });
    expect(sure.metrics).toMatchObject({ "labels/good": 0, "labels/tied": 4 });
    const seen = await iterate({
      ...{ grpo: two, gcd: { ...labelled, enabled: false, min_visits: 2 }, correction: { enabled: true } },
    });
    expect(seen.metrics).toMatchObject({ "labels/good": 0, "labels/tied": 4 });
  });

  test("are the expert's, where that is asked for", async () => {
    const gcd = { ...labelled, enabled: false, label_source: "critic" } as const;
    // the colour of the task in the second episode of each group, which does not count as won
    const rowOf = ({ episode, taskId }: EpisodeRequest) => ({ action: episode % 2 === 1 ? taskId : "grey" });
    const judged = await iterate({ grpo: two, gcd, correction: { enabled: true } }, { rowOf });
    expect(verdicts(judged)).toEqual(["bad", "good", "bad", "good"]);
  });
});

describe("judging", () => {
  const question = (verdict: "good" | "bad"): Row => ({
    ...{ ...unplaced, kind: "classification", prompt: [90], answer: [verdict === "good" ? 1 : 2] },
    ...{ advantage: 1, logProbs: [-1], verdict },
  });
  const asked = {
    rows: [question("good"), question("bad")],
    metrics: { "gcd/questions": 2 },
    quality: { balancedAccuracy: 0.6, recall: { good: 1, bad: 1 }, questions: 2 },
  };
  const gcd = { ...labelled, lambda: 0.5, warmup_steps: 2 };

  test("adds questions to the update, and lambda grows with the answers", async () => {
    const ask = vi.spyOn(Gcd.prototype, "rows").mockResolvedValue(asked);
    const finish = vi.spyOn(Gcd.prototype, "finish");
    const opened = await iterate({ grpo: { ...two, num_iterations: 2 }, gcd }, { index: 4 });
    const [[rows, labels, index]] = ask.mock.calls;
    expect(rows.map(({ advantage }) => advantage)).toEqual([0.5, -0.5, 0.5, -0.5]);
    expect(labels.map(({ verdict }) => verdict)).toEqual(["good", "bad", "good", "bad"]);
    expect(index).toBe(4);
    expect(opened.updated.map((one) => one.rows.map(({ kind }) => kind))).toEqual(
      Array(2).fill([...Array(4).fill("policy"), ...Array(2).fill("classification")]),
    );
    expect(finish.mock.calls).toEqual([[asked]]);
    expect(opened.metrics).toMatchObject({ "gcd/questions": 2, "gcd/lambda": 0.25, "gcd/loss": (3 + 5) / 2 });
    expect(opened.rows.map(({ kind, verdict }) => [kind, verdict])).toEqual([
      ...["good", "bad", "good", "bad"].map((verdict) => ["policy", verdict]),
      ...["good", "bad"].map((verdict) => ["classification", verdict]),
    ]);
    expect(new Set(opened.rows.map(({ step }) => step))).toEqual(new Set([11]));
    expect(await opened.update()).toMatchObject({ "gcd/lambda": 0.5 });
    const none = await iterate({ grpo: two });
    expect(Object.keys(none.metrics).filter((key) => key.startsWith("gcd"))).toEqual([]);
  });

  test("by a classifier steps it with the policy, and gives it back at the end", async () => {
    const events: string[] = [];
    const head = {
      clearGradient: () => void events.push("clear"),
      step: (rate: number) => void events.push(`step ${rate}`),
      release: () => void events.push("release"),
    };
    vi.spyOn(Gcd.prototype, "rows").mockImplementation(async function (this: Gcd) {
      Object.assign(this, { head });
      return asked;
    });
    const { stage, update } = open({ grpo: two, gcd });
    await update();
    stage.release?.();
    expect(events).toEqual(["clear", "step 0.5", "release"]);
  });
});

describe("correction", () => {
  const input: TrainConfigInput = {
    ...{ grpo: two, gcd: { ...labelled, enabled: false }, correction: { enabled: true, every: 100 } },
  };

  test("reads the rows with their labels, says what it did, and its blocks are in the prompts", async () => {
    const observe = vi.spyOn(Correction.prototype, "observe");
    const refresh = vi.spyOn(Correction.prototype, "refresh").mockResolvedValue({ "correction/active": 3 });
    const blockFor = vi.spyOn(Correction.prototype, "blockFor").mockReturnValue("avoid");
    const { metrics, plays } = await iterate(input, { index: 5 });
    const [[rows, labelOf]] = observe.mock.calls;
    expect(rows.map(labelOf)).toEqual(["good", "bad", "good", "bad"]);
    expect(labelOf({ ...rows[0], action: "nobody did" })).toBeUndefined();
    expect(refresh.mock.calls).toEqual([[5, 11]]);
    expect(metrics["correction/active"]).toBe(3);
    const [{ requests, options }] = plays;
    expect(options.instructions?.(requests[2])).toBe("avoid");
    expect(blockFor.mock.calls).toEqual([["say", 5, 1]]);
    expect((await iterate({ grpo: two })).metrics).not.toHaveProperty("correction/active");
  });

  test("hands its blocks to evaluations, once there are some", () => {
    const { stage } = open(input);
    expect(stage.instructions?.()).toBeUndefined();
    vi.spyOn(Correction.prototype, "active", "get").mockReturnValue([{} as Correction["active"][number]]);
    vi.spyOn(Correction.prototype, "block").mockImplementation((type) => `avoid ${type}`);
    expect(stage.instructions?.()?.("say")).toBe("avoid say");
    expect(open({ grpo: two }).stage.instructions?.()).toBeUndefined();
  });

  test("counts the policy's tokens of what it would say, and asks the policy as the configuration judges", async () => {
    const { stage } = open({
      ...input,
      correction: { enabled: true, every: 1, threshold: 0.1, min_visits: 1 },
    });
    const found: Correction[] = [];
    vi.spyOn(Correction.prototype, "save").mockImplementation(function (this: Correction) {
      found.push(this);
      return {};
    });
    await stage.save?.();
    expect(found[0].deps.tokensOf("judge :")).toBe(2);
    expect(found[0].deps.config.correction.every).toBe(1);
  });
});

test("a stage remembers what judging and correction do, and nothing without them", async () => {
  const both: TrainConfigInput = { grpo: two, gcd: { enabled: true }, correction: { enabled: true } };
  const saved = await open(both).stage.save?.();
  const empty = { active: [], counts: [], examples: [] };
  expect(saved).toEqual({ gcd: { weight: { updates: 0, solved: 0 }, head: null }, correction: empty });
  const plain = open({ grpo: two }).stage;
  expect(await plain.save?.()).toEqual({ gcd: null, correction: null });
  expect(() => plain.restore?.({ gcd: null, correction: null })).not.toThrow();
  expect(() => plain.release?.()).not.toThrow();
  const later = {
    gcd: { weight: { updates: 4, solved: 1 }, head: null },
    correction: { ...empty, active: [{ taskType: "say", text: "avoid", since: 3 }] },
  };
  const { stage } = open(both);
  // a run that had neither goes on with both
  stage.restore?.({ gcd: null, correction: null });
  expect(await stage.save?.()).toEqual(saved);
  stage.restore?.(later);
  expect(await stage.save?.()).toEqual(later);
});

test("a stage has the settings of its section, and a reference policy where KL costs something", () => {
  const { stage } = open({ grpo: { ...two, beta: 0.1, max_steps: 4 }, eval: { every: 3 } });
  expect(stage).toMatchObject({ name: "grpo", needsReference: true, evaluateEvery: 3 });
  expect(stage.settings.max_steps).toBe(4);
  expect(open({ grpo: { ...two, beta: 0 } }).stage.needsReference).toBe(false);
});
