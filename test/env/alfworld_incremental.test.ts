/** What a play keeps up to date step by step is what is found by looking at its state from scratch. */
import { expect, test } from "vitest";
import { Random } from "../../src/core/random.js";
import { AlfworldGame, TASK_TYPES } from "../../src/env/alfworld/game.js";
import type { AlfworldPlay } from "../../src/env/alfworld/play.js";
import { generateHouseholdGame } from "../../src/env/household/generate.js";
import { difficulties } from "../../src/env/household/house.js";
import { newerRules, readArchive, withArchive } from "../support/alfworld_archive.js";
import { smallGameText, smallGrammar } from "../support/alfworld_small_game.js";

const household = (index: number) =>
  generateHouseholdGame({
    seed: 9,
    split: "train",
    index,
    type: TASK_TYPES[index],
    difficulty: difficulties.hard,
  }).text;

const parsed = (text: string) => AlfworldGame.parse(text, { file: "game" });

/** Admissible commands by looking at every action of the game. */
function commandsFromScratch(game: AlfworldGame, play: AlfworldPlay): string[] {
  const { actions, objects } = game.model;
  const texts = new Set<string>();
  for (let number = 0; number < actions.count; number++) {
    const { action, args, alternatives } = actions.at(number) ?? expect.fail(`no action ${number}`);
    const applies = alternatives.some(
      ({ positive, negative }) =>
        positive.every((atom) => play.isTrue(atom)) && negative.every((atom) => !play.isTrue(atom)),
    );
    const ids = args.map((object) => objects.ids[object]);
    if (applies) texts.add(game.commandText(action.name, ids));
  }
  return [...texts].sort();
}

const seen = (play: AlfworldPlay) => ({
  commands: play.admissibleCommands,
  won: play.won,
  key: play.stateKey,
  inventory: play.inventory,
});

/** A random walk that prefers doing something to going elsewhere; after each step its state is looked at from scratch. */
function checkWalk(game: AlfworldGame, steps: number): Set<string> {
  const play = game.start();
  const random = Random.of(steps, "walk", game.taskId);
  const verbs = new Set<string>();
  for (let step = 0; step < steps; step++) {
    const own = play.admissibleCommands;
    expect(own).toEqual(commandsFromScratch(game, play));
    const other = game.start(play.snapshot());
    expect(seen(other)).toEqual(seen(play));
    const doing = own.filter((command) => !command.startsWith("go to"));
    const command = random.pick(random.uniform() < 0.6 && doing.length > 0 ? doing : own);
    expect(other.step(command)).toBe(play.step(command));
    expect(seen(other)).toEqual(seen(play));
    verbs.add(command.split(" ")[0]);
  }
  return verbs;
}

test.each([0, 1, 2])("random walks in generated game %i", (index) => {
  const verbs = checkWalk(parsed(household(index)), 60);
  for (const verb of ["go", "open", "take"]) expect(verbs).toContain(verb);
});

test("random walks in a game with every trap of the engine", () => {
  const verbs = checkWalk(parsed(smallGameText()), 120);
  for (const verb of ["go", "open", "close", "take", "drop", "flip"]) expect(verbs).toContain(verb);
});

withArchive.test("random walks in real games of both wordings", () => {
  const games = Random.of(0, "incremental").shuffle(readArchive()).slice(0, 8);
  for (const [index, { path, text }] of games.entries()) {
    checkWalk(AlfworldGame.parse(text(), { file: path, ...(index % 2 === 0 ? newerRules() : {}) }), 25);
  }
});

test("a command that names what it leaves out depends on more than it mentions", () => {
  const grammar = smallGrammar.replace(
    '"drop {o} in {r}"',
    '"drop {o} not in [{q.name | stands(q:receptacle, l:location)}]"',
  );
  const game = parsed(smallGameText({ grammar }));
  const play = game.start();
  for (const command of ["go to shelf 2", "take cup 2 from shelf 2"]) play.step(command);
  const drops = play.admissibleCommands.filter((command) => command.startsWith("drop"));
  expect(drops).toEqual(["drop cup 2 not in shelf 1", "drop cup 2 not in shelf 2"]);
  expect(drops.every((command) => commandsFromScratch(game, play).includes(command))).toBe(true);
  play.step("drop cup 2 not in shelf 1");
  expect(play.step("examine shelf 2")).toContain("cup 2");
});

test("a command whose text depends on the state follows it", () => {
  const grammar = smallGrammar.replace(
    'template :: "bag"',
    'template :: "bag[{o.name | holds(a:agent, o:object)}]"',
  );
  const play = parsed(smallGameText({ grammar })).start();
  expect(play.admissibleCommands).toContain("bagnothing");
  for (const command of ["go to shelf 2", "take cup 2 from shelf 2"]) play.step(command);
  expect(play.admissibleCommands.filter((command) => command.startsWith("bag"))).toEqual(["bagcup 2"]);
  expect(play.step("bagnothing")).toBe("Nothing happens.");
});

test("plays of one game leave nothing to each other", () => {
  const text = household(3);
  const shared = parsed(text);
  const walk = (game: AlfworldGame, seed: number, between: () => void): unknown[] => {
    const play = game.start();
    const random = Random.of(seed, "apart");
    const transcript: unknown[] = [play.intro(), seen(play)];
    for (let step = 0; step < 25; step++) {
      between();
      const command = random.pick(play.admissibleCommands);
      transcript.push(command, play.step(command), seen(play), [...play.facts()]);
    }
    return transcript;
  };
  const other = shared.start();
  const disturbing = Random.of(7, "other");
  const together = [1, 2].map((seed) =>
    walk(shared, seed, () => other.step(disturbing.pick(other.admissibleCommands))),
  );
  expect(together).toEqual([1, 2].map((seed) => walk(parsed(text), seed, () => {})));
});
