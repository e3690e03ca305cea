/** Rows of a run's rollouts, read back. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { DataError } from "../../core/errors.js";
import type { RolloutRow } from "../../core/run_record.js";
import { pathExists } from "../files/files.js";
import { readJsonLines } from "../files/json_lines.js";
import { stepName, stepOfName } from "./checkpoints.js";
import { RUN_FILES } from "./run_info.js";

const tokens = z.array(z.int().min(0)).min(1);
const numbers = z.array(z.number());

/** The columns that an analysis relies on; others pass. */
const columns = z.looseObject({
  step: z.int(),
  kind: z.enum(["policy", "classification", "imitation"]),
  group: z.int(),
  episode: z.int(),
  env_step: z.int(),
  task_type: z.string(),
  prompt: z.string(),
  prompt_tokens: tokens,
  observation: z.string().nullable(),
  action: z.string(),
  action_tokens: tokens,
  mask: numbers,
  weight: numbers,
  state_key: z.string().nullable(),
  advantage: z.number(),
});

const fitting = ({
  action_tokens,
  mask,
  weight,
}: Pick<z.infer<typeof columns>, "action_tokens" | "mask" | "weight">) =>
  mask.length === action_tokens.length && weight.length === action_tokens.length;
const rowSchema = columns.refine(fitting, { message: "mask and weight must have one value an action token" });

/** The columns that are shown, with what stands for them in rows that lack them. */
const shownSchema = columns
  .extend({
    task_id: z.string().default(""),
    prompt_blocks: z.array(z.looseObject({ name: z.string(), text: z.string() })).default([]),
    log_probs: z.array(z.number().nullable()).default([]),
    tag: z.string().nullable().default(null),
    valid: z.boolean().default(true),
    truncated: z.boolean().default(false),
    anchor_key: z.string().nullable().default(null),
    reward: z.number().default(0),
    return: z.number().default(0),
    advantage_parts: z.record(z.string(), z.number()).default({}),
  })
  .refine(fitting);

/** A row of rollouts with every column that is shown; undefined for what is none. */
export function parseRolloutRow(line: unknown): RolloutRow | undefined {
  const result = shownSchema.safeParse(line);
  return result.success ? (result.data as unknown as RolloutRow) : undefined;
}

/** Updates whose rollouts the run keeps, oldest first. */
export async function rolloutSteps(run: string): Promise<number[]> {
  const folder = join(run, RUN_FILES.rollouts);
  if (!(await pathExists(folder))) return [];
  const names = (await readdir(folder)).filter((name) => name.endsWith(".jsonl"));
  const steps = names.map((name) => stepOfName(name.slice(0, -".jsonl".length)));
  return steps.filter((step) => step !== undefined).sort((a, b) => a - b);
}

/** Rows that were made for one update. @throws DataError naming file and line of a row that is malformed */
export async function readRolloutRows(run: string, step: number): Promise<RolloutRow[]> {
  const file = join(run, RUN_FILES.rollouts, `${stepName(step)}.jsonl`);
  const lines = await readJsonLines(file);
  return lines.map((line, index) => {
    const result = rowSchema.safeParse(line);
    if (result.success) return result.data as unknown as RolloutRow;
    const { path, message } = result.error.issues[0];
    throw new DataError(
      `[${file}:${index + 1}] rollout row is malformed: got ${message} at ${path.join(".") || "its root"}, expected a row ` +
        "of this version. Make the rollouts again.",
    );
  });
}
