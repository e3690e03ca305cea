/** The expert that knows what it has read. */
import { expect, test } from "vitest";
import { AlfworldGame } from "../../src/env/alfworld/game.js";
import { generateHouseholdGame } from "../../src/env/household/generate.js";
import { difficulties } from "../../src/env/household/house.js";
import { householdWorld } from "../../src/env/household/world.js";
import { planFromStart } from "../../src/env/planner/expert.js";
import { affinityOf, planBySearching } from "../../src/env/planner/searching.js";
import type { ResetResult, StepResult } from "../../src/env/world.js";

function gameOf(index: number, type: "pick_and_place_simple" | "pick_two_obj_and_place") {
  const { id, text } = generateHouseholdGame({
    seed: 4,
    split: "train",
    index,
    type,
    difficulty: difficulties.hard,
  });
  return AlfworldGame.parse(text, { file: id, taskType: type });
}

const placesOf = (intro: string) => intro.match(/[a-z]+ \d+/g) ?? [];

test("what no text has named is looked for by what is likely, not by where it is", () => {
  const game = gameOf(1, "pick_and_place_simple");
  const [go, take] = (planFromStart(game) as string[]).filter((command) => /^(go|take)/.test(command));
  const there = go.slice("go to ".length);
  const play = game.start();
  const intro = play.intro();
  const [first, ...others] = placesOf(intro) as [string, ...string[]];
  expect(there).not.toBe(first);
  const next = (texts: string[], likely: string) =>
    planBySearching(game, play.snapshot(), { texts, commands: [] }, (_, receptacle) =>
      Number(receptacle === likely.replace(/ \d+/, "")),
    );
  // nothing is likelier than anything else: in the order of the text
  expect(next([intro], "nowhere")).toEqual([`go to ${first}`]);
  const other = others.find((place) => place.split(" ")[0] !== first.split(" ")[0]) as string;
  expect(next([intro], other)).toEqual([`go to ${other}`]);
  // it was named: straight to it, and to the end
  const thing = take.match(/^take (\w+ \d+) /)?.[1] as string;
  expect(next([intro, `On ${there}: ${thing}.`], "nowhere")).toEqual(planFromStart(game));
  // a number that begins with the thing's is another thing
  expect(next([intro, `On ${there}: ${thing}0.`], "nowhere")).toEqual([`go to ${first}`]);
});

test("the first of two things is brought before the second is looked for", () => {
  const game = gameOf(5, "pick_two_obj_and_place");
  const play = game.start();
  const texts = [play.intro()];
  const commands: string[] = [];
  while (!play.won && commands.length < 60) {
    const plan = planBySearching(game, play.snapshot(), { texts, commands }, () => 0) as string[];
    for (const command of plan) {
      texts.push(play.step(command));
      commands.push(command);
    }
  }
  expect(play.won).toBe(true);
  const [one, two] = [...commands.keys()].filter((at) => commands[at].startsWith("take "));
  const brought = commands.findIndex((command) => command.startsWith("move "));
  expect(brought).toBeGreaterThan(one);
  expect(brought).toBeLessThan(two);
});

test("affinities count things by kinds of receptacles", () => {
  const games = Array.from({ length: 12 }, (_, index) => gameOf(index, "pick_and_place_simple"));
  const affinity = affinityOf(games);
  let things = 0;
  let receptacles = 0;
  for (const { model, names } of games) {
    const nameOf = (object: number) => names.nameOf(model.objects.ids[object]);
    const inside = [...model.atoms.ofPredicate("inreceptacle")];
    const counters = new Set(inside.map((atom) => nameOf(model.atoms.args[atom][1])));
    receptacles += [...counters].filter((name) => name.startsWith("counter ")).length;
    things += inside.filter((atom) => {
      const [thing, place] = model.atoms.args[atom].map(nameOf);
      return model.initial.has(atom) && thing.startsWith("bowl ") && place.startsWith("counter ");
    }).length;
  }
  expect(things).toBeGreaterThan(0);
  expect(affinity("bowl", "counter")).toBe(things / receptacles);
  expect(affinity("bowl", "moon")).toBe(0);
});

test("every game of every type is won by searching, and nothing left to look at ends in null", () => {
  const world = householdWorld({ seed: 3, difficulty: "normal", sizes: { train: 0, out_of_domain: 24 } });
  const environment = world.create();
  for (const { id } of world.tasks("out_of_domain")) {
    let shown: ResetResult | StepResult = environment.reset({ options: { taskId: id } });
    const texts = [shown.obs];
    const commands: string[] = [];
    for (let plan: readonly string[] | null = []; !shown.info.won && commands.length < 60; ) {
      plan = world.searchingExpert(id, environment.snapshot(), { texts, commands });
      expect(plan, id).not.toBeNull();
      for (const command of plan ?? []) {
        shown = environment.step(command);
        texts.push(shown.obs);
        commands.push(command);
      }
    }
    expect(shown.info.won, id).toBe(true);
    const everywhere = placesOf(texts[0]).map((place) => `go to ${place}`);
    environment.reset({ options: { taskId: id } });
    expect(
      world.searchingExpert(id, environment.snapshot(), { texts: [texts[0]], commands: everywhere }),
    ).toBeNull();
  }
});
