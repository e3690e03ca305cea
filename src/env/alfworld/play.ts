/** One play of a game in texts: commands in, feedback and admissible commands out. */
import type { GroundAction } from "../pddl/action_table.js";
import type { GroundModel } from "../pddl/grounding.js";
import type { Action, Atom } from "../pddl/pddl.js";
import type { Narrator } from "../textworld/narrator.js";
import { PlayState, type Watchers } from "./play_state.js";

/** What the original answers to anything but an admissible command. */
export const NOTHING_HAPPENS = "Nothing happens.";

/** Command texts of a game's actions, written when first needed and shared by its plays. A text has a number. */
export class CommandBook {
  readonly #model: GroundModel;
  readonly #narrator: Narrator;
  readonly #texts: string[] = [];
  readonly #numbers = new Map<string, number>();
  /** Numbers of all texts, sorted by text; and the place of each text there, where `#isRanked`. */
  readonly #sorted: number[] = [];
  #ranks = new Int32Array(64);
  #isRanked = true;
  /** Text number of each action whose text is the same in every state, plus 1; 0 = not known yet. */
  readonly #textOf: Int32Array;
  readonly #parameters = new Map<Action, readonly number[] | undefined>();
  /** By action of the domain: text numbers by the objects that the text depends on. */
  readonly #written = new Map<Action, Map<string, number>>();

  constructor(model: GroundModel, narrator: Narrator) {
    this.#model = model;
    this.#narrator = narrator;
    this.#textOf = new Int32Array(model.actions.count);
  }

  text(number: number): string {
    return this.#texts[number];
  }

  /** The number of a text that is known already. */
  find(text: string): number | undefined {
    return this.#numbers.get(text);
  }

  /** Place of a text among the known ones, sorted by code unit. */
  rank(number: number): number {
    if (!this.#isRanked) {
      if (this.#sorted.length > this.#ranks.length) this.#ranks = new Int32Array(2 * this.#sorted.length);
      for (let rank = 0; rank < this.#sorted.length; rank++) this.#ranks[this.#sorted[rank]] = rank;
      this.#isRanked = true;
    }
    return this.#ranks[number];
  }

  /** The text of a rank. */
  ranked(rank: number): string {
    return this.#texts[this.#sorted[rank]];
  }

  /** Number of the command of an action in a state. */
  number(action: number, state: PlayState): number {
    return this.#textOf[action] > 0 ? this.#textOf[action] - 1 : this.#write(action, state);
  }

  #write(action: number, state: PlayState): number {
    const { actions } = this.#model;
    const schema = actions.schema(action);
    if (!this.#parameters.has(schema)) {
      this.#parameters.set(schema, this.#narrator.parametersOfCommand(schema));
    }
    const parameters = this.#parameters.get(schema);
    const start = actions.args.start(action);
    const write = () => this.#intern(this.#narrator.command(schema, actions.args.row(action), state));
    if (parameters === undefined) return write();
    let written = this.#written.get(schema);
    if (written === undefined) {
      written = new Map();
      this.#written.set(schema, written);
    }
    const key = parameters.map((parameter) => actions.args.items[start + parameter]).join();
    const number = written.get(key) ?? write();
    written.set(key, number);
    this.#textOf[action] = number + 1;
    return number;
  }

  #intern(text: string): number {
    let number = this.#numbers.get(text);
    if (number === undefined) {
      number = this.#texts.push(text) - 1;
      this.#numbers.set(text, number);
      let [from, to] = [0, this.#sorted.length];
      while (from < to) {
        const middle = (from + to) >> 1;
        if (this.#texts[this.#sorted[middle]] < text) from = middle + 1;
        else to = middle;
      }
      this.#sorted.splice(from, 0, number);
      this.#isRanked = false;
    }
    return number;
  }
}

/** The command that both ALFWorld and the household world answer with what the agent carries. */
const INVENTORY_COMMAND = "inventory";

/** A play from the game's start, or from wherever `restore` puts it. */
export class AlfworldPlay {
  readonly #model: GroundModel;
  readonly #narrator: Narrator;
  readonly #commands: CommandBook;
  readonly #state: PlayState;
  /** Admissible commands in order; undefined = not listed since the last change. */
  #listed: readonly string[] | undefined;
  /** By text number: the action that is played by it, plus 1; 0 = not admissible. Holds for the last list. */
  #actionOf = new Int32Array(64);
  /** Text numbers of the last list. */
  readonly #numbers: number[] = [];

  /** @param snapshot where to start; default: the game's start */
  constructor(watchers: Watchers, narrator: Narrator, commands: CommandBook, snapshot?: Uint8Array) {
    this.#model = watchers.model;
    this.#narrator = narrator;
    this.#commands = commands;
    this.#state = new PlayState(watchers, snapshot);
  }

  /** The first text of a game: room and task. */
  intro(): string {
    return this.#narrator.intro(this.#state);
  }

  /** Commands that do something now: without repeats, sorted by code unit. */
  get admissibleCommands(): readonly string[] {
    return this.#list();
  }

  /** Whether the goal is true now. */
  get won(): boolean {
    return this.#state.goalHolds();
  }

  /** Equal for states of this game with the same true atoms, and for no others; 16 hexadecimal digits. */
  get stateKey(): string {
    return this.#state.key;
  }

  /** What the game would answer to `inventory`, without playing it; undefined where that is no command now. */
  get inventory(): string | undefined {
    const actionNumber = this.#actionBy(INVENTORY_COMMAND);
    return actionNumber === undefined ? undefined : this.#feedback(actionNumber);
  }

  /** Truth of an atom, by its number in the model. */
  isTrue(atom: number): boolean {
    return this.#state.isTrue(atom);
  }

  /** The command that an action of the model is played with now, whether it applies or not. */
  commandOf(actionNumber: number): string {
    return this.#commands.text(this.#commands.number(actionNumber, this.#state));
  }

  /** Facts that texts are written from, unordered; `not_name(...)` for what an action took away. */
  facts(): readonly Atom[] {
    return this.#state.facts();
  }

  /**
   * Plays one command and returns the feedback. White space around it does not matter, anything else must be exact:
   * other texts change nothing and are answered `Nothing happens.`
   */
  step(command: string): string {
    const actionNumber = this.#actionBy(strip(command));
    if (actionNumber === undefined) return NOTHING_HAPPENS;
    this.#state.apply(actionNumber);
    this.#listed = undefined;
    return this.#feedback(actionNumber);
  }

  /** The state, for `restore` on any play of the same game. */
  snapshot(): Uint8Array {
    return this.#state.snapshot();
  }

  restore(snapshot: Uint8Array): void {
    this.#state.restore(snapshot);
    this.#listed = undefined;
  }

  /** What the game says of an action in the state after it. */
  #feedback(actionNumber: number): string {
    const { action, args } = this.#model.actions.at(actionNumber) as GroundAction;
    return this.#narrator.feedback(action, args, this.#state);
  }

  /** The action that a command plays now. */
  #actionBy(command: string): number | undefined {
    this.#list();
    const number = this.#commands.find(command);
    const action = number === undefined ? 0 : (this.#actionOf[number] ?? 0);
    return action === 0 ? undefined : action - 1;
  }

  #list(): readonly string[] {
    if (this.#listed !== undefined) return this.#listed;
    const numbers = this.#numbers;
    for (const number of numbers) this.#actionOf[number] = 0;
    numbers.length = 0;
    this.#state.forEachApplicable((action) => {
      const number = this.#commands.number(action, this.#state);
      if (number >= this.#actionOf.length) this.#actionOf = enlarged(this.#actionOf, number);
      const known = this.#actionOf[number];
      if (known === 0) numbers.push(number);
      // Of several actions with one text the first is the one that is played.
      if (known === 0 || action + 1 < known) this.#actionOf[number] = action + 1;
    });
    const ranks = new Int32Array(numbers.length);
    for (let i = 0; i < ranks.length; i++) ranks[i] = this.#commands.rank(numbers[i]);
    ranks.sort();
    const commands: string[] = [];
    for (let i = 0; i < ranks.length; i++) commands.push(this.#commands.ranked(ranks[i]));
    this.#listed = commands;
    return commands;
  }
}

/** A copy that has a place for `index`. */
function enlarged(array: Int32Array, index: number): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(2 * (index + 1));
  larger.set(array);
  return larger;
}

/** Removes white space at both ends as Python's `strip` does: control separators too, a byte order mark not. */
function strip(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isSpace(text.charCodeAt(start))) start++;
  while (end > start && isSpace(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isSpace(code: number): boolean {
  if (code < 0x80) return code === 0x20 || (code >= 0x09 && code <= 0x0d) || (code >= 0x1c && code <= 0x1f);
  return code === 0x85 || (code !== 0xfeff && String.fromCharCode(code).trim() === "");
}
