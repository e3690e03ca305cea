/** Rows of expert play, for the imitation stage. */
import { ConfigError } from "../core/errors.js";
import type { Environment, Task, World } from "../env/world.js";
import type { TokenRow } from "./micro_batches.js";
import type { PromptBuilder, Turn } from "./prompt.js";

/** One expert step: what the policy would read, and what it should answer. */
export interface ExpertRow extends TokenRow {
  readonly taskId: string;
  readonly action: string;
}

/**
 * Plays the world's expert on each task and keeps every step as a row. Tasks the planner cannot solve are left out.
 * @throws ConfigError when the world has no expert, or it solves none of the tasks
 */
export async function expertRows(
  world: World,
  tasks: readonly Task[],
  prompts: PromptBuilder,
  endToken: number,
  seed: number,
): Promise<ExpertRow[]> {
  if (!world.expert) {
    throw new ConfigError(
      `[imitation] world ${world.id} has no expert: expected one for imitation. Set imitation.episodes to 0.`,
    );
  }
  const environment = world.create();
  const rows: ExpertRow[] = [];
  for (const task of tasks) {
    const commands = await world.expert(task.id);
    if (commands) rows.push(...(await playExpert(environment, task, commands, prompts, endToken, seed)));
  }
  await environment.close();
  if (rows.length === 0) {
    throw new ConfigError(
      `[imitation] the expert solved none of ${tasks.length} tasks: expected at least one. Choose other tasks.`,
    );
  }
  return rows;
}

async function playExpert(
  environment: Environment,
  task: Task,
  commands: readonly string[],
  prompts: PromptBuilder,
  endToken: number,
  seed: number,
): Promise<ExpertRow[]> {
  const rows: ExpertRow[] = [];
  const first = await environment.reset({ seed, options: { taskId: task.id } });
  const turns: Turn[] = [];
  let observation = first.obs;
  let admissibleCommands = first.info.admissibleCommands;
  for (const action of commands) {
    const prompt = prompts.build({ opening: first.obs, turns, observation, admissibleCommands });
    const answer = [...prompts.tokenizer.encode(action), endToken];
    rows.push({ taskId: task.id, action, prompt: prompt.tokens, answer });
    turns.push({ observation, action });
    const result = await environment.step(action);
    observation = result.obs;
    admissibleCommands = result.info.admissibleCommands;
  }
  return rows;
}
