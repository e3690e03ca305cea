/** Rows of expert play, for the imitation stage: its steps, and questions about actions that it answers as a critic. */
import { ConfigError } from "../../core/errors.js";
import { Random } from "../../core/random.js";
import { cut, printable } from "../../core/shown.js";
import type { Environment, ResetResult, StepResult, Task, World } from "../../env/world.js";
import type { KnownMistakes } from "../correction/cold_start.js";
import type { Mistake } from "../correction/habits.js";
import { compare, planLength, requireExpert } from "../gcd/critic.js";
import type { Judge } from "../gcd/judge.js";
import type { Verdict } from "../gcd/labels.js";
import { isHeldOut } from "../gcd/stream.js";
import { type StepTag, writeAnswer } from "../play/action.js";
import { EpisodePrompts } from "../play/episode_prompts.js";
import type { Prompt, PromptBuilder } from "../play/prompt.js";
import type { Row } from "../rows.js";
import { expertTag } from "./expert_tags.js";

/** How expert episodes are played. */
export interface ExpertOptions {
  readonly seed: number;
  /** Whether the expert knows no more than it has read; default false: it sees the whole state. */
  readonly isSearching?: boolean;
  /**
   * Chance before each expert step of a random admissible action, after which the planner plans anew. The random action is
   * not imitated: the rows show how to go on from states that the expert alone never sees.
   * @source noise injection as in DART, Laskey et al. 2017
   */
  readonly detours: number;
  /** Only admissible actions that match it are taken as detours; default all. */
  readonly detourPattern?: Pick<RegExp, "test">;
  /**
   * Share of the detours that are what the expert does elsewhere in the episode or did in an earlier one, in place of an admissible
   * action. Most are refused: rows show what the world then says, and how to go on.
   */
  readonly misplacedDetours?: number;
  /** Steps after which an episode is cut. */
  readonly maxSteps: number;
  /**
   * Rows that ask whether an action is good or bad, as a share of all rows: of the expert's own action, and of another one that
   * brings the goal no nearer. The other one is what the expert does elsewhere in the episode, what it did in an earlier episode,
   * or any admissible action, one as often as the other: were it always the last, words alone would tell the classes apart, and
   * the judge would approve of whatever an expert might do. The labels are the expert's. Ours (RECON): the paper's cold start is
   * said to hold critic data.
   */
  readonly questions?: { readonly share: number; readonly judge: Judge };
  /**
   * Episodes that show instructions against mistakes, as a share of all. The mistakes are detours and questioned actions of
   * the episodes before, as far as they brought the goal no nearer. Ours (RECON).
   */
  readonly instructions?: { readonly share: number; readonly mistakes: KnownMistakes };
}

/** What expert episodes are played with. */
export interface ExpertDeps {
  readonly world: World;
  readonly prompts: PromptBuilder;
  readonly endToken: number;
}

/**
 * Plays the world's expert on each task and keeps every expert step as a row. Tasks the planner cannot solve are left out.
 * @throws ConfigError when the world has no expert, it solves none of the tasks, or no action matches the pattern of detours
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
  if (options.isSearching && !world.searchingExpert) {
    throw new ConfigError(
      `[imitation] world ${world.id} has no expert that searches: got imitation.expert searching, expected full_state. Change it.`,
    );
  }
  const environment = world.create();
  const rows: Row[] = [];
  const earlier: string[] = [];
  const pattern = options.detourPattern && new UsedPattern(options.detourPattern);
  const played = { ...options, detourPattern: pattern };
  try {
    if (options.detours > 0 && !environment.snapshot) {
      throw new ConfigError(
        `[imitation] world ${world.id} takes no snapshots: got detours ${options.detours}, expected 0, since the expert plans anew from a snapshot. Set imitation.detours to 0.`,
      );
    }
    if (options.questions) requireExpert(world, environment);
    for (const [episode, task] of tasks.entries()) {
      const own = await new ExpertEpisode(deps, environment, task, episode, played, earlier).play();
      rows.push(...own);
      earlier.push(...own.filter(({ tag }) => tag !== undefined).map(({ action }) => action ?? ""));
    }
  } finally {
    await environment.close();
  }
  if (options.detours > 0) pattern?.check();
  if (rows.length === 0) {
    throw new ConfigError(
      `[imitation] the expert solved none of ${tasks.length} tasks: expected at least one. Choose other tasks.`,
    );
  }
  return rows;
}

/** A pattern that knows whether anything has matched it. */
class UsedPattern {
  #isUsed = false;
  #refused: string | undefined;

  constructor(private readonly pattern: Pick<RegExp, "test">) {}

  test(command: string): boolean {
    const matches = this.pattern.test(command);
    if (matches) this.#isUsed = true;
    else this.#refused ??= command;
    return matches;
  }

  /** @throws ConfigError when commands were tried and none matched */
  check(): void {
    if (this.#isUsed || this.#refused === undefined) return;
    throw new ConfigError(
      `[imitation.detour_pattern] no action matches: got ${this.pattern}, expected a pattern that some admissible actions ` +
        `match, such as "${printable(cut(this.#refused))}". Change it, or leave it out.`,
    );
  }
}

/** One step of an expert episode. */
interface ExpertStep {
  readonly observation: string;
  readonly admissible: readonly string[];
  readonly action: string;
  readonly tag: StepTag;
  readonly isDetour: boolean;
  /** Another action that brings the goal no nearer, where the step is asked about. */
  readonly questioned?: string;
}

/** One episode of the expert: first it is played, then it is written down. */
class ExpertEpisode {
  readonly #steps: ExpertStep[] = [];
  /** Detours and questioned actions that brought the goal no nearer. */
  readonly #mistakes: Mistake[] = [];
  readonly #random: Random;
  /** Draws of their own, so that neither questions nor instructions change a walk. */
  readonly #questions: Random;
  readonly #instructions: Random;

  constructor(
    readonly deps: ExpertDeps,
    readonly environment: Environment,
    readonly task: Task,
    readonly episode: number,
    readonly options: ExpertOptions,
    /** What the expert did in earlier episodes. */
    readonly earlier: readonly string[],
  ) {
    this.#random = Random.of(options.seed, "detours", task.id);
    this.#questions = Random.of(options.seed, "expert questions", task.id);
    this.#instructions = Random.of(options.seed, "expert instructions", task.id);
  }

  async play(): Promise<Row[]> {
    const { environment, task, options } = this;
    const first = await environment.reset({ seed: options.seed, options: { taskId: task.id } });
    const plan = await this.#planFrom([first.obs]);
    if (!plan) return [];
    await this.#walk(first, plan);
    const rows = this.#rows(first);
    for (const mistake of this.#mistakes) options.instructions?.mistakes.add(mistake);
    return rows;
  }

  async #walk(first: ResetResult, start: readonly string[]): Promise<void> {
    const { environment, options } = this;
    let shown: ResetResult | StepResult = first;
    const texts = [first.obs];
    let plan: readonly string[] | undefined = start;
    let isAfterDetour = false;
    for (let step = 0; plan && plan.length > 0 && step < options.maxSteps; step++) {
      const observation = shown.obs;
      const { admissibleCommands: admissible } = shown.info;
      const detour = this.#detour(admissible, plan);
      const action: string = detour ?? plan[0];
      const tag = expertTag({ step, action, before: this.#steps.map((one) => one.action), isAfterDetour });
      const questioned = detour === undefined ? await this.#question(plan, shown) : undefined;
      const before = detour === undefined ? undefined : await this.#stepsLeft(plan);
      this.#steps.push({ observation, admissible, action, tag, isDetour: detour !== undefined, questioned });
      shown = await environment.step(action);
      texts.push(shown.obs);
      isAfterDetour = detour !== undefined;
      // a plan of one who sees everything ends the episode, won or not
      const isAskedAgain: boolean = !!options.isSearching && plan.length === 1 && !shown.info.won;
      plan = isAfterDetour || isAskedAgain ? await this.#planFrom(texts) : plan.slice(1);
      if (isAfterDetour && compare(before, await this.#stepsLeft(plan)) === "bad")
        this.#note(observation, action);
    }
  }

  /** How the expert goes on: up to the win, or, when it searches, up to where it must be asked again. */
  async #planFrom(texts: readonly string[]): Promise<readonly string[] | undefined> {
    const { task, options, environment } = this;
    const { world } = this.deps;
    const commands = this.#steps.map(({ action }) => action);
    const isStart = commands.length === 0 && !options.isSearching;
    const state = isStart ? undefined : await environment.snapshot?.();
    const plan = options.isSearching
      ? await world.searchingExpert?.(task.id, state, { texts, commands })
      : await world.expert?.(task.id, state);
    return plan ?? undefined;
  }

  /**
   * Commands to the win for one who sees the whole state; undefined where there is no way.
   * @param plan the expert's own, where it has one
   */
  async #stepsLeft(plan: readonly string[] | undefined): Promise<number | undefined> {
    if (plan && !this.options.isSearching) return plan.length;
    return planLength(this.deps.world, this.environment, this.task.id);
  }

  #detour(admissible: readonly string[], plan: readonly string[]): string | undefined {
    const { detours, detourPattern, misplacedDetours = 0 } = this.options;
    const away = admissible.filter((command) => detourPattern?.test(command) ?? true);
    if (this.#random.uniform() >= detours) return undefined;
    const isMisplaced = misplacedDetours > 0 && this.#random.uniform() < misplacedDetours;
    const misplaced = isMisplaced ? this.#otherTimes(plan) : [];
    const actions = misplaced.length > 0 ? this.#random.pick(misplaced) : away;
    return actions.length > 0 ? this.#random.pick(actions) : undefined;
  }

  /** What the expert does elsewhere in this episode, and what it did in earlier ones, without what it does now; none are empty. */
  #otherTimes(plan: readonly string[]): (readonly string[])[] {
    const elsewhere = [...this.#steps.map(({ action }) => action), ...plan];
    return [elsewhere, this.earlier]
      .map((actions) => actions.filter((action) => action !== plan[0]))
      .filter((actions) => actions.length > 0);
  }

  /** In some steps, an action that brings the goal no nearer, to be asked about beside the expert's own. */
  async #question(plan: readonly string[], shown: ResetResult | StepResult): Promise<string | undefined> {
    const { questions } = this.options;
    // two questions for this share of the steps make the share of rows
    if (!questions || isHeldOut(this.task.id)) return undefined;
    if (this.#questions.uniform() >= questions.share / (2 * (1 - questions.share))) return undefined;
    const admissible = shown.info.admissibleCommands.filter((command) => command !== plan[0]);
    const sources = [...this.#otherTimes(plan), ...(admissible.length > 0 ? [admissible] : [])];
    if (sources.length === 0) return undefined;
    const others = this.#questions.pick(sources);
    const other = this.#questions.pick(others);
    if ((await this.#verdictOn(other, await this.#stepsLeft(plan))) !== "bad") return undefined;
    this.#note(shown.obs, other);
    return other;
  }

  /** What an action would do to the length of the plan; the environment is put back. */
  async #verdictOn(action: string, before: number | undefined): Promise<Verdict | undefined> {
    const { environment, task } = this;
    const start = await environment.snapshot?.();
    const { won } = (await environment.step(action)).info;
    const after = won ? 0 : await planLength(this.deps.world, environment, task.id);
    await environment.restore?.(start);
    return compare(before, after);
  }

  #note(situation: string, action: string): void {
    this.#mistakes.push({ taskType: this.task.type, situation, action });
  }

  /** The instructions that this episode shows. */
  #block(): string | undefined {
    const { instructions } = this.options;
    if (!instructions || this.#instructions.uniform() >= instructions.share) return undefined;
    const done = this.#steps
      .filter(({ isDetour }) => !isDetour)
      .map(({ observation, action }) => ({ taskType: this.task.type, situation: observation, action }));
    return instructions.mistakes.block(this.task.type, done, this.#instructions);
  }

  /** What the expert's own steps teach. */
  #rows(first: ResetResult): Row[] {
    const { prompts, endToken } = this.deps;
    const context = new EpisodePrompts(prompts, {
      task: first.task,
      opening: first.obs,
      instructions: this.#block(),
    });
    return this.#steps.flatMap(({ observation, admissible, action, tag, isDetour, questioned }, step) => {
      const prompt = context.next(observation, admissible);
      const text = writeAnswer(action, tag, prompts.options.answer ?? "command");
      const answer = [...prompts.tokenizer.encode(text, { specialTokens: "text" }), endToken];
      context.answered(answer);
      if (isDetour) return [];
      const row: Row = { ...this.#place(step), prompt: prompt.tokens, answer, action, tag };
      if (questioned === undefined) return [row];
      return [row, ...this.#questionRows(row, prompt, action, questioned)];
    });
  }

  /** A verdict is one token; it weighs as much as the whole answer beside it, or the judge would learn next to nothing. */
  #questionRows({ step, answer: said }: Row, prompt: Prompt, expert: string, other: string): Row[] {
    const { questions } = this.options;
    if (!questions) return [];
    const { judge } = questions;
    const pairs = [
      [expert, "good"],
      [other, "bad"],
    ] as const;
    return pairs.map(([action, verdict]) => {
      const question = judge.ask({ text: prompt }, action);
      const answer = [judge.verdictTokens[verdict]];
      return { ...this.#place(step), prompt: question.tokens, answer, weight: [said.length], action };
    });
  }

  #place(step: number): Pick<Row, "kind" | "group" | "episode" | "step" | "taskId" | "taskType"> {
    const { task, episode } = this;
    return { kind: "imitation", group: 0, episode, step, taskId: task.id, taskType: task.type };
  }
}
