/** What rollouts ask for answers. */
import type { Conversation } from "../../model/conversations.js";
import type { Generation, GenerationRequest, SamplingOptions } from "../../model/generate.js";

/** Anything that answers prompts: a Generator, or an expert in tests. */
export interface ActionSampler {
  generate(requests: readonly GenerationRequest[], options: SamplingOptions): Promise<readonly Generation[]>;
  /** Most tokens of prompt and answer; absent: no limit is known. */
  readonly maxTokens?: number;
  /** Keeps what was computed of an episode between its steps; absent: every prompt is computed as a whole. */
  open?(): Conversation;
}
