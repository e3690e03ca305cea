/** What `uncouple train` can be told: one schema gives types, defaults, checks, documentation and the file of `init`. */
import { z } from "zod";
import { printable } from "../core/shown.js";
import { correctionSection } from "./correction.js";
import { couplingSection } from "./coupling.js";
import { section, seedNumber, text } from "./fields.js";
import { gcdSection } from "./gcd.js";
import { loraSection } from "./lora.js";
import { withPreset } from "./presets.js";
import {
  checkpointSection,
  deviceSection,
  evaluationSection,
  logSection,
  modelSection,
  promptSection,
  worldSection,
} from "./sections.js";
import { grpoSection, imitationSection } from "./stages.js";

/** Whether a text can be the name of a folder, and be shown. */
function isName(text: string): boolean {
  return !/[/\\]/.test(text) && printable(text) === text && text.length <= 200 && !/^\.*$/.test(text);
}

const allFields = section({
  seed: seedNumber().default(0).describe("seed of the whole run: the same seed gives the same weights"),
  name: text()
    .refine(isName, "a name without a folder or control characters, at most 200 characters")
    .nullable()
    .default(null)
    .describe("name of the run folder; null = <world>__<algorithm>__s<seed>__<yyyymmdd-hhmmss>"),
  out: text().default("runs").describe("folder of the run folders"),
  device: deviceSection.prefault({}).describe("where kernels run"),
  world: worldSection.prefault({}).describe("the text world and its tasks"),
  model: modelSection.prefault({}).describe("the policy"),
  lora: loraSection.prefault({}).describe("low-rank adapter, trained in place of the policy's weights"),
  prompt: promptSection.prefault({}).describe("what the policy reads before each action"),
  imitation: imitationSection
    .prefault({})
    .describe("first stage: imitate the expert of the world (supervised, cross entropy)"),
  grpo: grpoSection
    .prefault({})
    .describe("second stage: reinforcement learning; names and defaults follow TRL's GRPOConfig"),
  gcd: gcdSection.prefault({}).describe("generative classification disentanglement, beside the policy loss"),
  correction: correctionSection
    .prefault({})
    .describe("prompt-based correction: the policy's critiques of its habits as instructions"),
  coupling: couplingSection.prefault({}).describe("gradient coupling, measured while training"),
  eval: evaluationSection.prefault({}).describe("measuring success on held-out tasks"),
  checkpoint: checkpointSection.prefault({}).describe("saving the state of the run"),
  log: logSection.prefault({}).describe("what is written beside metrics"),
});

/** Everything that decides the result of a run. */
export type TrainConfig = z.output<typeof allFields>;

/** What a configuration may hold before defaults are filled in. */
export type TrainConfigInput = z.input<typeof allFields>;

/** One rule between fields. */
interface Rule {
  readonly path: readonly [string, string];
  readonly expected: string;
  readonly holds: (config: TrainConfig) => boolean;
}

const RULES: readonly Rule[] = [
  {
    path: ["grpo", "delta"],
    expected: "null with surrogate cispo, which has no dual clip",
    holds: ({ grpo }) => grpo.delta === null || grpo.surrogate !== "cispo",
  },
  {
    path: ["grpo", "kl_in"],
    expected: "loss, with kl_estimator k3+ or k3_corrected, which differ by their gradients",
    holds: ({ grpo }) => grpo.kl_in === "loss" || ["k1", "k2", "k3"].includes(grpo.kl_estimator),
  },
  {
    path: ["grpo", "overlong_buffer"],
    expected: "at most max_completion_length",
    holds: ({ grpo }) => grpo.overlong_buffer === null || grpo.overlong_buffer <= grpo.max_completion_length,
  },
  {
    path: ["grpo", "delta"],
    expected: "a number above 1 + epsilon_high, or null",
    holds: ({ grpo }) => grpo.delta === null || grpo.delta > 1 + (grpo.epsilon_high ?? grpo.epsilon),
  },
  ...(["imitation", "grpo"] as const).flatMap((stage) =>
    (["adam_beta1", "adam_beta2"] as const).map(
      (field): Rule => ({
        path: [stage, field],
        expected: "a number from 0, below 1",
        holds: (config) => config[stage][field] < 1,
      }),
    ),
  ),
  {
    path: ["eval", "temperature"],
    expected: "a number above 0, or eval.modes: [greedy]",
    holds: ({ eval: evaluation }) => !evaluation.modes.includes("sampled") || evaluation.temperature > 0,
  },
  {
    path: ["imitation", "warmup_steps"],
    expected: "a number below imitation.max_steps",
    holds: ({ imitation }) => imitation.episodes === 0 || imitation.warmup_steps < imitation.max_steps,
  },
  {
    path: ["grpo", "warmup_steps"],
    expected: "a number below grpo.max_steps",
    holds: ({ grpo }) => grpo.max_steps === 0 || grpo.warmup_steps < grpo.max_steps,
  },
  {
    path: ["lora", "rank"],
    expected: "null beside lora.path: the adapter there has its own",
    holds: ({ lora }) => lora.rank === null || lora.path === null,
  },
  {
    path: ["model", "precision"],
    expected: "f32 or mixed without lora.rank or lora.path: only frozen matrices are kept as bf16",
    holds: ({ model, lora }) => model.precision !== "bf16" || lora.rank !== null || lora.path !== null,
  },
  {
    path: ["grpo", "anchor_cosine"],
    expected: "null beside grpo.anchor_similarity: one of both says which states are alike",
    holds: ({ grpo }) => grpo.anchor_cosine === null || grpo.anchor_similarity === null,
  },
  {
    path: ["correction", "cold_start_share"],
    expected: "0, or imitation.detours or gcd.cold_start_share above 0, where the mistakes come from",
    holds: ({ correction, imitation, gcd }) =>
      correction.cold_start_share === 0 ||
      imitation.episodes === 0 ||
      imitation.detours > 0 ||
      gcd.cold_start_share > 0,
  },
];

const checkedFields = allFields.check(({ value, issues }) => {
  for (const { path, expected, holds } of RULES) {
    const [group, field] = path;
    const input: unknown = Reflect.get(Reflect.get(value, group), field);
    if (!holds(value)) issues.push({ code: "custom", path: [...path], message: expected, input });
  }
});

/**
 * Schema of a training configuration. `trainConfigSchema.parse({})` gives all defaults; unknown keys are errors. The
 * `message` of an issue says what was expected. Fields that nobody gave have the values of the preset `grpo.algo`.
 */
export const trainConfigSchema = z.preprocess(withPreset, checkedFields);

/** A configuration as a JSON Schema (draft 2020-12), for editors, documentation and `uncouple init`. */
export function trainConfigJsonSchema(): z.core.JSONSchema.BaseSchema {
  return z.toJSONSchema(allFields, { io: "input" });
}

/** The stages that a configuration asks for, in their order. */
export function stagesOf(config: TrainConfig): ("imitation" | "grpo")[] {
  const stages: ("imitation" | "grpo")[] = [];
  if (config.imitation.episodes > 0) stages.push("imitation");
  if (config.grpo.max_steps > 0) stages.push("grpo");
  return stages;
}

/** Updates that a configuration asks for, all stages together. */
export function totalUpdates(config: TrainConfig): number {
  return stagesOf(config).reduce((sum, stage) => sum + config[stage].max_steps, 0);
}

/**
 * Name of the run folder: the configured one, or `<world>__<algorithm>__s<seed>__<yyyymmdd-hhmmss>`.
 * @param now local time is used
 */
export function runName(config: TrainConfig, now: Date): string {
  if (config.name !== null) return config.name;
  const two = (value: number) => String(value).padStart(2, "0");
  const date = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
  const time = `${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`;
  const algorithm = stagesOf(config).at(-1) ?? "none";
  return `${config.world.id}__${algorithm}__s${config.seed}__${date}-${time}`;
}
