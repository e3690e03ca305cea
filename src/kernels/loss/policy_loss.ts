import * as shader from "../../../shaders/loss/policy_loss.js";
import { TOKENS_PER_PART, total } from "../../../shaders/loss/token_statistics.js";
import { rowLayout } from "../../../shaders/rows.js";
import { ArgumentError } from "../../core/errors.js";
import {
  defineOp,
  f32,
  f32Param,
  type KernelUnit,
  optional,
  type PlanContext,
  type Scalars,
  type ShaderInput,
  u32,
  u32Param,
} from "../engine/op.js";
import { policyLossReference } from "./policy_loss_reference.js";
import { MAXIMUM, STATISTICS } from "./policy_statistics.js";

/** `kl_kind` of each KL estimate. */
export const KL_KINDS = { k1: 1, k2: 2, k3: 3, "k3+": 4, k3_corrected: 5 } as const;
/** `surrogate` of each kind. */
export const SURROGATES = { clip: 0, cispo: 1 } as const;
/** `ratio_level` of each kind. */
export const RATIO_LEVELS = { token: 0, sequence: 1 } as const;

/** Scalars of one stream; those of stream 1 have the prefix `classification_`. */
const STREAM_PARAMS = {
  coef: f32Param(1),
  surrogate: u32Param(SURROGATES.clip),
  ratio_level: u32Param(RATIO_LEVELS.token),
  clip_low: f32Param(0.2),
  clip_high: f32Param(0.2),
  dual_clip: f32Param(0),
  beta: f32Param(0),
  kl_kind: u32Param(KL_KINDS.k3),
  entropy_coef: f32Param(0),
} as const;

export type StreamParam = keyof typeof STREAM_PARAMS;

const NAMES = Object.keys(STREAM_PARAMS) as StreamParam[];
const PREFIXES = ["", "classification_"] as const;

/** Scalars that decide the shader's text; the last two say whether tensors of those names were gathered. */
const CONSTANTS = [
  ...PREFIXES.flatMap((prefix) => ["surrogate", "ratio_level", "kl_kind"].map((name) => prefix + name)),
  "has_reference",
  "has_stream",
];

const PARAMS = Object.fromEntries(
  PREFIXES.flatMap((prefix) => NAMES.map((name) => [prefix + name, STREAM_PARAMS[name]])),
);

const unitScalars: KernelUnit["scalars"] = {
  N: "u32",
  P: "u32",
  ...Object.fromEntries(Object.entries(PARAMS).map(([name, { type }]) => [name, type])),
};

/**
 * What callers tell of each token, side by side: as arrays of their own these and what the loss writes are more than the eight
 * storage buffers that every adapter can bind.
 */
const gatherUnit: KernelUnit = {
  op: "policy_loss",
  scalars: { N: "u32" },
  kernel: {
    entry: "gather",
    shader: ({ has }) =>
      shader.gather({ reference: has("reference_log_prob"), count: has("count"), stream: has("stream") }),
    reads: ["old_log_prob", "advantage", "weight", "count", "reference_log_prob", "stream"],
    writes: ["told"],
    elements: () => ({ told: "vec4<f32>" }),
    workgroups: ({ N }) => Math.ceil(N / 64),
  },
};

const sequencesUnit: KernelUnit = {
  op: "policy_loss",
  scalars: unitScalars,
  kernel: {
    entry: "sequences",
    constants: CONSTANTS,
    shader: (input) => shader.sequences(textOf(input)),
    reads: ["log_prob", "told", "sequence_start"],
    writes: ["sequence_terms"],
    elements: () => ({ told: "vec4<f32>", sequence_terms: "vec2<f32>" }),
    workgroups: ({ N }) => Math.ceil(N / 64),
  },
};

const tokensUnit: KernelUnit = {
  op: "policy_loss",
  scalars: unitScalars,
  kernel: {
    entry: "tokens",
    constants: CONSTANTS,
    shader: (input) => shader.tokens(textOf(input)),
    reads: ["log_prob", "entropy", "told", "loss_scale", "sequence_terms"],
    writes: ["d_log_prob", "d_entropy", "partial"],
    elements: () => ({ told: "vec4<f32>", sequence_terms: "vec2<f32>" }),
    workgroups: ({ P }) => Math.ceil(P / 64),
  },
};

const totalUnit: KernelUnit = {
  op: "policy_loss",
  scalars: { P: "u32" },
  kernel: {
    entry: "total",
    shader: ({ facts }) => total(rowLayout(facts.isSoftware), 2 * STATISTICS, STATISTICS, MAXIMUM),
    reads: ["partial"],
    writes: ["stats"],
    workgroups: (_, { isSoftware }) => Math.ceil((2 * STATISTICS) / rowLayout(isSoftware).rows),
  },
};

function forward({ run, scratch, views, scalars }: PlanContext): void {
  const { N, P } = scalars;
  const partial = scratch("partial", [P, 2 * STATISTICS]);
  const hasSequences = PREFIXES.some(
    (prefix) => scalars[`${prefix}ratio_level`] === RATIO_LEVELS.sequence && (prefix === "" || views.stream),
  );
  if (hasSequences && !views.sequence_start) {
    throw new ArgumentError(
      "[policy_loss] sequence_start is missing: got none, expected the place of the first token of each token's sequence, " +
        "u32 [N], for ratio_level 1. Pass it.",
    );
  }
  const gathered = {
    ...scalars,
    has_reference: Number(views.reference_log_prob !== undefined),
    has_stream: Number(views.stream !== undefined),
  };
  const told = scratch("told", [N, 4 * shader.toldVectors(inputOf(gathered))]);
  run(gatherUnit, { ...views, told }, scalars);
  const sequence_terms = hasSequences ? scratch("sequence_terms", [N, 2]) : undefined;
  if (sequence_terms) run(sequencesUnit, { ...views, told, sequence_terms }, gathered);
  run(tokensUnit, { ...views, told, partial, sequence_terms }, gathered);
  run(totalUnit, { partial, stats: views.stats }, { P });
}

/**
 * Clipped policy-gradient loss of packed tokens, with its gradients. Per token, r = exp(log_prob - old_log_prob), A the
 * advantage, d = reference_log_prob - log_prob:
 *   surrogate, `clip`: max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)), at most -A dual_clip where A < 0 and dual_clip > 0
 *   surrogate, `cispo`: -A clip(r, 1 - clip_low, 1 + clip_high) log_prob, the clipped ratio being a constant factor
 *   KL = -d (k1), d^2 / 2 (k2), exp(d) - d - 1 (k3); k3+ has the value of k3 and the gradient of k2; k3_corrected is r k3,
 *   whose gradient -r d is that of the KL divergence under the behaviour policy's samples
 *   loss = sum weight * coef * (surrogate + beta KL - entropy_coef entropy)
 * With `ratio_level` sequence, r of the surrogate is that of the sequence, exp(mean over its counted tokens of log_prob -
 * old_log_prob), and every counted token has 1 / length of the gradient of all its surrogates; KL stays per token.
 * `weight` holds the token mask and the normaliser of the whole batch (src/core/aggregation.ts), so gradients of
 * micro-batches add up. `count` [N] says how many equal tokens of different rows a token stands for (absent: 1); its weight
 * is the sum of theirs, and the unweighted statistics count it as many times. Each stream, 0 (policy) and 1 (classification rows), has its own set of scalars.
 * `sequence_start` [N] is the place of the first token of each token's sequence; a sequence lies in one stream and in one
 * micro-batch. Needed for sequence ratios only.
 * Gradients (not statistics) are multiplied by `loss_scale`, see src/optim/loss_scale.ts.
 * Tokens of weight 0 give gradients of exactly 0, whatever their other values.
 * @remarks At a tie the unclipped branch counts, so the gradient at r = 1 is -A weight even with clip 0. Log-ratios
 * (and d) are clamped to +-20, with no gradient outside.
 * @source Schulman et al. 2017, eq. 7; dual clip Ye et al. 2020, eq. 5; asymmetric clip DAPO 2025, eq. 8; sequence ratio GSPO
 * 2025 (2507.18071), eq. 5 to 7; cispo MiniMax-M1 2025 (2506.13585), eq. 4 and 5; k1 to k3 Schulman 2020; k3+ verl;
 * k3_corrected DeepSeek-V3.2 2025 (2512.02556), and TRL's use_bias_correction_kl
 */
export const policyLoss = defineOp({
  name: "policy_loss",
  inputs: {
    log_prob: f32("N"),
    entropy: f32("N"),
    old_log_prob: f32("N"),
    reference_log_prob: optional(f32("N")),
    advantage: f32("N"),
    weight: f32("N"),
    count: optional(f32("N")),
    stream: optional(u32("N")),
    sequence_start: optional(u32("N")),
    loss_scale: optional(f32("1")),
  },
  outputs: { d_log_prob: f32("N"), d_entropy: f32("N"), stats: f32(`2 ${STATISTICS}`) },
  params: PARAMS,
  derived: ["P"],
  derive: checkParams,
  forward,
  backward: { none: "its gradients are outputs: seed the tape with d_log_prob and d_entropy" },
  reference: policyLossReference,
  cost: ({ N }) => ({ forward: { flops: 40 * N, bytes: 36 * N } }),
});

const inputOf = ({ has_reference, has_stream }: Scalars) => ({
  reference: has_reference === 1,
  stream: has_stream === 1,
});

function textOf({ constants, has }: ShaderInput): shader.PolicyLossText {
  const ofStream = (prefix: string): shader.StreamText => ({
    klKind: constants[`${prefix}kl_kind`],
    isCispo: constants[`${prefix}surrogate`] === SURROGATES.cispo,
    isSequence: constants[`${prefix}ratio_level`] === RATIO_LEVELS.sequence,
  });
  return {
    ...inputOf(constants),
    lossScale: has("loss_scale"),
    policy: ofStream(""),
    classification: ofStream("classification_"),
  };
}

function checkParams(scalars: Scalars): Scalars {
  for (const prefix of PREFIXES) {
    const of = (name: StreamParam) => scalars[prefix + name];
    const [clipLow, dualClip, surrogate] = [of("clip_low"), of("dual_clip"), of("surrogate")];
    const isCispo = surrogate === SURROGATES.cispo;
    const rules: [StreamParam, boolean, string][] = [
      ["surrogate", surrogate === 0 || isCispo, "0 (clip) or 1 (cispo)"],
      ["ratio_level", of("ratio_level") === 0 || of("ratio_level") === 1, "0 (token) or 1 (sequence)"],
      ["clip_low", clipLow >= 0 && clipLow <= 1, "a number in [0, 1]"],
      ["clip_high", of("clip_high") >= 0, "at least 0"],
      [
        "dual_clip",
        dualClip === 0 || (dualClip > 1 && !isCispo),
        "more than 1, or 0 for none (always with cispo)",
      ],
      ["kl_kind", [1, 2, 3, 4, 5].includes(of("kl_kind")), "1, 2, 3, 4 or 5"],
    ];
    for (const [name, holds, rule] of rules) {
      if (holds) continue;
      throw new ArgumentError(
        `[policy_loss] ${prefix}${name} is out of range: got ${of(name)}, expected ${rule}. Change it.`,
      );
    }
  }
  return { P: Math.ceil(scalars.N / TOKENS_PER_PART) };
}
