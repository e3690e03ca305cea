/**
 * Instruction blocks in demonstrations: a policy that has never read one is confused by it, and one that read it only beside
 * the expert's own way learns what it means. Ours (RECON).
 */
import type { Random } from "../../core/random.js";
import type { PromptOptions } from "../play/prompt_state.js";
import { type Mistake, withoutNumbers } from "./habits.js";
import { addInstructions, blockText, type InstructionLimits, instructionText } from "./instructions.js";

/** Mistakes that demonstrations came across, by task type, and the instructions made of them. */
export class KnownMistakes {
  readonly #known = new Map<string, Map<string, Mistake>>();

  constructor(
    readonly format: PromptOptions["format"],
    readonly limits: InstructionLimits,
  ) {}

  /** @param mistake as it happened; it is kept without the numbers of instances */
  add({ taskType, situation, action }: Mistake): void {
    const general = { taskType, situation: withoutNumbers(situation), action: withoutNumbers(action) };
    const known = this.#known.get(taskType) ?? new Map<string, Mistake>();
    this.#known.set(taskType, known);
    known.set(keyOf(general), general);
  }

  /**
   * A block of one to `limits.perTaskType` instructions against mistakes of other episodes, drawn at random.
   * @param done what the expert does in the episode: instructions against it are left out, so that to follow the block is right
   * @returns undefined where no mistake is known
   */
  block(taskType: string, done: readonly Mistake[], random: Random): string | undefined {
    const own = new Set(done.map(({ situation, action }) => generalKey(situation, action)));
    const known = [...(this.#known.get(taskType)?.entries() ?? [])];
    const usable = known.filter(([key]) => !own.has(key)).map(([, mistake]) => mistake);
    if (usable.length === 0) return undefined;
    const count = 1 + random.integer(this.limits.perTaskType);
    const chosen = random.shuffle(usable).slice(0, count);
    const found = chosen.map((mistake) => ({
      ...mistake,
      text: instructionText(mistake, this.format),
      since: 0,
    }));
    const shown = addInstructions([], found, this.limits);
    return shown.length > 0 ? blockText(shown) : undefined;
  }
}

const keyOf = ({ situation, action }: Pick<Mistake, "situation" | "action">): string =>
  `${situation}\n${action}`;

const generalKey = (situation: string, action: string): string =>
  keyOf({ situation: withoutNumbers(situation), action: withoutNumbers(action) });
