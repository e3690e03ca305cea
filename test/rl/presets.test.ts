/** Presets of grpo.algo, and the way from settings to estimators. */
import { describe, expect, test } from "vitest";
import { ALGORITHMS, PRESETS, presetFields } from "../../src/config/presets.js";
import { trainConfigSchema } from "../../src/config/schema.js";
import { estimateAdvantages } from "../../src/rl/advantages/estimate.js";
import { ESTIMATORS, resolveOptions } from "../../src/rl/advantages/options.js";
import { advantageOptions, advantageRows, anchoredRows, rewardKl } from "../../src/rl/advantages/settings.js";
import type { PlayedRow } from "../../src/rl/rows.js";

const section = (grpo: object) => trainConfigSchema.parse({ grpo }).grpo;

describe("presets", () => {
  test.each([
    [
      "grpo",
      {
        scale_rewards: "group",
        std_epsilon: 1e-4,
        cross_steps: false,
        beta: 0,
        loss_aggregation: "token_mean",
        penalty_in: "advantage",
      },
    ],
    ["rloo", { num_generations: 8, beta: 0 }],
    ["dr_grpo", { scale_rewards: "none", loss_aggregation: "sequence_sum", beta: 0 }],
    [
      "dapo",
      {
        epsilon: 0.2,
        epsilon_high: 0.28,
        loss_aggregation: "token_mean",
        filter_groups: true,
        beta: 0,
        num_generations: 16,
        mask_truncated_completions: true,
      },
    ],
    [
      "gspo",
      {
        importance_sampling_level: "sequence",
        epsilon: 3e-4,
        epsilon_high: 4e-4,
        loss_aggregation: "sequence_mean",
        beta: 0,
      },
    ],
    [
      "gigpo",
      {
        num_generations: 8,
        tasks_per_step: 16,
        gamma: 0.95,
        step_advantage_weight: 1,
        norm: "mean_std",
        cross_steps: true,
        std_epsilon: 1e-6,
        std: "unbiased",
        invalid_action_penalty: 0.1,
        penalty_in: "reward",
        success_reward: 10,
        beta: 0.01,
        kl_estimator: "k3",
        kl_in: "loss",
        epsilon: 0.2,
        entropy_coef: 0.001,
        delta: 3,
        mini_batch_size: 256,
        learning_rate: 1e-6,
      },
    ],
    [
      "hgpo",
      {
        num_generations: 8,
        tasks_per_step: 16,
        gamma: 0.95,
        history_length: 2,
        history_alpha: 1,
        history_outcome: false,
        std: "population",
      },
    ],
    [
      "rlvmr",
      {
        tag_weight: 1,
        tag_alpha: null,
        invalid_action_penalty: 0.1,
        cross_steps: true,
        norm: "mean_std",
        beta: 0.01,
      },
    ],
  ])("%s sets what its source has", (algo, expected) => {
    expect(section({ algo })).toMatchObject(expected);
  });

  test("no algorithm is the default one, and no preset has unknown fields", () => {
    expect(trainConfigSchema.parse({}).grpo).toEqual(section({ algo: "grpo" }));
    const known = Object.keys(section({}));
    for (const preset of Object.values(PRESETS))
      expect(known).toEqual(expect.arrayContaining(Object.keys(preset)));
  });

  test("given fields are stronger, and a resolved configuration stays what it is", () => {
    const given = section({ algo: "gigpo", gamma: 0.5, beta: 0, delta: null });
    expect(given).toMatchObject({ gamma: 0.5, beta: 0, delta: null, cross_steps: true });
    expect(section({ algo: "dapo", epsilon_high: undefined }).epsilon_high).toBe(0.28);
    const config = trainConfigSchema.parse({ grpo: { algo: "hgpo", std: "unbiased" } });
    expect(trainConfigSchema.parse(config)).toEqual(config);
    const fields = presetFields(given);
    expect(fields.find(({ field }) => field === "gamma")).toEqual({
      field: "gamma",
      preset: 0.95,
      value: 0.5,
    });
    expect(fields.filter(({ preset, value }) => preset !== value).map(({ field }) => field)).toEqual([
      "gamma",
      "delta",
      "beta",
    ]);
  });

  test.each([
    [{ algo: "ppo" }, "grpo.algo"],
    [{ surrogate: "cispo", delta: 3 }, "grpo.delta"],
    [{ algo: "gigpo", surrogate: "cispo" }, "grpo.delta"],
    [{ kl_in: "reward", kl_estimator: "k3+" }, "grpo.kl_in"],
    [{ overlong_buffer: 17 }, "grpo.overlong_buffer"],
  ])("%j is refused", (grpo, path) => {
    const issues = trainConfigSchema.safeParse({ grpo }).error?.issues;
    expect(issues?.map((issue) => issue.path.join("."))).toEqual([path]);
  });
});

const row: PlayedRow = {
  kind: "policy",
  group: 0,
  episode: 0,
  step: 0,
  taskId: "t",
  taskType: "type",
  prompt: [1],
  answer: [2, 3],
  logProbs: [-1, -2],
  text: { blocks: [], text: "", hash: "" },
  observation: "o",
  action: "look",
  valid: true,
  truncated: false,
  stepReward: 1,
  outcome: 10,
};

describe("settings", () => {
  test("every algorithm has an estimator that takes its settings", () => {
    const rows = [0, 1].map((episode) => ({
      ...row,
      episode,
      outcome: 10 * episode,
      anchorKey: "o",
      tag: "explore",
    }));
    for (const algo of ALGORITHMS) {
      const options = advantageOptions(section({ algo }));
      expect(ESTIMATORS).toContain(options.algo);
      const { total } = estimateAdvantages(rows, options);
      expect(total[1]).toBeGreaterThanOrEqual(0);
    }
  });

  test("each setting reaches the option of its name", () => {
    const settings = section({
      algo: "hgpo",
      norm: "mean",
      scale_rewards: "batch",
      std: "unbiased",
      std_epsilon: 0.5,
      cross_steps: false,
      invalid_action_penalty: 0.25,
      penalty_in: "advantage",
      scale_dead_groups: false,
      max_advantage: 7,
      mask_truncated_completions: true,
      gamma: 0.75,
      step_advantage_weight: 3,
      history_length: 5,
      history_alpha: 2,
      history_outcome: true,
      tag_weight: 4,
      max_paid_tags: 6,
      first_step_reflection: false,
    });
    const { mask_truncated, tag_reward, ...options } = advantageOptions(settings);
    expect(options).toEqual(
      Object.fromEntries(Object.keys(options).map((name) => [name, Reflect.get(settings, name)])),
    );
    expect([mask_truncated, tag_reward]).toEqual([true, "rules"]);
    // no option is left to the estimator's own default
    const all = Object.keys(resolveOptions({ algo: "hgpo" }, true)).filter((name) => name !== "tag_alpha");
    expect(Object.keys(advantageOptions(settings)).sort()).toEqual(all.sort());
    const alpha = advantageOptions(section({ algo: "rlvmr", tag_alpha: 0.25 }));
    expect([alpha.tag_alpha, alpha.tag_weight]).toEqual([0.25, undefined]);
  });

  test("similar observations, or hidden states, share a key where steps are compared and it is asked for", async () => {
    const texts = ["a shelf 1", "a shelf 2", "Nothing happens.", "a lamp 1"];
    const rows = texts.map((observation, step) => ({
      ...row,
      step,
      observation,
      anchorKey: step === 3 ? undefined : observation,
    }));
    // the first and the third point the same way
    const hidden = [
      [1, 0],
      [0, 1],
      [2, 0.1],
    ];
    const asked: number[] = [];
    const statesOf = async (chosen: readonly { readonly step: number }[]) => {
      asked.push(...chosen.map(({ step }) => step));
      return hidden;
    };
    const keys = async (grpo: object) =>
      (await anchoredRows(rows, section(grpo), statesOf)).map(({ anchorKey }) => anchorKey);
    expect(await keys({ algo: "gigpo", anchor_similarity: 0.8 })).toEqual([
      "cluster 0",
      "cluster 0",
      undefined,
      undefined,
    ]);
    const own = rows.map(({ anchorKey }) => anchorKey);
    expect(await keys({ algo: "gigpo" })).toEqual(own);
    expect(await keys({ algo: "dapo", anchor_similarity: 0.8 })).toEqual(own);
    expect(asked).toEqual([]);
    const [first, second, third, fourth] = await keys({ algo: "hgpo", anchor_cosine: 0.9 });
    expect(asked).toEqual([0, 1, 2]);
    expect([third, fourth]).toEqual([first, undefined]);
    expect(second).not.toBe(first);
    expect(await keys({ algo: "grpo", anchor_cosine: 0.9 })).toEqual(own);
  });

  test("step rewards are in units of the success reward; overlong answers and KL cost reward", () => {
    const scored = (...referenceLogProbs: number[]) => [{ logProbs: row.logProbs, referenceLogProbs }];
    const of = (grpo: object, answers?: ReturnType<typeof scored>) =>
      advantageRows([row], section(grpo), answers)[0];
    expect(of({ success_reward: 5 })).toMatchObject({ stepReward: 5, outcome: 10 });
    expect(of({ max_completion_length: 3, overlong_buffer: 2 }).penalty).toBe(0.5);
    expect(of({}).penalty).toBeUndefined();
    const kl = { beta: 0.5, kl_in: "reward", kl_estimator: "k1" };
    expect(of(kl, scored(-1.5, -2.5))).toMatchObject({ outcome: 9.5, stepReward: 9.5 });
    expect(rewardKl(scored(-1.5, -2.75), section(kl))).toEqual({ kl: 1.25 / 2 });
    expect(of({ ...kl, kl_in: "loss" }, scored(-1.5, -2.5))).toMatchObject({ outcome: 10, stepReward: 10 });
  });
});
