/** Expert play for the imitation stage. */
import { expect, test, vi } from "vitest";
import { householdWorld } from "../../src/env/household/world.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { type ExpertOptions, expertRows } from "../../src/rl/loop/imitation.js";
import { PromptBuilder } from "../../src/rl/play/prompt.js";

/** Actions played on a few tasks, and those of them that are to be imitated. */
async function playExperts(options: Partial<ExpertOptions>) {
  const world = householdWorld({ seed: 2, difficulty: "easy", sizes: { train: 4 } });
  const tokenizer = new Tokenizer(buildWordTokenizer((await world.sampleTexts?.()) ?? []));
  const prompts = new PromptBuilder(tokenizer, { format: "message", history: 0, admissible: false });
  const environment = world.create();
  const step = vi.spyOn(environment, "step");
  vi.spyOn(world, "create").mockReturnValue(environment);
  const chosen = { seed: 0, detours: 0, maxSteps: 30, ...options };
  const deps = { world, prompts, endToken: tokenizer.eosTokenId as number };
  const rows = await expertRows(deps, world.tasks("train"), chosen);
  return { played: step.mock.calls.map(([action]) => action), imitated: rows.map(({ action }) => action) };
}

/** What was played and is not to be imitated. */
function detoursOf({ played, imitated }: Awaited<ReturnType<typeof playExperts>>): string[] {
  const rest = [...imitated];
  return played.filter((action) => {
    const isImitated = action === rest[0];
    if (isImitated) rest.shift();
    return !isImitated;
  });
}

test("without detours every action is imitated", async () => {
  const { played, imitated } = await playExperts({});
  expect(played.length).toBeGreaterThan(4);
  expect(imitated).toEqual(played);
});

test("detours are not imitated, and only actions of the pattern are taken", async () => {
  const anything = detoursOf(await playExperts({ detours: 0.5 }));
  expect(anything.filter((action) => !action.startsWith("go to ")).length).toBeGreaterThan(0);
  const journeys = detoursOf(await playExperts({ detours: 0.5, detourPattern: /^go to / }));
  expect(journeys.length).toBeGreaterThan(4);
  expect(journeys.filter((action) => !action.startsWith("go to "))).toEqual([]);
});

test("a pattern that nothing fits leaves the expert on its way", async () => {
  const { played, imitated } = await playExperts({ detours: 1, detourPattern: /^fly / });
  expect(imitated).toEqual(played);
});
