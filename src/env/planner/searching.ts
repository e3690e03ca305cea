/**
 * A player who wins by what it has read: it runs the errands whose things it has seen, and looks for the others where such things
 * mostly are. What it does can be learned by whoever reads the same texts; what a player who sees everything does cannot.
 */
import type { AlfworldGame } from "../alfworld/game.js";
import type { AlfworldPlay } from "../alfworld/play.js";
import type { Experience } from "../world.js";
import { planKnownErrands } from "./errands.js";
import { INSIDE, RECEPTACLE_AT } from "./operators.js";

/** How many things of a kind one receptacle of a kind holds on average, by the words for both. */
export type Affinity = (thing: string, receptacle: string) => number;

/**
 * What to do next: commands up to the win, up to the end of the errands whose things were seen, or the next look at a receptacle
 * that was not looked into.
 * @param state `snapshot()` of a play of this game
 * @param experience first text, texts and commands since then
 * @returns null when everything was looked at and something is still missing; empty when the state is won
 * @throws DataError when the goal has too many alternatives
 */
export function planBySearching(
  game: AlfworldGame,
  state: Uint8Array,
  experience: Experience,
  affinity: Affinity,
): readonly string[] | null {
  const play = game.start(state);
  if (play.won) return [];
  const isHidden = hiddenThings(game, experience.texts);
  const { args } = game.model.atoms;
  const isKnown = (atom: number): boolean =>
    play.isTrue(atom) && !args[atom].some((object) => isHidden[object]);
  const { actions, missing } = planKnownErrands(game.model, isKnown);
  const commands = performed(play, actions);
  if (commands.length > 0) return commands;
  const wanted = new Set([...missing].map((object) => kindOf(nameOf(game, object))));
  const look = nextLook(play.admissibleCommands, experience, (receptacle) =>
    [...wanted].reduce((sum, thing) => sum + affinity(thing, receptacle), 0),
  );
  return look === undefined ? null : [look];
}

/** What is known of a game without grounding it. */
type Start = Pick<AlfworldGame, "problem" | "names">;

/** Counts where things lie at the start of some games: on receptacles that stand somewhere or hold something. */
export function affinityOf(games: Iterable<Start>): Affinity {
  const things = new Map<string, number>();
  const receptacles = new Map<string, number>();
  const count = (counts: Map<string, number>, key: string) => counts.set(key, (counts.get(key) ?? 0) + 1);
  for (const { problem, names } of games) {
    const places = new Set<string>();
    for (const { predicate, args } of problem.init) {
      if (predicate === RECEPTACLE_AT) places.add(names.nameOf(args[0]));
      if (predicate !== INSIDE) continue;
      const [thing, place] = args.map((id) => names.nameOf(id));
      places.add(place);
      count(things, `${kindOf(thing)}\n${kindOf(place)}`);
    }
    for (const place of places) count(receptacles, kindOf(place));
  }
  return (thing, receptacle) =>
    (things.get(`${thing}\n${receptacle}`) ?? 0) / Math.max(1, receptacles.get(receptacle) ?? 0);
}

const nameOf = ({ names, model }: AlfworldGame, object: number): string =>
  names.nameOf(model.objects.ids[object]);

/** `mug 2` is of the kind `mug`. */
const kindOf = (name: string): string => name.replace(/ \d*$/, "");

/** By object: whether it is a thing in some receptacle that no text has named. */
function hiddenThings(game: AlfworldGame, texts: readonly string[]): boolean[] {
  const { atoms, objects, initial } = game.model;
  const named = new Set(texts.flatMap(namesIn));
  const hidden = objects.ids.map(() => false);
  for (const atom of atoms.ofPredicate(INSIDE)) {
    const [thing] = atoms.args[atom];
    if (initial.has(atom)) hidden[thing] = !named.has(nameOf(game, thing));
  }
  return hidden;
}

/** The commands of actions, up to the win or to one that the game refuses. */
function performed(play: AlfworldPlay, actions: readonly number[]): string[] {
  const start = play.snapshot();
  const commands: string[] = [];
  for (const action of actions) {
    const command = play.commandOf(action);
    if (play.won || !play.admissibleCommands.includes(command)) break;
    play.step(command);
    commands.push(command);
  }
  play.restore(start);
  return commands;
}

/** Things and receptacles that a text names, in its order. */
const namesIn = (text: string): string[] => text.match(/[a-z]+ \d+/g) ?? [];

const GO = "go to ";
const OPEN = "open ";

/** Opens what the player stands before for the first time, or goes to the likeliest receptacle that it was not at. */
function nextLook(
  admissible: readonly string[],
  { texts, commands }: Experience,
  worth: (receptacle: string) => number,
): string | undefined {
  const before = commands.findLast((command) => command.startsWith(GO))?.slice(GO.length);
  const opening = `${OPEN}${before}`;
  if (admissible.includes(opening)) return opening;
  const named = namesIn(texts[0]);
  const ranked = admissible
    .filter((command) => command.startsWith(GO) && !commands.includes(command))
    .map((command) => {
      const place = command.slice(GO.length);
      // in the order in which the first text names them, where one is worth as much as the other
      return { command, worth: worth(kindOf(place)), at: named.indexOf(place) };
    });
  ranked.sort((a, b) => b.worth - a.worth || a.at - b.at);
  return ranked[0]?.command;
}
