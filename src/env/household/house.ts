/** One drawn house: its receptacles, its items and where they lie. Names here are the names the player reads. */
import { ArgumentError } from "../../core/errors.js";
import { hashText } from "../../core/hash.js";
import type { Random } from "../../core/random.js";
import { type RoomKind, receptacleKinds, rooms } from "./rooms.js";

/** Splits that have houses of their own. */
export const householdSplits = ["train", "in_domain", "out_of_domain"] as const;
export type HouseholdSplit = (typeof householdSplits)[number];

/** Splits of games: `seen_houses` has new games in houses of `train`. */
export const gameSplits = ["train", "seen_houses", "in_domain", "out_of_domain"] as const;
export type GameSplit = (typeof gameSplits)[number];

/** How hard the games are. */
export interface Difficulty {
  /** Fewest and most receptacles of a house. */
  readonly receptacles: readonly [number, number];
  /** Fewest and most movable items of a house, the ones of the task included; small rooms may have fewer. */
  readonly items: readonly [number, number];
  /** Chance that a game may keep items behind doors or want them there (each door costs a step), 0 to 1. */
  readonly doors: number;
}

export const difficulties = {
  easy: { receptacles: [4, 5], items: [3, 4], doors: 0 },
  normal: { receptacles: [4, 7], items: [3, 6], doors: 0.4 },
  hard: { receptacles: [8, 12], items: [8, 14], doors: 1 },
} as const satisfies Record<string, Difficulty>;

/** A receptacle or an item: kind and number, printed as `shelf 2`. */
export interface Thing {
  readonly kind: string;
  readonly number: number;
}

/** An item and the receptacle it starts in. */
export interface PlacedItem extends Thing {
  readonly place: Thing;
}

export interface House {
  readonly room: RoomKind;
  readonly receptacles: readonly Thing[];
  readonly items: readonly PlacedItem[];
}

/** `mug 1`: how things are called in texts and commands. */
export function nameOf(thing: Thing): string {
  return `${thing.kind} ${thing.number}`;
}

/** @throws ArgumentError when a range or chance makes no sense */
export function checkDifficulty(difficulty: Difficulty): void {
  for (const field of ["receptacles", "items"] as const) {
    const [low, high] = difficulty[field];
    if (!(Number.isInteger(low) && Number.isInteger(high) && low >= 3 && low <= high && high <= 14)) {
      throw new ArgumentError(
        `[household] ${field} of the difficulty do not fit: got [${low}, ${high}], expected two integers, 3 <= low <= high <= 14. Change the range.`,
      );
    }
  }
  if (!(difficulty.doors >= 0 && difficulty.doors <= 1)) {
    throw new ArgumentError(
      `[household] doors of the difficulty is no chance: got ${difficulty.doors}, expected 0 to 1. Change it.`,
    );
  }
}

/** Uniform integer from low to high, both included. */
export function integerBetween(random: Random, [low, high]: readonly [number, number]): number {
  return low + random.integer(high - low + 1);
}

/**
 * Receptacles of a room, the required kinds among them, sorted by kind and number.
 * @param count how many, or all that the room has when they are fewer
 */
export function drawReceptacles(
  random: Random,
  room: RoomKind,
  required: readonly string[],
  count: number,
): readonly Thing[] {
  const spare = Object.entries(rooms[room].receptacles).flatMap(([kind, most]) =>
    Array<string>(most - (required.includes(kind) ? 1 : 0)).fill(kind),
  );
  const kinds = [...required, ...random.shuffle(spare)].slice(0, Math.max(count, required.length));
  return numbered(kinds);
}

/** Gives kinds their numbers: the first `mug` is 1, the second 2. Sorted by kind, then number. */
export function numbered(kinds: readonly string[]): readonly Thing[] {
  const counts = new Map<string, number>();
  const things = kinds.map((kind) => {
    const number = (counts.get(kind) ?? 0) + 1;
    counts.set(kind, number);
    return { kind, number };
  });
  return things.sort((a, b) => (a.kind === b.kind ? a.number - b.number : a.kind < b.kind ? -1 : 1));
}

/**
 * The split that owns a set of receptacles: six eighths of all layouts train, one eighth each evaluates. It depends on
 * the layout alone, so the splits share no house for any seeds and sizes.
 */
export function splitOfLayout(room: RoomKind, receptacles: readonly Thing[]): HouseholdSplit {
  const share = hashText([room, ...receptacles.map(nameOf)].join("\u0001")) % 8;
  return share < 6 ? "train" : share === 6 ? "in_domain" : "out_of_domain";
}

/** Whether a receptacle kind has a door. */
export function hasDoor(kind: string): boolean {
  return receptacleKinds[kind].openable === true;
}

/** The house as one line: equal lines are equal houses. */
export function houseText(house: House): string {
  const items = house.items.map((item) => `${nameOf(item)} in ${nameOf(item.place)}`);
  return `${house.room}: ${house.receptacles.map(nameOf).join(", ")}; ${items.sort().join(", ")}`;
}
