/** The section `lora` of a configuration: training a low-rank adapter in place of the weights themselves. */
import { z } from "zod";
import { LORA_TARGETS } from "../model/lora_config.js";
import { choice, flag, integerFrom, numberAbove, section, text } from "./fields.js";

const DROPOUT = "a number from 0, below 1";

export const loraSection = section({
  rank: integerFrom(1, 4096)
    .nullable()
    .default(null)
    .describe(
      "rank of the adapter: W + alpha / rank B A is trained by A and B alone, W stays as it is, and is the reference policy; null = all weights are trained (2106.09685)",
    ),
  alpha: numberAbove(0).default(32).describe("factor of the adapter, over its rank"),
  rank_stabilised: flag().default(false).describe("alpha over the square root of the rank (2312.03732)"),
  dropout: z
    .number(DROPOUT)
    .min(0, DROPOUT)
    .lt(1, DROPOUT)
    .default(0)
    .describe(
      "share of the adapter's inputs left out at random in passes of training, which then go by plain ops; sampling leaves nothing out",
    ),
  targets: z
    .array(choice(LORA_TARGETS), "a list of matrices")
    .min(1, "a list of at least one matrix")
    .default([...LORA_TARGETS])
    .describe("matrices of each layer that the adapter changes"),
  path: text()
    .nullable()
    .default(null)
    .describe(
      "folder of an adapter as PEFT saves it, to go on training: rank, alpha and targets are its own; null = a new one",
    ),
});
