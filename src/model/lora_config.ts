/** Settings of a low-rank adapter, and `adapter_config.json` as PEFT writes it. */
import { z } from "zod";
import { ConfigError, DataError } from "../core/errors.js";
import { shown } from "../core/shown.js";
import type { Qwen2Config } from "./config.js";
import { isObject } from "./config_rules.js";
import { storedShapes } from "./parameters.js";

/** Matrices of a layer that can have an adapter, by the names that PEFT's `target_modules` takes. */
export const LORA_TARGETS = [
  "q_proj",
  "k_proj",
  "v_proj",
  "o_proj",
  "gate_proj",
  "up_proj",
  "down_proj",
] as const;
export type LoraTarget = (typeof LORA_TARGETS)[number];

/** An adapter adds (alpha / rank) B A to each weight [O, I] that it targets, with A [rank, I] and B [O, rank]. */
export interface LoraConfig {
  readonly rank: number;
  readonly alpha: number;
  /** Share of an adapter's inputs that are left out while training, below 1. */
  readonly dropout: number;
  readonly targets: readonly LoraTarget[];
  /** alpha / sqrt(rank) in place of alpha / rank (2312.03732). Default false. */
  readonly isRankStabilised?: boolean;
}

/** What B A is multiplied by. */
export function loraScale({ rank, alpha, isRankStabilised = false }: LoraConfig): number {
  return alpha / (isRankStabilised ? Math.sqrt(rank) : rank);
}

/** Name of a factor, as PEFT's files have it. @param weight Hugging Face name of the matrix */
export function factorName(weight: string, factor: "A" | "B"): string {
  return `base_model.model.${weight.replace(/\.weight$/, "")}.lora_${factor}.weight`;
}

/** One matrix that has an adapter. */
export interface AdaptedPart {
  /** Hugging Face name. */
  readonly name: string;
  readonly rows: number;
  readonly isAdapted: boolean;
}

/** A stored tensor (`storedShapes`) some rows of which have an adapter. */
export interface AdaptedWeight {
  readonly name: string;
  readonly shape: readonly [number, number];
  /** Whether its two parts lie row by row in turn. */
  readonly alternates: boolean;
  readonly parts: readonly AdaptedPart[];
}

/** The stored tensors that an adapter changes, in their order. */
export function adaptedWeights(
  config: Qwen2Config,
  { targets }: Pick<LoraConfig, "targets">,
): AdaptedWeight[] {
  const isTarget = (name: string) => targets.some((target) => name.endsWith(`.${target}.weight`));
  return storedShapes(config).flatMap(({ name, shape, parts = [{ name, shape, stride: 1 }] }) => {
    if (shape.length !== 2 || !parts.some((part) => isTarget(part.name))) return [];
    return [
      {
        name,
        shape: shape as [number, number],
        alternates: parts.some(({ stride }) => stride > 1),
        parts: parts.map((part) => ({
          name: part.name,
          rows: part.shape[0] as number,
          isAdapted: isTarget(part.name),
        })),
      },
    ];
  });
}

/** Names and shapes of an adapter's factors, in the order of the weights. */
export function factorShapes(
  config: Qwen2Config,
  lora: Pick<LoraConfig, "targets" | "rank">,
): { readonly name: string; readonly shape: readonly number[] }[] {
  return adaptedWeights(config, lora).flatMap(({ shape: [, I], parts }) =>
    parts
      .filter(({ isAdapted }) => isAdapted)
      .flatMap(({ name, rows }) => [
        { name: factorName(name, "A"), shape: [lora.rank, I] },
        { name: factorName(name, "B"), shape: [rows, lora.rank] },
      ]),
  );
}

/** @throws ConfigError for a rank above the smaller side of a targeted matrix: such an adapter is larger than what it changes */
export function checkRank(config: Qwen2Config, lora: Pick<LoraConfig, "targets" | "rank">): void {
  for (const { shape, parts } of adaptedWeights(config, lora)) {
    for (const { name, rows, isAdapted } of parts) {
      const most = Math.min(rows, shape[1]);
      if (!isAdapted || lora.rank <= most) continue;
      throw new ConfigError(
        `[lora.rank] rank is above what a matrix can have: got ${lora.rank} for ${name} [${rows}, ${shape[1]}], expected at most ${most}. Lower lora.rank, or leave it out of lora.targets.`,
      );
    }
  }
}

/** The content of `adapter_config.json`. @param base name or path of the model that the adapter was trained on */
export function peftConfigJson(lora: LoraConfig, base: string | null): Readonly<Record<string, unknown>> {
  return {
    base_model_name_or_path: base,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    lora_alpha: lora.alpha,
    lora_dropout: lora.dropout,
    modules_to_save: null,
    peft_type: "LORA",
    r: lora.rank,
    target_modules: [...lora.targets],
    task_type: "CAUSAL_LM",
    use_rslora: lora.isRankStabilised ?? false,
  };
}

const peftSchema = z.looseObject({
  peft_type: z.literal("LORA", '"LORA"'),
  r: z.int("a whole number of 1 or more").min(1, "a whole number of 1 or more"),
  // far above any use, and far below where f32 ends
  lora_alpha: z
    .number("a number above 0")
    .gt(0, "a number above 0")
    .max(1e9, "a number above 0, at most 1e9"),
  lora_dropout: z.number("a number from 0, below 1").min(0).lt(1).default(0),
  use_rslora: z.boolean("true or false").nullish(),
});

/** Fields that change what an adapter computes, with the values that change nothing. */
const UNSUPPORTED: readonly (readonly [field: string, isHarmless: (value: unknown) => boolean])[] = [
  ["use_dora", (value) => value === false],
  ["fan_in_fan_out", (value) => value === false],
  ["bias", (value) => value === "none"],
  ["modules_to_save", (value) => Array.isArray(value) && value.length === 0],
  ["rank_pattern", isEmpty],
  ["alpha_pattern", isEmpty],
  ["lora_bias", (value) => value === false],
  ["trainable_token_indices", isEmpty],
  ["layer_replication", isEmpty],
];

function isEmpty(value: unknown): boolean {
  return Array.isArray(value) ? value.length === 0 : isObject(value) && Object.keys(value).length === 0;
}

/**
 * Reads the parsed text of an `adapter_config.json`.
 * @param names of the adapter's tensors: which matrices it has factors for is taken from them, since `target_modules` may be a
 * pattern
 * @throws DataError naming every field that is wrong or not supported
 */
export function parsePeftConfig(json: unknown, file: string, names: Iterable<string>): LoraConfig {
  const cure =
    "Use a LoRA adapter of PEFT with one rank and one alpha, without DoRA, biases or further modules.";
  const input = isObject(json) ? json : {};
  const result = peftSchema.safeParse(input);
  const problems = [
    ...(result.error?.issues ?? []).map((issue) => {
      const field = String(issue.path[0]);
      return `${field}: got ${shown(input[field])}, expected ${issue.message}`;
    }),
    ...UNSUPPORTED.flatMap(([field, isHarmless]) => {
      const value = input[field];
      return value === undefined || value === null || isHarmless(value)
        ? []
        : [`${field}: got ${shown(value)}, which is not supported`];
    }),
  ];
  if (!result.success || problems.length > 0)
    throw new DataError(`[${file}] adapter configuration is not usable: ${problems.join("; ")}. ${cure}`);
  const { r: rank, lora_alpha: alpha, lora_dropout: dropout, use_rslora } = result.data;
  const found = [...names];
  const targets = LORA_TARGETS.filter((target) => found.some((name) => name.includes(`.${target}.lora_`)));
  return { rank, alpha, dropout, targets, isRankStabilised: use_rslora ?? false };
}
