/** Expert episodes in a world that is known by heart: what the expert is asked, how its steps are named, and what is refused. */
import { expect, test } from "vitest";
import type { World } from "../../src/env/world.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { expertTag } from "../../src/rl/loop/expert_tags.js";
import { type ExpertOptions, expertRows } from "../../src/rl/loop/imitation.js";
import { PromptBuilder } from "../../src/rl/play/prompt.js";
import { CORRIDOR_COMMANDS, CorridorWorld } from "../support/corridor_world.js";

const world = new CorridorWorld();
const tokenizer = new Tokenizer(buildWordTokenizer(world.sampleTexts()));
const prompts = new PromptBuilder(tokenizer, { format: "message", history: 0, admissible: false });

/** The corridor with some experts. */
const corridor = (experts: Partial<World>): World => ({
  ...{
    id: "corridor",
    splits: ["train"],
    tasks: (split) => world.tasks(split),
    create: () => world.create(),
  },
  ...experts,
});

const play = (of: World, options: Partial<ExpertOptions> = {}) =>
  expertRows({ world: of, prompts, endToken: 0 }, of.tasks("train").slice(0, 1), {
    ...{ seed: 0, detours: 0, maxSteps: 9 },
    ...options,
  });

test("an expert that searches is asked again with all that was read and done, until it has won", async () => {
  const asked: unknown[] = [];
  const plans = [["right", "shout"], ["left"], ["win"]];
  const searching = corridor({
    expert: () => [],
    searchingExpert: (taskId, _, { texts, commands }) => {
      asked.push([taskId, [...texts], [...commands]]);
      return plans[asked.length - 1];
    },
  });
  const rows = await play(searching, { isSearching: true });
  const at = (place: number) => expect.stringContaining(`You are at ${place}`);
  expect(rows.map(({ action }) => action)).toEqual(["right", "shout", "left", "win"]);
  expect(asked).toEqual([
    ["one", [at(0)], []],
    ["one", [at(0), at(1), at(1)], ["right", "shout"]],
    ["one", [at(0), at(1), at(1), at(0)], ["right", "shout", "left"]],
  ]);
  expect(rows.map(({ episode, step, taskId, taskType }) => [episode, step, taskId, taskType])).toEqual(
    rows.map((_, step) => [0, step, "one", "odd"]),
  );
});

test("an episode ends with the plan or with the limit of steps", async () => {
  const patient = corridor({ expert: () => ["right", "right", "right", "win"] });
  expect((await play(patient)).map(({ action }) => action)).toEqual(["right", "right", "right", "win"]);
  expect(await play(patient, { maxSteps: 2 })).toHaveLength(2);
});

test.each<[string, World, Partial<ExpertOptions>, string]>([
  ["no expert", corridor({}), {}, "[imitation] world corridor has no expert: expected one for imitation."],
  [
    "none that searches",
    corridor({ expert: () => ["win"] }),
    { isSearching: true },
    "[imitation] world corridor has no expert that searches: got imitation.expert searching",
  ],
  [
    "no snapshots",
    corridor({ expert: () => ["win"] }),
    { detours: 0.5 },
    "[imitation] world corridor takes no snapshots: got detours 0.5, expected 0",
  ],
  [
    "no way",
    corridor({ expert: () => null }),
    {},
    "[imitation] the expert solved none of 1 tasks: expected at least one.",
  ],
])("%s is refused, and what was opened is closed", async (_, of, options, message) => {
  await expect(play(of, options)).rejects.toThrow(message);
  expect(world.opened).toBe(world.closed);
});

test("steps by their place: plans at the start, reflects after a detour, explores where something is new, else watches", () => {
  const tag = (step: number, action: string, before: string[] = [], isAfterDetour = false) =>
    expertTag({ step, action, before, isAfterDetour });
  expect(tag(0, "go to shelf 1")).toBe("planning");
  expect(tag(0, "take mug 1", [], true)).toBe("planning");
  expect(tag(1, "go to shelf 1", [], true)).toBe("reflection");
  for (const verb of ["go to shelf 1", "open drawer 1", "look", "examine desk 1"]) {
    expect(tag(1, verb)).toBe("explore");
    expect(tag(2, verb, ["wait", verb])).toBe("monitor");
    expect(tag(1, `do not ${verb}`)).toBe("monitor");
  }
  expect(tag(1, "take mug 1")).toBe("monitor");
  expect(tag(1, "goat")).toBe("monitor");
  expect(CORRIDOR_COMMANDS.map((command) => tag(1, command))).toEqual(CORRIDOR_COMMANDS.map(() => "monitor"));
});
