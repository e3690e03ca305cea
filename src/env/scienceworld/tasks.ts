/** The simulator's 30 tasks, in its own order, and how many variations each has. */
import { closest } from "fastest-levenshtein";
import { ConfigError } from "../../core/errors.js";

/** A task; with a variation it is one game. */
export interface ScienceTask {
  /** As the simulator loads it. */
  readonly name: string;
  /** Topic and number as the paper gives them. */
  readonly number: string;
  readonly topic: string;
  readonly variations: number;
}

const TABLE: readonly (readonly [string, string, string, number])[] = [
  ["boil", "1-1", "Matter", 30],
  ["change-the-state-of-matter-of", "1-4", "Matter", 30],
  ["chemistry-mix", "6-1", "Chemistry", 32],
  ["chemistry-mix-paint-secondary-color", "6-2", "Chemistry", 36],
  ["chemistry-mix-paint-tertiary-color", "6-3", "Chemistry", 36],
  ["find-animal", "4-4", "Classification", 300],
  ["find-living-thing", "4-1", "Classification", 300],
  ["find-non-living-thing", "4-2", "Classification", 300],
  ["find-plant", "4-3", "Classification", 300],
  ["freeze", "1-3", "Matter", 30],
  ["grow-fruit", "5-2", "Biology", 126],
  ["grow-plant", "5-1", "Biology", 126],
  ["identify-life-stages-1", "8-1", "Biology", 14],
  ["identify-life-stages-2", "8-2", "Biology", 10],
  ["inclined-plane-determine-angle", "9-1", "Forces", 168],
  ["inclined-plane-friction-named-surfaces", "9-2", "Forces", 1386],
  ["inclined-plane-friction-unnamed-surfaces", "9-3", "Forces", 162],
  ["lifespan-longest-lived", "7-1", "Biology", 125],
  ["lifespan-longest-lived-then-shortest-lived", "7-3", "Biology", 125],
  ["lifespan-shortest-lived", "7-2", "Biology", 125],
  ["measure-melting-point-known-substance", "2-2", "Measurement", 436],
  ["measure-melting-point-unknown-substance", "2-3", "Measurement", 300],
  ["melt", "1-2", "Matter", 30],
  ["mendelian-genetics-known-plant", "10-1", "Biology", 120],
  ["mendelian-genetics-unknown-plant", "10-2", "Biology", 480],
  ["power-component", "3-1", "Electricity", 20],
  ["power-component-renewable-vs-nonrenewable-energy", "3-2", "Electricity", 20],
  ["test-conductivity", "3-3", "Electricity", 900],
  ["test-conductivity-of-unknown-substances", "3-4", "Electricity", 600],
  ["use-thermometer", "2-1", "Measurement", 540],
];

/** In alphabetical order, which is that of the simulator and of task indices in papers. */
export const SCIENCE_TASKS: readonly ScienceTask[] = TABLE.map(([name, number, topic, variations]) => ({
  name,
  number,
  topic,
  variations,
}));

const BY_NAME = new Map(SCIENCE_TASKS.map((task) => [task.name, task]));

/** @throws ConfigError when there is no such task */
export function scienceTask(name: string): ScienceTask {
  const task = BY_NAME.get(name);
  if (task !== undefined) return task;
  throw new ConfigError(
    `[scienceworld] unknown task: got \`${name}\`, expected one of ${SCIENCE_TASKS.length} names such as \
\`${closest(name, [...BY_NAME.keys()])}\`. Choose one of them.`,
  );
}

/** Whether a task cannot be solved without connecting wires. */
export function isElectrical(name: string): boolean {
  return name.includes("power-component") || name.includes("conductivity");
}

/** A game: a task in one of its variations. */
export interface ScienceGame {
  readonly task: string;
  /** From 0. */
  readonly variation: number;
}

/** `boil/3` */
export function gameId({ task, variation }: ScienceGame): string {
  return `${task}/${variation}`;
}

/** The game of an id. @throws ConfigError when there is none */
export function readGameId(id: string): ScienceGame {
  const [, name, number] = /^(.+)\/(\d+)$/.exec(id) ?? [];
  if (name === undefined) {
    throw new ConfigError(
      `[scienceworld] malformed task id: got \`${id}\`, expected \`task/variation\` such as \`boil/3\`. Correct it.`,
    );
  }
  const { variations } = scienceTask(name);
  const variation = Number(number);
  if (variation < variations) return { task: name, variation };
  throw new ConfigError(
    `[scienceworld] no such variation of ${name}: got ${number}, expected 0 to ${variations - 1}. Correct it.`,
  );
}
