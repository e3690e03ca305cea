/** One play of a game in texts: commands in, feedback and admissible commands out. */
import type { GroundModel } from "../pddl/grounding.js";
import type { Atom } from "../pddl/pddl.js";
import type { Narrator } from "../textworld/narrator.js";
import { PlayState, type Watchers } from "./play_state.js";

/** What the original answers to anything but an admissible command. */
export const NOTHING_HAPPENS = "Nothing happens.";

/** Command texts of a game's actions, written when first needed and shared by its plays. */
export class CommandBook {
  readonly #model: GroundModel;
  readonly #narrator: Narrator;
  readonly #texts: (string | undefined)[];
  readonly #fixed = new Map<string, boolean>();

  constructor(model: GroundModel, narrator: Narrator) {
    this.#model = model;
    this.#narrator = narrator;
    this.#texts = new Array<string | undefined>(model.actions.length);
    for (const { action } of model.actions) {
      if (!this.#fixed.has(action.name)) this.#fixed.set(action.name, narrator.hasFixedCommand(action));
    }
  }

  /** The command of an action in a state. */
  text(actionNumber: number, state: PlayState): string {
    const known = this.#texts[actionNumber];
    if (known !== undefined) return known;
    const ground = this.#model.actions[actionNumber];
    const text = this.#narrator.command(ground.action, ground.args, state);
    if (this.#fixed.get(ground.action.name)) this.#texts[actionNumber] = text;
    return text;
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
  /** Admissible commands to action numbers, in order; undefined = not listed since the last change. */
  #listed:
    | { readonly commands: readonly string[]; readonly actions: ReadonlyMap<string, number> }
    | undefined;

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
    return this.#list().commands;
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
    const actionNumber = this.#list().actions.get(INVENTORY_COMMAND);
    return actionNumber === undefined ? undefined : this.#feedback(actionNumber);
  }

  /** Truth of an atom, by its number in the model. */
  isTrue(atom: number): boolean {
    return this.#state.isTrue(atom);
  }

  /** The command that an action of the model is played with now, whether it applies or not. */
  commandOf(actionNumber: number): string {
    return this.#commands.text(actionNumber, this.#state);
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
    const actionNumber = this.#list().actions.get(strip(command));
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
    const { action, args } = this.#model.actions[actionNumber];
    return this.#narrator.feedback(action, args, this.#state);
  }

  #list() {
    if (this.#listed === undefined) {
      const actions = new Map<string, number>();
      for (const actionNumber of this.#state.applicableActions()) {
        const text = this.#commands.text(actionNumber, this.#state);
        // Of several actions with one text the first is the one that is played.
        if (!actions.has(text)) actions.set(text, actionNumber);
      }
      this.#listed = { commands: [...actions.keys()].sort(), actions };
    }
    return this.#listed;
  }
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
