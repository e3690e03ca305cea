/** Lines of `eval.jsonl` as points of curves. */
import { z } from "zod";
import type { EvaluationPoint } from "./api.js";

const schema = z.looseObject({
  step: z.number(),
  split: z.string(),
  mode: z.string(),
  instructions: z.string().nullable().default(null),
  episodes: z.number(),
  success: z.number(),
  success_low: z.number(),
  success_high: z.number(),
});

/** @returns undefined for a line that is no evaluation */
export function evaluationPoint(line: Readonly<Record<string, unknown>>): EvaluationPoint | undefined {
  const result = schema.safeParse(line);
  if (!result.success) return undefined;
  const { step, split, mode, instructions, episodes, success, success_low, success_high } = result.data;
  const types = Object.keys(line)
    .filter((key) => key.startsWith("success/"))
    .flatMap((key) => {
      const type = key.slice("success/".length);
      const values = [line[key], line[`success_low/${type}`], line[`success_high/${type}`]];
      return values.every((value) => typeof value === "number")
        ? [[type, values as [number, number, number]] as const]
        : [];
    });
  return {
    ...{ step, split, mode, instructions, episodes, success },
    low: success_low,
    high: success_high,
    types: Object.fromEntries(types),
  };
}
