/**
 * Prompt-based correction (2509.23870): the policy's own critiques of its habits, given back to it as instructions. When and
 * how is our reconstruction (RECON). A policy that cannot write prose gives its critique by its verdict alone: an instruction is
 * made, by a template, only where the policy itself calls the habit bad.
 */
import type { TrainConfig } from "../../config/schema.js";
import { Random } from "../../core/random.js";
import type { Json } from "../../core/run_record.js";
import { mean } from "../../core/statistics.js";
import type { PlayedRow } from "../rows.js";
import { countHabits, findHabits, frequencyOf, type StateCounts, withoutNumbers } from "./habits.js";
import { addInstructions, blockText, type Instruction, instructionText } from "./instructions.js";

/** A row that shows a habit, as far as the question about it needs. */
export type Example = Pick<PlayedRow, "text" | "action">;

/** What the policy says of a habit: its verdict, and its words where it has any. */
export interface Critique {
  readonly isBad: boolean;
  readonly words?: string;
}

export interface CorrectionDeps {
  readonly config: TrainConfig;
  /** Asks the policy about a habit by one of the rows that show it. */
  readonly criticise: (examples: readonly Example[]) => Promise<readonly Critique[]>;
  readonly tokensOf: (text: string) => number;
}

/** Instructions in use and the counts they come from. */
export class Correction {
  #active: readonly Instruction[] = [];
  #counts: readonly StateCounts[] = [];
  /** The first row of each action that was labelled bad. */
  #examples = new Map<string, Example>();

  constructor(readonly deps: CorrectionDeps) {}

  get active(): readonly Instruction[] {
    return this.#active;
  }

  /**
   * The instruction block for the episodes of one group, or undefined. In a share of the groups it is left out, so that the
   * policy does not come to need it; all members of a group read the same.
   */
  blockFor(taskType: string, index: number, group: number): string | undefined {
    const { dropout } = this.deps.config.correction;
    const { seed } = this.deps.config;
    if (Random.of(seed, "correction", index, group).uniform() < dropout) return undefined;
    return this.block(taskType);
  }

  /** The block of a task type as it is now. */
  block(taskType: string): string | undefined {
    const own = this.#active.filter((one) => one.taskType === taskType);
    return own.length > 0 ? blockText(own) : undefined;
  }

  /** Counts the rows of one rollout. */
  observe(rows: readonly PlayedRow[], labelOf: (row: PlayedRow) => "good" | "bad" | undefined): void {
    this.#counts = countHabits(this.#counts, rows, labelOf);
    for (const row of rows) {
      if (labelOf(row) !== "bad") continue;
      const key = keyOf(row.taskType, withoutNumbers(row.observation), withoutNumbers(row.action));
      if (!this.#examples.has(key)) this.#examples.set(key, { text: row.text, action: row.action });
    }
  }

  /**
   * Every so many updates: retires instructions whose habit is gone, adds those of habits that the policy itself calls bad, and
   * begins to count anew.
   * @param step number of the update in the run's records
   */
  async refresh(index: number, step: number): Promise<Record<string, number>> {
    const { correction, prompt } = this.deps.config;
    const before = this.#active.length;
    let added = 0;
    let criticised = 0;
    let retired = 0;
    if ((index + 1) % correction.every === 0) {
      const kept = this.#active.filter((one) => {
        const frequency = frequencyOf(this.#counts, one, correction.min_visits);
        return frequency === undefined || frequency >= correction.threshold / 2;
      });
      retired = before - kept.length;
      const habits = findHabits(this.#counts, {
        threshold: correction.threshold,
        minVisits: correction.min_visits,
      }).flatMap((habit) => {
        const row = this.#examples.get(keyOf(habit.taskType, habit.situation, habit.action));
        return row ? [{ habit, row }] : [];
      });
      const critiques = await this.deps.criticise(habits.map(({ row }) => row));
      criticised = critiques.length;
      const found = habits.flatMap(({ habit }, at) =>
        critiques[at].isBad
          ? [{ ...habit, text: instructionText(habit, prompt.format, critiques[at].words), since: step }]
          : [],
      );
      this.#active = addInstructions(kept, found, {
        perTaskType: correction.max_instructions,
        maxTokens: correction.max_tokens,
        tokensOf: this.deps.tokensOf,
      });
      added = this.#active.length - kept.length;
      this.#counts = [];
      this.#examples = new Map();
    }
    return {
      "correction/active": this.#active.length,
      "correction/added": added,
      "correction/retired": retired,
      "correction/criticised": criticised,
      "correction/mean_age": mean(this.#active.map(({ since }) => step - since)),
    };
  }

  /** Plain data for a checkpoint. */
  save(): Json {
    return { active: this.#active, counts: this.#counts, examples: [...this.#examples] } as unknown as Json;
  }

  restore(saved: Json): void {
    const { active, counts, examples } = saved as unknown as {
      readonly active: readonly Instruction[];
      readonly counts: readonly StateCounts[];
      readonly examples: readonly (readonly [string, Example])[];
    };
    this.#active = active;
    this.#counts = counts;
    this.#examples = new Map(examples);
  }
}

const keyOf = (...parts: readonly string[]): string => parts.join("\n");
