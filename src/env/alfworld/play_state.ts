/**
 * The changing part of a game. Two states are kept side by side, as in the original: what is true (decides which actions
 * apply and whether the goal holds) and the fact view (what texts are written from). They differ where an effect is
 * conditional: the view writes it down regardless.
 */
import { holds } from "../pddl/ground_condition.js";
import type { GroundModel } from "../pddl/grounding.js";
import { Lists } from "../pddl/lists.js";
import type { Atom } from "../pddl/pddl.js";
import { StateKey } from "./state_key.js";

/** Bits of an atom's entry in the state. */
const TRUE = 1;
/** The fact view has `p`. */
const VIEW = 2;
/** The fact view has `not_p`, which only a delete writes. */
const VIEW_NOT = 4;

/** Who waits for an atom's truth: alternative numbers, by atom; and what states are keyed by. Shared by all states of a game. */
export class Watchers {
  /** Alternatives that want an atom true, and that want it false. */
  readonly wantTrue: Lists;
  readonly wantFalse: Lists;

  /** @param codes what states are keyed by; see `AtomCodes` */
  constructor(
    readonly model: GroundModel,
    readonly codes: Uint32Array,
  ) {
    const { actions, atoms } = model;
    this.wantTrue = new Lists(atoms.size, actions.positive);
    this.wantFalse = new Lists(atoms.size, actions.negative);
  }
}

/** State of one play of a game, kept up to date action by action. */
export class PlayState {
  readonly #watchers: Watchers;
  readonly #model: GroundModel;
  #bits: Uint8Array;
  /** Literals of each alternative that do not hold. */
  readonly #missing: Int32Array;
  /** Alternatives of which every literal holds, in no order: the first `#readyCount`; and the place of each of them there. */
  readonly #ready: Int32Array;
  readonly #placeInReady: Int32Array;
  #readyCount = 0;
  readonly #key: StateKey;

  /** @param snapshot of a play of the same game; default: the problem's start */
  constructor(watchers: Watchers, snapshot?: Uint8Array) {
    this.#watchers = watchers;
    this.#model = watchers.model;
    this.#bits = snapshot?.slice() ?? startOf(this.#model);
    const alternatives = watchers.model.actions.positive.count;
    this.#missing = new Int32Array(alternatives);
    this.#ready = new Int32Array(alternatives);
    this.#placeInReady = new Int32Array(alternatives);
    this.#key = new StateKey(watchers.codes);
    this.#recount();
  }

  /** Calls `visit` with each action that applies now, in no order; once for each of its alternatives that does. */
  forEachApplicable(visit: (action: number) => void): void {
    const { owner } = this.#model.actions;
    for (let i = 0; i < this.#readyCount; i++) visit(owner[this.#ready[i]]);
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
    const alternative = this.#model.actions
      .at(actionNumber)
      ?.alternatives.find(
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
    this.#settle(value ? wantTrue : wantFalse, atom);
    this.#unsettle(value ? wantFalse : wantTrue, atom);
  }

  /** A literal of the alternatives in an atom's list holds now. */
  #settle({ items, starts }: Lists, atom: number): void {
    for (let at = starts[atom]; at < starts[atom + 1]; at++) {
      const alternative = items[at];
      if (--this.#missing[alternative] > 0) continue;
      this.#placeInReady[alternative] = this.#readyCount;
      this.#ready[this.#readyCount++] = alternative;
    }
  }

  /** A literal of the alternatives in an atom's list holds no longer. */
  #unsettle({ items, starts }: Lists, atom: number): void {
    for (let at = starts[atom]; at < starts[atom + 1]; at++) {
      const alternative = items[at];
      if (++this.#missing[alternative] > 1) continue;
      const last = this.#ready[--this.#readyCount];
      const place = this.#placeInReady[alternative];
      this.#ready[place] = last;
      this.#placeInReady[last] = place;
    }
  }

  #recount(): void {
    const { positive } = this.#model.actions;
    const missing = this.#missing;
    this.#readyCount = 0;
    this.#key.clear();
    for (let number = 0; number < missing.length; number++) {
      missing[number] = positive.length(number);
      if (missing[number] === 0) {
        this.#placeInReady[number] = this.#readyCount;
        this.#ready[this.#readyCount++] = number;
      }
    }
    const { wantTrue, wantFalse } = this.#watchers;
    for (let atom = 0; atom < this.#bits.length; atom++) {
      if (!this.isTrue(atom)) continue;
      this.#key.flip(atom);
      this.#settle(wantTrue, atom);
      this.#unsettle(wantFalse, atom);
    }
  }
}

/** Bits of the problem's start. */
function startOf({ atoms, initial }: GroundModel): Uint8Array {
  const bits = new Uint8Array(atoms.size);
  for (const atom of initial) bits[atom] = TRUE | VIEW;
  return bits;
}
