/**
 * The changing part of a game. Two states are kept side by side, as in the original: what is true (decides which actions
 * apply and whether the goal holds) and the fact view (what texts are written from). They differ where an effect is
 * conditional: the view writes it down regardless.
 */
import { holds } from "../pddl/ground_condition.js";
import type { Alternative, GroundModel } from "../pddl/grounding.js";
import { Lists } from "../pddl/lists.js";
import type { Atom } from "../pddl/pddl.js";
import { atomCodes, StateKey } from "./state_key.js";

/** Bits of an atom's entry in the state. */
const TRUE = 1;
/** The fact view has `p`. */
const VIEW = 2;
/** The fact view has `not_p`, which only a delete writes. */
const VIEW_NOT = 4;

/** Who waits for an atom's truth: alternative numbers, by atom; and what states are keyed by. Shared by all states of a game. */
export class Watchers {
  /** The action that each alternative belongs to. */
  readonly owner: Int32Array;
  readonly alternatives: readonly Alternative[];
  /** How many atoms each alternative wants true. */
  readonly demands: Int32Array;
  readonly wantTrue: Lists;
  readonly wantFalse: Lists;
  readonly codes: Uint32Array;

  constructor(readonly model: GroundModel) {
    this.codes = atomCodes(model.atoms.size);
    this.alternatives = model.actions.flatMap((action) => action.alternatives);
    this.owner = Int32Array.from(
      model.actions.flatMap((action, number) => action.alternatives.map(() => number)),
    );
    this.demands = Int32Array.from(this.alternatives, ({ positive }) => positive.length);
    this.wantTrue = new Lists(
      model.atoms.size,
      this.alternatives.map((alternative) => alternative.positive),
    );
    this.wantFalse = new Lists(
      model.atoms.size,
      this.alternatives.map((alternative) => alternative.negative),
    );
  }
}

/** State of one play of a game, kept up to date action by action. */
export class PlayState {
  readonly #watchers: Watchers;
  readonly #model: GroundModel;
  #bits: Uint8Array;
  /** Literals of each alternative that do not hold. */
  readonly #missing: Int32Array;
  /** Alternatives of which every literal holds. */
  readonly #ready = new Set<number>();
  readonly #key: StateKey;

  /** @param snapshot of a play of the same game; default: the problem's start */
  constructor(watchers: Watchers, snapshot?: Uint8Array) {
    this.#watchers = watchers;
    this.#model = watchers.model;
    this.#bits = snapshot?.slice() ?? startOf(this.#model);
    this.#missing = new Int32Array(watchers.alternatives.length);
    this.#key = new StateKey(watchers.codes);
    this.#recount();
  }

  /** Numbers of the actions that apply now, ascending. */
  applicableActions(): number[] {
    const actions = new Set<number>();
    for (const alternative of this.#ready) actions.add(this.#watchers.owner[alternative]);
    return [...actions].sort((a, b) => a - b);
  }

  /** Whether an atom is in the fact view, or its `not_` when `negated`. */
  shows(atom: number, negated: boolean): boolean {
    return (this.#bits[atom] & (negated ? VIEW_NOT : VIEW)) !== 0;
  }

  isTrue(atom: number): boolean {
    return (this.#bits[atom] & TRUE) !== 0;
  }

  /** Equal for states of a game with the same true atoms, and for no others. */
  get key(): string {
    return this.#key.toString();
  }

  /** Whether the goal is true now. */
  goalHolds(): boolean {
    return holds(this.#model.goal, (atom) => this.isTrue(atom));
  }

  /** Makes an applicable action happen; false, and nothing changes, when it does not apply. */
  apply(actionNumber: number): boolean {
    const alternative = this.#model.actions[actionNumber]?.alternatives.find(
      ({ positive, negative }) =>
        positive.every((atom) => this.isTrue(atom)) && !negative.some((atom) => this.isTrue(atom)),
    );
    if (alternative === undefined) return false;
    const happening = alternative.effects.filter((effect) =>
      holds(effect.condition, (atom) => this.isTrue(atom)),
    );
    // An add wins over a delete of the same atom in truth; in the view the delete is written last.
    for (const effect of happening) if (!effect.add) this.#setTrue(effect.atom, false);
    for (const effect of happening) if (effect.add) this.#setTrue(effect.atom, true);
    for (const effect of alternative.effects) if (effect.add) this.#write(effect.atom, VIEW, VIEW_NOT);
    for (const effect of alternative.effects) if (!effect.add) this.#write(effect.atom, VIEW_NOT, VIEW);
    return true;
  }

  /** A copy of the state's bits for `restore`, one byte an atom. */
  snapshot(): Uint8Array {
    return this.#bits.slice();
  }

  /** Goes back to a snapshot of the same game. */
  restore(snapshot: Uint8Array): void {
    this.#bits = snapshot.slice();
    this.#recount();
  }

  /** The fact view, in no particular order; `not_p` atoms are those that an action took away. */
  facts(): Atom[] {
    const { atoms, objects } = this.#model;
    const facts: Atom[] = [];
    for (let number = 0; number < atoms.size; number++) {
      if (!this.shows(number, false) && !this.shows(number, true)) continue;
      const { predicate, args } = atoms.atom(number, objects);
      facts.push({ predicate: this.shows(number, true) ? `not_${predicate}` : predicate, args });
    }
    return facts;
  }

  #write(atom: number, set: number, clear: number): void {
    this.#bits[atom] = (this.#bits[atom] | set) & ~clear;
  }

  #setTrue(atom: number, value: boolean): void {
    if (this.isTrue(atom) === value) return;
    this.#bits[atom] = this.#bits[atom] ^ TRUE;
    this.#key.flip(atom);
    const { wantTrue, wantFalse } = this.#watchers;
    for (const alternative of (value ? wantTrue : wantFalse).of(atom)) {
      const missing = this.#missing[alternative] - 1;
      this.#missing[alternative] = missing;
      if (missing === 0) this.#ready.add(alternative);
    }
    for (const alternative of (value ? wantFalse : wantTrue).of(atom)) {
      const missing = this.#missing[alternative] + 1;
      this.#missing[alternative] = missing;
      if (missing === 1) this.#ready.delete(alternative);
    }
  }

  #recount(): void {
    const { demands, wantTrue, wantFalse } = this.#watchers;
    const missing = this.#missing;
    missing.set(demands);
    this.#key.clear();
    for (let atom = 0; atom < this.#bits.length; atom++) {
      if (!this.isTrue(atom)) continue;
      this.#key.flip(atom);
      wantTrue.shift(missing, atom, -1);
      wantFalse.shift(missing, atom, 1);
    }
    this.#ready.clear();
    for (let number = 0; number < missing.length; number++)
      if (missing[number] === 0) this.#ready.add(number);
  }
}

/** Bits of the problem's start. */
function startOf({ atoms, initial }: GroundModel): Uint8Array {
  const bits = new Uint8Array(atoms.size);
  for (const atom of initial) bits[atom] = TRUE | VIEW;
  return bits;
}
