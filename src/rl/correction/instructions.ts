/** Habits as short instructions, at most a few for each task type. The wording is ours (RECON). */
import type { PromptOptions } from "../play/prompt_state.js";
import type { Mistake } from "./habits.js";

/** Words of instructions in plain prompts; a vocabulary of words must hold them. */
export const CORRECTION_WORDS = ["avoid", "after"] as const;

/** An instruction in use. */
export interface Instruction extends Mistake {
  readonly text: string;
  /** Update that it was made after. */
  readonly since: number;
}

export interface InstructionLimits {
  readonly perTaskType: number;
  /** Tokens of all instructions of one task type together. */
  readonly maxTokens: number;
  readonly tokensOf: (text: string) => number;
}

/** Words of a situation that are shown. */
const SITUATION_WORDS = 12;

/** The last sentence of a situation, cut to a few words: what happened just before. */
function shortSituation(situation: string): string {
  const sentences = situation.split(/(?<=[.!?])\s+/).filter((sentence) => sentence.length > 0);
  const words = (sentences.at(-1) ?? situation).replace(/[.!?]+$/, "").split(" ");
  return words.slice(0, SITUATION_WORDS).join(" ");
}

/**
 * One line on a mistake.
 * @param critique the policy's own words on it, where it can write: the first sentence is kept
 */
export function instructionText(
  mistake: Pick<Mistake, "situation" | "action">,
  format: PromptOptions["format"],
  critique?: string,
): string {
  const situation = shortSituation(mistake.situation);
  if (format !== "chat") return `avoid : ${mistake.action} after : ${situation}`;
  const said = critique?.split(/(?<=[.!?])\s+/)[0]?.trim();
  return `Avoid "${mistake.action}" after "${situation}".${said ? ` ${said}` : ""}`;
}

/** Adds new instructions while there is room; equal texts are one. */
export function addInstructions(
  active: readonly Instruction[],
  found: readonly Instruction[],
  { perTaskType, maxTokens, tokensOf }: InstructionLimits,
): Instruction[] {
  const result = [...active];
  for (const one of found) {
    const same = result.filter(({ taskType }) => taskType === one.taskType);
    if (same.length >= perTaskType || same.some(({ text }) => text === one.text)) continue;
    if (tokensOf(blockText([...same, one])) > maxTokens) continue;
    result.push(one);
  }
  return result;
}

/** The block of some instructions, a line each. */
export function blockText(instructions: readonly Pick<Instruction, "text">[]): string {
  return instructions.map(({ text }) => text).join("\n");
}
