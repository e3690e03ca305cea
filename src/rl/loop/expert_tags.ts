/**
 * Which kind of step an expert's step is, in RLVMR's four words: rules of ours in the place of the model that annotated the
 * paper's cold-start data (2507.22844). A planner does not explore or reflect; its steps are told apart by where they stand.
 */
import type { StepTag } from "../play/action.js";

/** What is known of a step when the expert takes it. */
export interface ExpertStep {
  /** 0-based step within the episode. */
  readonly step: number;
  readonly action: string;
  /** Actions of the episode so far. */
  readonly before: readonly string[];
  /** The step before was a detour, or refused: this one mends it. */
  readonly isAfterDetour: boolean;
}

/**
 * - `planning` at the first step;
 * - `reflection` after a detour;
 * - `explore` where the command was not given before in the episode and leads somewhere: it goes to or opens a thing;
 * - `monitor` else.
 */
export function expertTag({ step, action, before, isAfterDetour }: ExpertStep): StepTag {
  if (step === 0) return "planning";
  if (isAfterDetour) return "reflection";
  const isNew = !before.includes(action);
  return isNew && /^(go|open|look|examine)\b/.test(action) ? "explore" : "monitor";
}
