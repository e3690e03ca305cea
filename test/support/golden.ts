/** Small checkpoints, and what an implementation that is not ours says of them in float64. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const GOLDEN_MODELS = ["qwen2-tied-gqa", "qwen2-untied"] as const;

export interface GoldenModel {
  /** Model folder in Hugging Face layout. */
  readonly folder: string;
  readonly sequences: readonly (readonly number[])[];
  /** Of each sequence from its second token on, in nats. */
  readonly scores: readonly { readonly logProbs: readonly number[]; readonly entropy: readonly number[] }[];
  /** Prompt and response; the response starts at token `responseStart`. */
  readonly samples: readonly { readonly tokens: readonly number[]; readonly responseStart: number }[];
  /** Of the sum over samples i (from 0) of (i + 1) / 10 times the log-probability of the response. */
  readonly gradient: {
    /** Euclidean norm of every parameter's gradient. */
    readonly norms: Readonly<Record<string, number>>;
    /** Its first eight entries, row by row. */
    readonly firstEight: Readonly<Record<string, readonly number[]>>;
  };
  /** Inner products of the gradients of the samples' log-probabilities, and of those by parameter. */
  readonly gram: readonly (readonly number[])[];
  readonly layers: Readonly<Record<string, readonly (readonly number[])[]>>;
}

export function readGolden(name: (typeof GOLDEN_MODELS)[number]): GoldenModel {
  const folder = fileURLToPath(new URL(`../golden/${name}/`, import.meta.url));
  return { ...JSON.parse(readFileSync(`${folder}expected.json`, "utf8")), folder };
}
