/** Ground actions of a problem in flat arrays: most of the thousands that a game has are never looked at one by one. */
import type { Conjunction, GroundCondition } from "./ground_condition.js";
import type { Action } from "./pddl.js";
import { Rows } from "./rows.js";

/** One literal effect of a ground action. */
export interface GroundEffect {
  readonly atom: number;
  readonly add: boolean;
  /** `true` = unconditional. */
  readonly condition: GroundCondition;
}

/** One way to be applicable (disjunctive preconditions give several), with what then happens. */
export interface Alternative extends Conjunction {
  readonly effects: readonly GroundEffect[];
}

/** An action with objects for its declared parameters. */
export interface GroundAction {
  readonly action: Action;
  /** Object numbers, in the order of the parameters. */
  readonly args: readonly number[];
  /** The first that holds is the one that happens. */
  readonly alternatives: readonly Alternative[];
}

/** Effects by row. */
export class EffectRows {
  /** `2 * atom + 1` for an atom that is added, `2 * atom` for one that is deleted. */
  readonly codes = new Rows();
  /** Conditions of entries of `codes.items`; the others are unconditional. */
  readonly #conditions = new Map<number, GroundCondition>();

  get hasConditions(): boolean {
    return this.#conditions.size > 0;
  }

  push(atom: number, add: boolean, condition: GroundCondition): void {
    if (condition !== true) this.#conditions.set(this.codes.size, condition);
    this.codes.push(2 * atom + Number(add));
  }

  /** Condition of an entry of `codes.items`. */
  condition(at: number): GroundCondition {
    return this.#conditions.size === 0 ? true : (this.#conditions.get(at) ?? true);
  }

  row(row: number): GroundEffect[] {
    const effects: GroundEffect[] = [];
    for (let at = this.codes.start(row); at < this.codes.ends[row]; at++) {
      const code = this.codes.items[at];
      effects.push({ atom: code >> 1, add: code % 2 === 1, condition: this.condition(at) });
    }
    return effects;
  }
}

/** Ground actions by number, in the domain's action order. */
export class ActionTable {
  /** Object numbers of each action's parameters. */
  readonly args = new Rows();
  /** What each alternative needs to be true, and to be false. Alternatives are numbered over all actions. */
  readonly positive = new Rows();
  readonly negative = new Rows();
  /** What each alternative does. */
  readonly effects = new EffectRows();
  /** The action that each alternative belongs to. */
  readonly owner: number[] = [];
  readonly #schemas: Action[] = [];
  readonly #firstAlternative: number[] = [0];
  readonly #looked = new Map<number, GroundAction>();

  get count(): number {
    return this.#schemas.length;
  }

  /** Makes an action of the alternatives that were written since the last one. */
  close(schema: Action): void {
    for (let left = this.positive.count - this.owner.length; left > 0; left--) this.owner.push(this.count);
    this.#firstAlternative.push(this.positive.count);
    this.#schemas.push(schema);
  }

  /** The action of the domain that an action is an instance of. */
  schema(action: number): Action {
    return this.#schemas[action];
  }

  /** An action as an object; undefined when there is none of that number. */
  at(action: number): GroundAction | undefined {
    let ground = this.#looked.get(action);
    if (ground === undefined && action in this.#schemas) {
      const alternatives: Alternative[] = [];
      for (let i = this.#firstAlternative[action]; i < this.#firstAlternative[action + 1]; i++) {
        alternatives.push({
          positive: this.positive.row(i),
          negative: this.negative.row(i),
          effects: this.effects.row(i),
        });
      }
      ground = { action: this.#schemas[action], args: this.args.row(action), alternatives };
      this.#looked.set(action, ground);
    }
    return ground;
  }
}
