/** Rows of expert play, for the imitation stage: its steps, and questions about actions that it answers as a critic. */
import { ConfigError } from "../../core/errors.js";
import { Random } from "../../core/random.js";
import type { Environment, ResetResult, StepResult, Task, World } from "../../env/world.js";
import { compare, planLength, requireExpert } from "../gcd/critic.js";
import type { Judge } from "../gcd/judge.js";
import type { Verdict } from "../gcd/labels.js";
import { isHeldOut } from "../gcd/stream.js";
import { writeAnswer } from "../play/action.js";
import { EpisodePrompts } from "../play/episode_prompts.js";
import type { Prompt, PromptBuilder } from "../play/prompt.js";
import type { Row } from "../rows.js";
import { expertTag } from "./expert_tags.js";

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
  /**
   * Rows that ask whether an action is good or bad, as a share of all rows: of the expert's own action, and of another one that
   * brings the goal no nearer. The labels are the expert's. Ours (RECON): the paper's cold start is said to hold critic data.
   */
  readonly questions?: { readonly share: number; readonly judge: Judge };
}

/** What expert episodes are played with. */
export interface ExpertDeps {
  readonly world: World;
  readonly prompts: PromptBuilder;
  readonly endToken: number;
}

/**
 * Plays the world's expert on each task and keeps every expert step as a row. Tasks the planner cannot solve are left out.
 * @throws ConfigError when the world has no expert, or it solves none of the tasks
 */
export async function expertRows(
  deps: ExpertDeps,
  tasks: readonly Task[],
  options: ExpertOptions,
): Promise<Row[]> {
  const { world } = deps;
  if (!world.expert) {
    throw new ConfigError(
      `[imitation] world ${world.id} has no expert: expected one for imitation. Set imitation.episodes to 0.`,
    );
  }
  const environment = world.create();
  const rows: Row[] = [];
  try {
    if (options.detours > 0 && !environment.snapshot) {
      throw new ConfigError(
        `[imitation] world ${world.id} takes no snapshots: got detours ${options.detours}, expected 0, since the expert plans anew from a snapshot. Set imitation.detours to 0.`,
      );
    }
    if (options.questions) requireExpert(world, environment);
    for (const [episode, task] of tasks.entries())
      rows.push(...(await new ExpertEpisode(deps, environment, task, episode, options).play()));
  } finally {
    await environment.close();
  }
  if (rows.length === 0) {
    throw new ConfigError(
      `[imitation] the expert solved none of ${tasks.length} tasks: expected at least one. Choose other tasks.`,
    );
  }
  return rows;
}

/** One episode of the expert. */
class ExpertEpisode {
  readonly #rows: Row[] = [];
  readonly #actions: string[] = [];
  readonly #random: Random;
  /** Draws of its own, so that questions change no walk. */
  readonly #questions: Random;

  constructor(
    readonly deps: ExpertDeps,
    readonly environment: Environment,
    readonly task: Task,
    readonly episode: number,
    readonly options: ExpertOptions,
  ) {
    this.#random = Random.of(options.seed, "detours", task.id);
    this.#questions = Random.of(options.seed, "expert questions", task.id);
  }

  async play(): Promise<Row[]> {
    const { deps, environment, task, options } = this;
    const { world, prompts, endToken } = deps;
    const first = await environment.reset({ seed: options.seed, options: { taskId: task.id } });
    const context = new EpisodePrompts(prompts, { task: first.task, opening: first.obs });
    let shown: ResetResult | StepResult = first;
    let plan = await world.expert?.(task.id);
    let isAfterDetour = false;
    for (let step = 0; plan && plan.length > 0 && step < options.maxSteps; step++) {
      const { admissibleCommands } = shown.info;
      const detour = this.#detour(admissibleCommands);
      const action: string = detour ?? plan[0];
      const prompt = context.next(shown.obs, admissibleCommands);
      const tag = expertTag({ step, action, before: this.#actions, isAfterDetour });
      const text = writeAnswer(action, tag, prompts.options.answer ?? "command");
      const answer = [...prompts.tokenizer.encode(text, { specialTokens: "text" }), endToken];
      if (detour === undefined) {
        this.#rows.push({ ...this.#place(step), prompt: prompt.tokens, answer, action, tag });
        await this.#ask(step, prompt, plan, admissibleCommands);
      }
      context.answered(answer);
      this.#actions.push(action);
      shown = await environment.step(action);
      isAfterDetour = detour !== undefined;
      plan = isAfterDetour ? await world.expert?.(task.id, await environment.snapshot?.()) : plan.slice(1);
    }
    return this.#rows;
  }

  #detour(admissible: readonly string[]): string | undefined {
    const { detours, detourPattern } = this.options;
    const away = admissible.filter((command) => detourPattern?.test(command) ?? true);
    return this.#random.uniform() < detours && away.length > 0 ? this.#random.pick(away) : undefined;
  }

  /** Sometimes asks about the expert's action and about another one. */
  async #ask(
    step: number,
    prompt: Prompt,
    plan: readonly string[],
    admissible: readonly string[],
  ): Promise<void> {
    const { questions } = this.options;
    // two questions for this share of the steps make the share of rows
    if (!questions || isHeldOut(this.task.id)) return;
    if (this.#questions.uniform() >= questions.share / (2 * (1 - questions.share))) return;
    const others = admissible.filter((command) => command !== plan[0]);
    if (others.length === 0) return;
    const other = this.#questions.pick(others);
    if ((await this.#verdictOn(other, plan.length)) !== "bad") return;
    for (const [action, verdict] of [
      [plan[0], "good"],
      [other, "bad"],
    ] as const) {
      const question = questions.judge.ask({ text: prompt }, action);
      const answer = [questions.judge.verdictTokens[verdict]];
      this.#rows.push({ ...this.#place(step), prompt: question.tokens, answer, action });
    }
  }

  /** What an action would do to the length of the plan; the environment is put back. */
  async #verdictOn(action: string, before: number): Promise<Verdict | undefined> {
    const { environment, task } = this;
    const start = await environment.snapshot?.();
    const { won } = (await environment.step(action)).info;
    const after = won ? 0 : await planLength(this.deps.world, environment, task.id);
    await environment.restore?.(start);
    return compare(before, after);
  }

  #place(step: number): Pick<Row, "kind" | "group" | "episode" | "step" | "taskId" | "taskType"> {
    const { task, episode } = this;
    return { kind: "imitation", group: 0, episode, step, taskId: task.id, taskType: task.type };
  }
}
