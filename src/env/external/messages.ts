/** What programs in any language tell about their worlds, in Gymnasium words: checked, and turned into our types. */
import { z } from "zod";
import { WorldError } from "../../core/errors.js";
import type { Info, ResetResult, StepResult, Task } from "../world.js";

const infoSchema = z
  .looseObject({
    won: z.boolean().default(false),
    admissible_commands: z.array(z.string()).default([]),
    task_id: z.string().optional(),
    state_key: z.string().optional(),
    score: z.number().min(0).max(1).optional(),
    inventory: z.string().optional(),
    understood: z.boolean().optional(),
  })
  .prefault({});

const resetSchema = z.looseObject({ obs: z.string(), task: z.string(), info: infoSchema });

const stepSchema = z.looseObject({
  obs: z.string(),
  reward: z.number().default(0),
  terminated: z.boolean().default(false),
  truncated: z.boolean().default(false),
  info: infoSchema,
});

const taskSchema = z.looseObject({ id: z.string().min(1), type: z.string().default("task") });

const specSchema = z.looseObject({
  id: z.string().min(1),
  splits: z.record(z.string(), z.array(taskSchema).min(1)),
  max_environments: z.number().int().min(1).optional(),
  expert: z.boolean().default(false),
  texts: z.boolean().default(false),
});

/** What a world is, as its program tells. */
export interface WorldSpec {
  readonly id: string;
  /** Tasks by the names of splits, in the program's order. */
  readonly splits: ReadonlyMap<string, readonly Task[]>;
  readonly maxEnvironments: number | undefined;
  /** Whether it knows winning commands. */
  readonly expert: boolean;
  /** Whether it tells texts for a tokenizer. */
  readonly texts: boolean;
}

/** @throws WorldError saying which field is wrong */
function check<T>(what: string, schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value, { reportInput: true });
  if (result.success) return result.data;
  const [{ path, message, input }] = result.error.issues;
  const place = ["result", ...path].join(".");
  throw new WorldError(
    `[world] malformed answer to ${what}: got ${JSON.stringify(input)?.slice(0, 80)} at ${place}, expected otherwise: ${message}. \
Mend the program; docs/environments.md has the format.`,
  );
}

/** @param taskId used where the program names no task */
export function readReset(value: unknown, taskId: string): ResetResult {
  const { obs, task, info } = check("reset", resetSchema, value);
  return { obs, task, info: infoOf(info, taskId) };
}

export function readStep(value: unknown, taskId: string): StepResult {
  const { obs, reward, terminated, truncated, info } = check("step", stepSchema, value);
  return { obs, reward, terminated, truncated, info: infoOf(info, taskId) };
}

function infoOf(info: z.output<typeof infoSchema>, taskId: string): Info {
  const { won, admissible_commands, task_id, state_key, score, inventory, understood, ...details } = info;
  return {
    admissibleCommands: admissible_commands,
    won,
    taskId: task_id ?? taskId,
    stateKey: state_key,
    score,
    inventory,
    understood,
    details,
  };
}

export function readSpec(value: unknown): WorldSpec {
  const spec = check("spec", specSchema, value);
  const splits = Object.entries(spec.splits).map(([split, tasks]): [string, readonly Task[]] => [
    split,
    tasks.map(({ id, type }) => ({ id, type, split })),
  ]);
  return {
    id: spec.id,
    splits: new Map(splits),
    maxEnvironments: spec.max_environments,
    expert: spec.expert,
    texts: spec.texts,
  };
}

export function readExpert(value: unknown): readonly string[] | null {
  return check("expert", z.looseObject({ actions: z.array(z.string()).nullable() }), value).actions;
}

export function readTexts(value: unknown): readonly string[] {
  return check("texts", z.looseObject({ texts: z.array(z.string()) }), value).texts;
}

/** The same words in the other direction: an `Info` as programs read it. */
export function writeInfo({ admissibleCommands, taskId, stateKey, ...info }: Info) {
  const { won, score, inventory, understood, details } = info;
  return {
    ...details,
    won,
    admissible_commands: admissibleCommands,
    task_id: taskId,
    state_key: stateKey,
    score,
    inventory,
    understood,
  };
}
