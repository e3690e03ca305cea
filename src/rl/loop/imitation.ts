/** Rows of expert play, for the imitation stage. */
import { ConfigError } from "../../core/errors.js";
import { Random } from "../../core/random.js";
import type { Environment, Task, World } from "../../env/world.js";
import { EpisodePrompts } from "../play/episode_prompts.js";
import type { PromptBuilder } from "../play/prompt.js";
import type { Row } from "../rows.js";

/** How expert episodes are played. */
export interface ExpertOptions {
  readonly seed: number;
  /**
   * Chance before each expert step of a random admissible action, after which the planner plans anew. The random action is
   * not imitated: the rows show how to go on from states that the expert alone never sees.
   * @source noise injection as in DART, Laskey et al. 2017
   */
  readonly detours: number;
  /** Only admissible actions that match it are taken as detours; default all. */
  readonly detourPattern?: RegExp;
  /** Steps after which an episode is cut. */
  readonly maxSteps: number;
}

/**
 * Plays the world's expert on each task and keeps every expert step as a row. Tasks the planner cannot solve are left out.
 * @throws ConfigError when the world has no expert, or it solves none of the tasks
 */
export async function expertRows(
  world: World,
  tasks: readonly Task[],
  prompts: PromptBuilder,
  endToken: number,
  options: ExpertOptions,
): Promise<Row[]> {
  if (!world.expert) {
    throw new ConfigError(
      `[imitation] world ${world.id} has no expert: expected one for imitation. Set imitation.episodes to 0.`,
    );
  }
  const environment = world.create();
  if (options.detours > 0 && !environment.snapshot) {
    await environment.close();
    throw new ConfigError(
      `[imitation] world ${world.id} takes no snapshots: got detours ${options.detours}, expected 0, since the expert plans anew from a snapshot. Set imitation.detours to 0.`,
    );
  }
  const rows: Row[] = [];
  for (const [episode, task] of tasks.entries())
    rows.push(...(await playExpert(world, environment, task, episode, prompts, endToken, options)));
  await environment.close();
  if (rows.length === 0) {
    throw new ConfigError(
      `[imitation] the expert solved none of ${tasks.length} tasks: expected at least one. Choose other tasks.`,
    );
  }
  return rows;
}

async function playExpert(
  world: World,
  environment: Environment,
  task: Task,
  episode: number,
  prompts: PromptBuilder,
  endToken: number,
  { seed, detours, detourPattern, maxSteps }: ExpertOptions,
): Promise<Row[]> {
  const random = Random.of(seed, "detours", task.id);
  const rows: Row[] = [];
  const first = await environment.reset({ seed, options: { taskId: task.id } });
  const context = new EpisodePrompts(prompts, { task: first.task, opening: first.obs });
  let observation = first.obs;
  let admissibleCommands = first.info.admissibleCommands;
  let plan = await world.expert?.(task.id);
  for (let step = 0; plan && plan.length > 0 && step < maxSteps; step++) {
    const away = admissibleCommands.filter((command) => detourPattern?.test(command) ?? true);
    const isDetour = random.uniform() < detours && away.length > 0;
    const action = isDetour ? random.pick(away) : plan[0];
    const prompt = context.next(observation, admissibleCommands);
    const answer = [...prompts.tokenizer.encode(action), endToken];
    if (!isDetour) {
      rows.push({
        kind: "imitation",
        group: 0,
        episode,
        step,
        taskId: task.id,
        taskType: task.type,
        prompt: prompt.tokens,
        answer,
        action,
      });
    }
    context.answered(answer);
    const result = await environment.step(action);
    observation = result.obs;
    admissibleCommands = result.info.admissibleCommands;
    plan = isDetour ? await world.expert?.(task.id, await environment.snapshot?.()) : plan.slice(1);
  }
  return rows;
}
