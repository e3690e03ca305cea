/** The generated household games: playable, solvable, disjoint by split, the same every time, and short of words. */
import { describe, expect, test } from "vitest";
import { ArgumentError, ConfigError } from "../../src/core/errors.js";
import { Random } from "../../src/core/random.js";
import { TASK_TYPES } from "../../src/env/alfworld/game.js";
import { generateHouseholdGame, generateSeenHouseGame } from "../../src/env/household/generate.js";
import {
  type Difficulty,
  difficulties,
  gameSplits,
  type House,
  type HouseholdSplit,
  householdSplits,
  houseText,
  nameOf,
} from "../../src/env/household/house.js";
import { type HouseholdTask, sentenceOf } from "../../src/env/household/tasks.js";
import { householdWorld } from "../../src/env/household/world.js";

/** What a word-level tokenizer would see: words, numbers, punctuation marks. */
function wordsOf(text: string): string[] {
  return text.match(/[A-Za-z]+|\d+|[^\sA-Za-z\d]/g) ?? [];
}

const world = householdWorld({
  seed: 7,
  sizes: { train: 96, seen_houses: 32, in_domain: 32, out_of_domain: 32 },
});

function draw(split: HouseholdSplit, index: number, difficulty: Difficulty = difficulties.normal) {
  const type = TASK_TYPES[index % TASK_TYPES.length];
  return generateHouseholdGame({ seed: 7, split, index, type, difficulty });
}

test("an environment tells the task, and what is carried without an action for it", async () => {
  const environment = world.create();
  for (const { id } of world.tasks("train").slice(0, 8)) {
    const { obs, task, info } = await environment.reset({ options: { taskId: id } });
    expect(obs.endsWith(`Your task is to: ${task}`)).toBe(true);
    expect(info.inventory).toBe("You hold nothing.");
    for (const command of world.game(id).walkthrough ?? []) {
      const { info: told } = await environment.step(command);
      const state = environment.snapshot();
      const asked = await environment.step("inventory");
      expect(told.inventory).toBe(asked.obs);
      environment.restore(state);
      if (command.startsWith("take ")) expect(told.inventory).toMatch(/^You hold .* \d+\.$/);
    }
  }
});

describe.each(gameSplits)("games of %s", (split) => {
  test("their walkthroughs are admissible and win", async () => {
    const environment = world.create();
    for (const { id } of world.tasks(split)) {
      let { info } = await environment.reset({ options: { taskId: id } });
      expect(info.won, id).toBe(false);
      for (const command of world.game(id).walkthrough ?? []) {
        expect(info.admissibleCommands, id).toContain(command);
        ({ info } = await environment.step(command));
      }
      expect(info.won, id).toBe(true);
    }
  });

  test("the expert wins in as many steps as the walkthrough or fewer", async () => {
    const lengths: number[] = [];
    for (const { id } of world.tasks(split)) {
      const plan = await world.expert(id);
      expect(plan?.length, id).toBeLessThanOrEqual(world.game(id).walkthrough?.length ?? 0);
      lengths.push(plan?.length ?? 0);
    }
    const mean = lengths.reduce((sum, length) => sum + length, 0) / lengths.length;
    expect(mean).toBeGreaterThan(4);
    expect(mean).toBeLessThan(8);
  });
});

test("default splits have the stated sizes and task types", () => {
  const standard = householdWorld();
  expect(standard.splits).toEqual(["train", "in_domain", "out_of_domain"]);
  expect(standard.splits.map((split) => standard.tasks(split).length)).toEqual([256, 64, 64]);
  const types = (split: string) => new Set(standard.tasks(split).map(({ type }) => type));
  expect([...types("train")]).toEqual([
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
  ]);
  expect(types("in_domain")).toEqual(types("train"));
  expect([...types("out_of_domain")]).toEqual(["pick_cool_then_place_in_recep", "pick_two_obj_and_place"]);
});

test("splits share no set of receptacles, and games within a split differ", () => {
  const layouts = new Map<string, string>();
  for (const split of householdSplits) {
    const houses = new Set<string>();
    for (let index = 0; index < 120; index++) {
      const { house, task } = draw(split, index);
      const layout = `${house.room} ${house.receptacles.map(nameOf)}`;
      expect(layouts.get(layout) ?? split).toBe(split);
      layouts.set(layout, split);
      houses.add(`${houseText(house)} ${sentenceOf(task)}`);
    }
    expect(houses.size).toBeGreaterThan(115);
  }
});

test("seen houses are houses of the training games, with other games in them", () => {
  const seen = householdWorld({
    seed: 7,
    sizes: { train: 96, seen_houses: 64, in_domain: 8, out_of_domain: 8 },
  });
  expect(seen.splits).toEqual(["train", "seen_houses", "in_domain", "out_of_domain"]);
  const trained = { count: 96, types: TASK_TYPES };
  const known = Array.from({ length: 96 }, (_, index) => draw("train", index));
  const rooms = ({ house }: { house: House }) => `${house.room} ${house.receptacles.map(nameOf)}`;
  const texts = ({ house, task }: { house: House; task: HouseholdTask }) =>
    `${houseText(house)} ${sentenceOf(task)}`;
  const knownTexts = new Set(known.map(texts));
  const games = Array.from({ length: 120 }, (_, index) =>
    generateSeenHouseGame({
      seed: 7,
      index,
      type: TASK_TYPES[index % 6],
      difficulty: difficulties.normal,
      trained,
    }),
  );
  for (const game of games) {
    const houses = known.filter(({ task }) => task.type === game.task.type).map(rooms);
    expect(houses).toContain(rooms(game));
  }
  // a house with few things may draw a game of another training game with the same receptacles again
  expect(games.filter((game) => knownTexts.has(texts(game))).length).toBeLessThan(3);
  expect(new Set(games.map(rooms)).size).toBeGreaterThan(40);
  expect(() =>
    householdWorld({ sizes: { seen_houses: 4 }, taskTypes: { seen_houses: ["pick_two_obj_and_place"] } }),
  ).toThrow(/seen_houses has a task type that train has not: got pick_two_obj_and_place/);
});

test("a game depends on its request alone, and another seed gives other games", () => {
  const again = householdWorld({ seed: 7, sizes: { train: 1 } });
  expect(again.game(again.tasks("train")[0].id).problem).toEqual(
    world.game(world.tasks("train")[0].id).problem,
  );
  expect(draw("in_domain", 5).text).toBe(draw("in_domain", 5).text);
  const other = generateHouseholdGame({
    seed: 8,
    split: "in_domain",
    index: 5,
    type: TASK_TYPES[5],
    difficulty: difficulties.normal,
  });
  expect(other.text).not.toBe(draw("in_domain", 5).text);
});

test("states have one key each, and restored states their own", () => {
  const world = householdWorld({ seed: 5, difficulty: "easy", sizes: { train: 1 } });
  const game = world.game(world.tasks("train")[0].id);
  const random = Random.of(0, "keys");
  const play = game.start();
  const keys = new Map<string, string>();
  for (let step = 0; step < 1500; step++) {
    const truths = play.snapshot().map((_, atom) => Number(play.isTrue(atom)));
    const known = keys.get(truths.join(""));
    if (known !== undefined) expect(play.stateKey).toBe(known);
    keys.set(truths.join(""), play.stateKey);
    expect(game.start(play.snapshot()).stateKey).toBe(play.stateKey);
    play.step(random.pick(play.admissibleCommands));
  }
  expect(keys.size).toBeGreaterThan(100);
  expect(new Set(keys.values()).size).toBe(keys.size);
});

test("sample texts have every word of every split, and fewer than 120 words in all", async () => {
  const known = new Set(world.sampleTexts().flatMap(wordsOf));
  expect(known.size).toBeLessThan(120);
  const games = [
    world,
    householdWorld({ seed: 3, difficulty: "hard", sizes: { train: 16, in_domain: 4, out_of_domain: 8 } }),
  ];
  const unknown = new Set<string>();
  for (const each of games) {
    expect(each.sampleTexts()).toEqual(world.sampleTexts());
    const environment = each.create();
    for (const { id } of each.splits.flatMap((split) => each.tasks(split))) {
      let { obs, info } = await environment.reset({ options: { taskId: id } });
      const texts = [obs];
      for (const command of (await each.expert(id)) ?? []) {
        texts.push(...info.admissibleCommands);
        for (const idle of info.admissibleCommands.filter((text) => /^(look|inventory|examine)/.test(text))) {
          texts.push((await environment.step(idle)).obs);
        }
        ({ obs, info } = await environment.step(command));
        texts.push(obs);
      }
      for (const word of texts.flatMap(wordsOf)) if (!known.has(word)) unknown.add(word);
    }
  }
  expect([...unknown]).toEqual([]);
});

test("texts are short: half of the first ones below 50 words and marks, half of the answers below 15", async () => {
  const environment = world.create();
  const first: number[] = [];
  const answers: number[] = [];
  for (const { id } of world.tasks("train")) {
    first.push(wordsOf((await environment.reset({ options: { taskId: id } })).obs).length);
    for (const command of (await world.expert(id)) ?? []) {
      answers.push(wordsOf((await environment.step(command)).obs).length);
    }
  }
  const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1];
  expect(median(first)).toBeLessThan(50);
  expect(median(answers)).toBeLessThan(15);
});

test.each(Object.keys(difficulties) as (keyof typeof difficulties)[])(
  "%s houses have the stated sizes",
  (name) => {
    const { receptacles, items, doors } = difficulties[name];
    for (let index = 0; index < 60; index++) {
      const { house, task } = draw("train", index, difficulties[name]);
      const movable = house.items.filter(({ kind }) => kind !== "lamp").length;
      expect(house.receptacles.length).toBeGreaterThanOrEqual(receptacles[0]);
      expect(house.receptacles.length).toBeLessThanOrEqual(receptacles[1]);
      expect(movable).toBeGreaterThanOrEqual(Math.min(items[0], 3));
      expect(movable).toBeLessThanOrEqual(items[1]);
      if (doors === 0)
        expect(JSON.parse(draw("train", index, difficulties[name]).text).walkthrough.join()).not.toMatch(
          /open/,
        );
      if (task.target) expect(task.wanted.every(({ place }) => place.kind !== task.target?.kind)).toBe(true);
    }
  },
);

test("doors are met when they are asked for", () => {
  const openings = Array.from({ length: 60 }, (_, index) =>
    draw("train", index, { ...difficulties.normal, doors: 1 }),
  )
    .map(({ text }) =>
      (JSON.parse(text).walkthrough as string[]).some((command) => command.startsWith("open ")),
    )
    .filter(Boolean).length;
  expect(openings).toBeGreaterThan(15);
});

test("bad options are refused with the cure", () => {
  const refused = (options: object) => () => householdWorld(options);
  expect(refused({ sizes: { train: -1 } })).toThrow(ConfigError);
  expect(refused({ sizes: { train: 0, in_domain: 0, out_of_domain: 0 } })).toThrow(/no games/);
  expect(refused({ difficulty: "cruel" })).toThrow(/easy, normal, hard/);
  expect(refused({ difficulty: { ...difficulties.easy, receptacles: [2, 9] } })).toThrow(ArgumentError);
  expect(refused({ difficulty: { ...difficulties.easy, doors: 2 } })).toThrow(ArgumentError);
  expect(refused({ taskTypes: { train: ["cook"] } })).toThrow(/got cook/);
});
