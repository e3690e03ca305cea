/** An ALFWorld game: parsed, grounded, immutable, and shared by every play of it. */
import { DataError } from "../../core/errors.js";
import { type GroundModel, groundProblem } from "../pddl/grounding.js";
import { type Domain, type Problem, parseProblem } from "../pddl/pddl.js";
import type { Grammar } from "../textworld/grammar.js";
import { Narrator } from "../textworld/narrator.js";
import { QueryEngine } from "../textworld/query.js";
import { type GameFile, readGameFile } from "./game_file.js";
import { type EntityNames, nameEntities } from "./naming.js";
import { ParseCache, TASK_RULE, withTask } from "./parse_cache.js";
import { AlfworldPlay, CommandBook } from "./play.js";
import { PlayState, Watchers } from "./play_state.js";

/** The six task types of ALFWorld, in the order of their numbers 1 to 6. */
export const TASK_TYPES = [
  "pick_and_place_simple",
  "look_at_obj_in_light",
  "pick_clean_then_place_in_recep",
  "pick_heat_then_place_in_recep",
  "pick_cool_then_place_in_recep",
  "pick_two_obj_and_place",
] as const;

/** What stands before the task in the task rule. */
const TASK_PREFIX = "Your task is to: ";

export interface GameOptions {
  /** How messages name the file. */
  readonly file: string;
  /** Default: `file`. */
  readonly taskId?: string;
  /** Default: the part before the first `-` of the path segment that has one, as in ALFWorld's folders. */
  readonly taskType?: string;
  /** PDDL domain to use in place of the file's own, to play old files by newer rules. */
  readonly domain?: string;
  /** How messages name `domain`. */
  readonly domainFile?: string;
  /** TWL2 grammar to use in place of the file's own; the file's task sentence is put in. */
  readonly grammar?: string;
  /** How messages name `grammar`. */
  readonly grammarFile?: string;
  /** Give the same one to every game of a set. */
  readonly cache?: ParseCache;
}

/** A game ready to be played any number of times, also at the same time. */
export class AlfworldGame {
  readonly taskId: string;
  readonly taskType: string;
  /** The task as the game words it, `put a knife in sidetable.` */
  readonly task: string;
  /** Whether the file was found solvable; null = never checked. */
  readonly solvable: boolean | null;
  /** A winning command sequence, where the file has one. */
  readonly walkthrough: readonly string[] | null;
  readonly domain: Domain;
  readonly problem: Problem;
  /** Display names of objects and back. */
  readonly names: EntityNames;
  readonly model: GroundModel;
  /** What states of this game are made from. */
  readonly watchers: Watchers;
  readonly #grammar: Grammar;
  readonly #narrator: Narrator;
  readonly #commands: CommandBook;

  /**
   * @param source content of a `game.tw-pddl` file, text or UTF-8 bytes
   * @throws DataError naming the file and the place when it, or a given domain or grammar, is broken
   */
  static parse(source: string | Uint8Array, options: GameOptions): AlfworldGame {
    return new AlfworldGame(source, options);
  }

  private constructor(source: string | Uint8Array, options: GameOptions) {
    const { file, cache = new ParseCache() } = options;
    const content = readGameFile(source, file);
    const ownFile = `${file} grammar`;
    const ownGrammar = cache.grammar(content.grammar, ownFile);
    const sentence = ownGrammar.rules.get(TASK_RULE)?.[0]?.source;
    if (sentence === undefined) {
      throw new DataError(
        `[${ownFile}] no rule "${TASK_RULE}": expected the task sentence. Use a game.tw-pddl file.`,
      );
    }
    const grammarFile = options.grammar === undefined ? ownFile : (options.grammarFile ?? "given grammar");
    const grammar =
      options.grammar === undefined
        ? ownGrammar
        : withTask(cache.grammar(options.grammar, grammarFile), sentence, ownFile);
    this.domain = domainOf(content, options, cache);
    cache.check(grammar, this.domain, grammarFile);
    this.problem = parseProblem(content.problem, this.domain, `${file} pddl_problem`);
    this.taskId = options.taskId ?? file;
    this.taskType = options.taskType ?? taskTypeOfPath(file);
    this.task = sentence.startsWith(TASK_PREFIX) ? sentence.slice(TASK_PREFIX.length) : sentence;
    this.solvable = content.solvable;
    this.walkthrough = content.walkthrough;
    this.names = nameEntities(this.problem);
    this.model = groundProblem(this.domain, this.problem, file);
    this.watchers = new Watchers(this.model, cache.codes.of(this.model.atoms.size));
    const queries = new QueryEngine(this.model, this.domain.predicates.keys(), this.domain.types.keys());
    this.#grammar = grammar;
    this.#narrator = new Narrator(grammar, queries, this.model.objects, this.names);
    this.#commands = new CommandBook(this.model, this.#narrator);
  }

  /** A new play. @param snapshot where it starts, from another play of this game; default: the game's start */
  start(snapshot?: Uint8Array): AlfworldPlay {
    return new AlfworldPlay(this.watchers, this.#narrator, this.#commands, snapshot);
  }

  /** Every literal text of the grammar, and every display name of the game. */
  words(): readonly string[] {
    const texts = [...this.#grammar.rules.values()].flatMap((rule) => rule.map(({ text }) => text));
    for (const { template, feedback } of this.#grammar.actions.values()) texts.push(template, feedback);
    const literals = texts.flatMap((text) =>
      text.flatMap((piece) => (piece.kind === "text" ? [piece.text] : [])),
    );
    return [...new Set([...literals, ...this.names.byId.values()])];
  }

  /**
   * The command that an action is played with, `take knife 1 from sidetable 1`, whether it applies now or not.
   * @param action action name of the domain, lower-case
   * @param args object ids in the order of the action's declared parameters
   * @throws DataError when the game has no such action or object, or the number of objects is wrong
   */
  commandText(action: string, args: readonly string[]): string {
    const declared = this.domain.actions.get(action);
    if (declared === undefined || declared.parameters.length !== args.length) {
      const expected =
        declared === undefined ? "an action of the domain" : `${declared.parameters.length} objects`;
      throw new DataError(
        `[${this.taskId}] no command: got ${action}(${args.join(",")}), expected ${expected}. Fix it.`,
      );
    }
    const objects = args.map((id) => {
      const object = this.model.objects.indexOf(id);
      if (object !== undefined) return object;
      throw new DataError(
        `[${this.taskId}] no command: got object \`${id}\`, expected one of the problem. Fix it.`,
      );
    });
    return this.#narrator.command(declared, objects, new PlayState(this.watchers));
  }
}

/**
 * Where things are at the start of a game, without the work of making it ready to be played.
 * @param source content of a `game.tw-pddl` file
 * @throws DataError naming the file and the place when it, or a given domain, is broken
 */
export function readStart(
  source: string | Uint8Array,
  options: GameOptions,
): Pick<AlfworldGame, "problem" | "names"> {
  const { file, cache = new ParseCache() } = options;
  const content = readGameFile(source, file);
  const problem = parseProblem(content.problem, domainOf(content, options, cache), `${file} pddl_problem`);
  return { problem, names: nameEntities(problem) };
}

function domainOf(content: GameFile, { file, domain, domainFile }: GameOptions, cache: ParseCache): Domain {
  const text = domain ?? content.domain;
  if (text === undefined) {
    throw new DataError(
      `[${file}] key "pddl_domain" is missing: expected a PDDL domain. Use a game.tw-pddl file.`,
    );
  }
  return cache.domain(text, domain === undefined ? `${file} pddl_domain` : (domainFile ?? "given domain"));
}

/** Task type in a path like `.../pick_and_place_simple-Knife-None-SideTable-3/trial_.../game.tw-pddl`; else `unknown`. */
export function taskTypeOfPath(path: string): string {
  const folder = path.split(/[\\/]/).find((segment) => /^[a-z_]+-.*-/.test(segment));
  return folder?.slice(0, folder.indexOf("-")) ?? "unknown";
}
