/** Draws household games: a house, a task that it can serve, and the text of a normal `game.tw-pddl` file. */
import { ConfigError } from "../../core/errors.js";
import { Random } from "../../core/random.js";
import {
  checkDifficulty,
  type Difficulty,
  drawReceptacles,
  type GameSplit,
  type House,
  type HouseholdSplit,
  hasDoor,
  houseText,
  integerBetween,
  numbered,
  type PlacedItem,
  splitOfLayout,
  type Thing,
} from "./house.js";
import { householdDomain, householdGrammar } from "./language.js";
import { problemText } from "./problem.js";
import { fits, itemKinds, type RoomKind, receptacleKinds, rooms } from "./rooms.js";
import {
  goalOf,
  type HouseholdTask,
  type HouseholdTaskType,
  sentenceOf,
  type TaskShape,
  taskShapes,
  walkthroughOf,
} from "./tasks.js";

/** How many houses are drawn before a request counts as impossible; one in eight layouts fits an evaluation split. */
const maxDraws = 2000;

/** One generated game. */
export interface HouseholdGame {
  /** As `householdTaskId` gives it. */
  readonly id: string;
  readonly split: GameSplit;
  readonly house: House;
  readonly task: HouseholdTask;
  /** JSON text of a `game.tw-pddl` file: domain, grammar, problem, `solvable`, walkthrough. */
  readonly text: string;
}

/** Which game to draw: the same request always gives the same game. */
export interface HouseholdRequest {
  readonly seed: number;
  readonly split: HouseholdSplit;
  readonly index: number;
  readonly type: HouseholdTaskType;
  readonly difficulty: Difficulty;
}

/** Which game to draw in a house of the split `train`. */
export interface SeenHouseRequest extends Omit<HouseholdRequest, "split"> {
  /** Games of the split `train`, and their task types, dealt in turn. */
  readonly trained: { readonly count: number; readonly types: readonly HouseholdTaskType[] };
}

/** Id of a game within a world, for example `household/train/12-pick_and_place_simple`. */
export function householdTaskId(
  game: Pick<HouseholdGame, "split"> & { index: number; type: string },
): string {
  return `household/${game.split}/${game.index}-${game.type}`;
}

/**
 * Draws a game that is solvable by construction and not solved at its start.
 * @throws ArgumentError when the difficulty is malformed
 * @throws ConfigError when no house of that difficulty can serve the task type
 */
export function generateHouseholdGame(request: HouseholdRequest): HouseholdGame {
  const { seed, split, index, type, difficulty } = request;
  checkDifficulty(difficulty);
  for (let draw = 0; draw < maxDraws; draw++) {
    const random = Random.of(seed, "household", split, type, index, draw);
    const room = random.pick(taskShapes[type].rooms);
    const receptacles = drawLayout(random, room, type, difficulty);
    if (splitOfLayout(room, receptacles) !== split) continue;
    const doors = random.uniform() < difficulty.doors;
    const setting = setTask(random, { room, receptacles, type, doors, itemCounts: difficulty.items });
    if (!setting) continue;
    return { id: householdTaskId(request), split, ...setting, text: gameText(setting) };
  }
  throw noHouse(type, difficulty);
}

/**
 * Draws another game in the room and among the receptacles of a training game of the same task type: the items, where they lie
 * and what is asked for are new, or at least not all as in that game.
 * @throws ConfigError when no training game has the task type, or its house can serve no other game
 */
export function generateSeenHouseGame(request: SeenHouseRequest): HouseholdGame {
  const { seed, index, type, difficulty, trained } = request;
  const split = "seen_houses";
  const sources = Array.from({ length: trained.count }, (_, at) => at).filter(
    (at) => trained.types[at % trained.types.length] === type,
  );
  if (sources.length === 0) throw noHouse(type, difficulty);
  const source = Random.of(seed, "household", split, type, index).pick(sources);
  const known = generateHouseholdGame({ seed, split: "train", index: source, type, difficulty });
  const { room, receptacles } = known.house;
  for (let draw = 0; draw < maxDraws; draw++) {
    const random = Random.of(seed, "household", split, type, index, draw);
    const doors = random.uniform() < difficulty.doors;
    const setting = setTask(random, { room, receptacles, type, doors, itemCounts: difficulty.items });
    if (!setting || settingText(setting) === settingText(known)) continue;
    return { id: householdTaskId({ split, index, type }), split, ...setting, text: gameText(setting) };
  }
  throw noHouse(type, difficulty);
}

function settingText({ house, task }: Setting): string {
  return `${houseText(house)}: ${sentenceOf(task)}`;
}

function noHouse(type: HouseholdTaskType, difficulty: Difficulty): ConfigError {
  return new ConfigError(
    `[household] no house serves the task type: got ${type} with ${JSON.stringify(difficulty)}, expected a room large enough. Raise receptacles or doors of the difficulty.`,
  );
}

function drawLayout(random: Random, room: RoomKind, type: HouseholdTaskType, difficulty: Difficulty) {
  const { treatment } = taskShapes[type];
  const required = Object.keys(rooms[room].receptacles).filter(
    (kind) => treatment !== undefined && receptacleKinds[kind].appliance === treatment,
  );
  return drawReceptacles(random, room, required, integerBetween(random, difficulty.receptacles));
}

interface Layout {
  readonly room: RoomKind;
  readonly receptacles: readonly Thing[];
  readonly type: HouseholdTaskType;
  /** Whether items may lie behind doors or be wanted there. */
  readonly doors: boolean;
  readonly itemCounts: readonly [number, number];
}

interface Setting {
  readonly house: House;
  readonly task: HouseholdTask;
}

/** Chooses the wanted items and the target, then fills the house; undefined when the layout cannot serve the task. */
function setTask(random: Random, layout: Layout): Setting | undefined {
  const { room, receptacles, type } = layout;
  const shape = taskShapes[type];
  const reachable = receptacles.filter((receptacle) => layout.doors || !hasDoor(receptacle.kind));
  const kind = random.pick(rooms[room].items.filter((name) => canUndergo(name, shape)));
  const homes = reachable.filter((receptacle) => fits(kind, receptacle.kind));
  const target = shape.light ? undefined : pickTarget(random, homes, shape);
  // items of the wanted kind never start in a receptacle of the target's kind: the game would begin solved
  const sources = homes.filter((receptacle) => receptacle.kind !== target?.kind);
  if (sources.length === 0 || (!shape.light && target === undefined)) return undefined;
  const lampPlaces = receptacles.filter((receptacle) => fits("lamp", receptacle.kind));
  if (shape.light && lampPlaces.length === 0) return undefined;
  const lamp: PlacedItem | undefined = shape.light
    ? { kind: "lamp", number: 1, place: random.pick(lampPlaces) }
    : undefined;
  const wanted = numbered(Array<string>(shape.count).fill(kind)).map((thing) => ({
    ...thing,
    place: random.pick(sources),
  }));
  const others = distractors(
    random,
    layout,
    kind,
    reachable,
    integerBetween(random, layout.itemCounts) - shape.count,
  );
  const house = { room, receptacles, items: [...wanted, ...others, ...(lamp ? [lamp] : [])] };
  const appliances = receptacles.filter(
    ({ kind: name }) => receptacleKinds[name].appliance === shape.treatment,
  );
  const appliance = shape.treatment ? random.pick(appliances) : undefined;
  return { house, task: { type, wanted, target, appliance, lamp } };
}

function canUndergo(itemKind: string, shape: TaskShape): boolean {
  return shape.treatment === undefined || itemKinds[itemKind].treatments.includes(shape.treatment);
}

/** A receptacle to bring things to; never the appliance that treats them, where nothing would be left to do. */
function pickTarget(random: Random, homes: readonly Thing[], shape: TaskShape): Thing | undefined {
  const targets = homes.filter(
    ({ kind }) => shape.treatment === undefined || receptacleKinds[kind].appliance !== shape.treatment,
  );
  return targets.length === 0 ? undefined : random.pick(targets);
}

/** Items of other kinds, at most two of a kind, each where it fits. */
function distractors(
  random: Random,
  layout: Layout,
  wantedKind: string,
  reachable: readonly Thing[],
  count: number,
): readonly PlacedItem[] {
  const places = (kind: string) => reachable.filter((receptacle) => fits(kind, receptacle.kind));
  const kinds = rooms[layout.room].items.filter((kind) => kind !== wantedKind && places(kind).length > 0);
  const drawn = random.shuffle([...kinds, ...kinds]).slice(0, count);
  return numbered(drawn).map((thing) => ({ ...thing, place: random.pick(places(thing.kind)) }));
}

function gameText({ house, task }: Setting): string {
  return JSON.stringify({
    pddl_domain: householdDomain,
    grammar: householdGrammar(sentenceOf(task)),
    pddl_problem: problemText(house, goalOf(task)),
    solvable: true,
    walkthrough: walkthroughOf(task),
  });
}
