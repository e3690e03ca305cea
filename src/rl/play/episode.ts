/** One episode from its reset to its end: prompt, answer, command, and again. */
import { ConfigError } from "../../core/errors.js";
import { hashText } from "../../core/hash.js";
import type { Environment, Info, ResetResult, StepResult } from "../../env/world.js";
import type { Conversation } from "../../model/conversations.js";
import type { Generation, GenerationRequest } from "../../model/generate.js";
import type { PlayedRow } from "../rows.js";
import type { ValidRule } from "./action.js";
import { type AnchorRule, anchorKey } from "./anchor.js";
import { EpisodePrompts } from "./episode_prompts.js";
import type { Prompt, PromptBuilder } from "./prompt.js";
import { type CallLimits, callWorld, WorldFailure } from "./world_calls.js";

/** One episode to play. Episodes of one group start from one state. */
export interface EpisodeRequest {
  readonly taskId: string;
  readonly taskType: string;
  readonly group: number;
  readonly episode: number;
}

/** `lost`: the world ended it short of the goal. `truncated`: a limit of steps or tokens did. `failed`: the world did not work. */
export type EpisodeEnd = "won" | "lost" | "truncated" | "failed";

export interface Episode extends EpisodeRequest {
  readonly ended: EpisodeEnd;
  /** What went wrong in a failed episode. */
  readonly failure?: string;
  /** Truncated, since a prompt did not fit however little of the past it showed. */
  readonly isTooLong?: boolean;
  /** Steps up to the end; those of a failed episode say nothing about the policy. */
  readonly rows: readonly PlayedRow[];
}

/** How episodes are played. */
export interface EpisodeRules {
  readonly maxSteps: number;
  /** Names the random streams: a step draws by (seed, label, group, episode, step) and nothing else. */
  readonly label: string;
  readonly seed: number;
  /** Most tokens of an answer. */
  readonly maxNewTokens: number;
  readonly anchor: AnchorRule;
  readonly valid: ValidRule;
  /** Outcome of an episode: 1 where it was won, or the score that the world gives, from 0 to 1. */
  readonly outcome: "won" | "score";
  /** Text between task and history, for example by task type. */
  readonly instructions?: (request: EpisodeRequest) => string | undefined;
}

/** What an episode is played with. */
export interface EpisodeParts {
  readonly environment: Environment;
  readonly prompts: PromptBuilder;
  readonly limits: CallLimits;
  /** Most tokens of prompt and answer. */
  readonly maxTokens: number;
  readonly conversation: Conversation | undefined;
  ask(request: GenerationRequest): Promise<Generation>;
  /** Told the start of the episode, before anything else. */
  started(first: ResetResult): void;
}

type UnfinishedRow = Omit<PlayedRow, "outcome">;

/** Plays one episode. @throws what the sampler throws, and the reason of an aborted signal; failures of the world are a result */
export async function playEpisode(
  request: EpisodeRequest,
  rules: EpisodeRules,
  parts: EpisodeParts,
): Promise<Episode> {
  const playing = new PlayingEpisode(request, rules, parts);
  try {
    return await playing.play();
  } catch (error) {
    if (error instanceof WorldFailure) return playing.result("failed", error.message);
    throw error;
  }
}

class PlayingEpisode {
  readonly #rows: UnfinishedRow[] = [];
  #outcome = 0;

  constructor(
    readonly request: EpisodeRequest,
    readonly rules: EpisodeRules,
    readonly parts: EpisodeParts,
  ) {}

  async play(): Promise<Episode> {
    const { request, rules, parts } = this;
    const { environment, limits } = parts;
    const options = { seed: rules.seed, options: { taskId: request.taskId } };
    const first = await callWorld("reset", () => environment.reset(options), limits);
    parts.started(first);
    const prompts = new EpisodePrompts(parts.prompts, {
      task: first.task,
      opening: first.obs,
      instructions: rules.instructions?.(request),
    });
    let shown: Pick<StepResult, "obs" | "info"> = first;
    this.#judge(first.info);
    if (first.info.won) return this.result("won");
    for (let step = 0; step < rules.maxSteps; step++) {
      const prompt = this.#prompt(prompts, step, shown);
      if (!prompt) return { ...this.result("truncated"), isTooLong: true };
      const generation = await parts.ask({
        prompt: prompt.tokens,
        stream: hashText(`${rules.label}/${request.group}/${request.episode}/${step}`),
        conversation: parts.conversation,
      });
      const answer = prompts.answered(generation.tokens);
      const result = await callWorld("step", () => environment.step(answer.command), limits);
      const isAdmissible = result.info.understood ?? shown.info.admissibleCommands.includes(answer.command);
      this.#rows.push({
        ...this.#place(step, prompt, shown),
        answer: generation.tokens,
        logProbs: generation.logProbs,
        action: answer.command,
        tag: answer.tag,
        valid: answer.isWellFormed && (rules.valid === "well_formed" || isAdmissible),
        admissible: isAdmissible,
        truncated: !generation.finished,
        stepReward: result.reward,
      });
      this.#judge(result.info);
      if (result.terminated) return this.result(result.info.won ? "won" : "lost");
      if (result.truncated) break;
      shown = result;
    }
    return this.result("truncated");
  }

  result(ended: EpisodeEnd, failure?: string): Episode {
    const rows = this.#rows.map((row) => ({ ...row, outcome: this.#outcome }));
    return { ...this.request, ended, failure, rows };
  }

  #judge({ won, score }: Info): void {
    if (this.rules.outcome === "won") this.#outcome = Number(won);
    else if (score !== undefined) this.#outcome = score;
    else {
      throw new ConfigError(
        "[rollout] outcome does not fit the world: got score, expected a world that tells one. Set world.outcome to won.",
      );
    }
  }

  /** Undefined where the world has said more than fits: that ends an episode, but one that does not even start is a wrong limit. */
  #prompt(prompts: EpisodePrompts, step: number, { obs, info }: Pick<StepResult, "obs" | "info">) {
    const longest = this.parts.maxTokens - this.rules.maxNewTokens;
    return step === 0
      ? prompts.next(obs, info.admissibleCommands, longest)
      : prompts.nextWithin(obs, info.admissibleCommands, longest);
  }

  #place(step: number, prompt: Prompt, { obs, info }: Pick<StepResult, "obs" | "info">) {
    const { taskId, taskType, group, episode } = this.request;
    const { tokens, blocks, text, hash, isShortened = false } = prompt;
    return {
      kind: "policy",
      group,
      episode,
      step,
      taskId,
      taskType,
      prompt: tokens,
      text: { blocks, text, hash },
      shortened: isShortened,
      observation: obs,
      anchorKey: anchorKey(this.rules.anchor, obs, info),
      stateKey: info.stateKey,
    } as const;
  }
}
