/** Rollouts with a policy that says what it is told: what the rows carry from the world. */
import { expect, test } from "vitest";
import { householdWorld } from "../../src/env/household/world.js";
import type { World } from "../../src/env/world.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import type { Episode } from "../../src/rl/play/episode.js";
import { summariseEpisodes } from "../../src/rl/play/evaluation.js";
import { PromptBuilder } from "../../src/rl/play/prompt.js";
import { RolloutWorker } from "../../src/rl/play/rollout.js";
import { colourWorld } from "../support/colour_world.js";

/** Episodes of one task, from one start, that play one script of commands each. */
async function playScripts(world: World, taskId: string, scripts: readonly string[][]): Promise<Episode[]> {
  const tokenizer = new Tokenizer(buildWordTokenizer((await world.sampleTexts?.()) ?? []));
  const endToken = tokenizer.eosTokenId as number;
  const prompts = new PromptBuilder(tokenizer, { format: "message", history: 0, admissible: false });
  let step = 0;
  const sampler = {
    generate: async () => {
      const at = step++;
      return scripts.map((script) => {
        const tokens = [...tokenizer.encode(script[at]), endToken];
        return { tokens, logProbs: tokens.map(() => 0), finished: true };
      });
    },
  };
  const worker = new RolloutWorker(world, prompts, sampler, endToken);
  const requests = scripts.map((_, episode) => ({ taskId, taskType: "any", group: 0, episode }));
  return worker.play(requests, {
    maxSteps: scripts[0].length,
    sampling: { temperature: 1, topP: 1, maxNewTokens: 8 },
    seed: 0,
    label: "test",
  });
}

test("rows carry the state before the action, so vain repeats are told from harmless ones", async () => {
  const world = householdWorld({ seed: 2, difficulty: "easy", sizes: { train: 1 } });
  const { id } = world.tasks("train")[0];
  const places = world
    .game(id)
    .start()
    .admissibleCommands.filter((command) => command.startsWith("go to "));
  const [there, elsewhere] = places;
  const [refused, roundabout] = await playScripts(world, id, [
    ["take take", "take take", "take take", there, there],
    [there, elsewhere, there, elsewhere, "take take"],
  ]);
  const keysOf = ({ rows }: Episode) => rows.map(({ stateKey }) => stateKey);
  const [start, , , , arrived] = keysOf(refused);
  expect(start).toMatch(/^[0-9a-f]{16}$/);
  expect(keysOf(refused)).toEqual([start, start, start, start, arrived]);
  const [, , other] = keysOf(roundabout);
  expect(keysOf(roundabout)).toEqual([start, arrived, other, arrived, other]);
  expect(new Set([start, arrived, other]).size).toBe(3);
  // the first refusal is read under the opening text, the others under "Nothing happens."
  expect(summariseEpisodes([refused])).toMatchObject({
    repeated_action_rate: 1 / 5,
    repeated_action_in_state_rate: 2 / 5,
    repeated_action_anywhere_rate: 3 / 5,
  });
  expect(summariseEpisodes([roundabout]).repeated_action_in_state_rate).toBe(1 / 5);
});

test("a world that does not tell its states gives no rate over them", async () => {
  const episodes = await playScripts(colourWorld(), "red", [["blue"], ["red"]]);
  expect(episodes.map(({ ended }) => ended)).toEqual(["lost", "won"]);
  expect(episodes.flatMap(({ rows }) => rows.map(({ stateKey }) => stateKey))).toEqual([
    undefined,
    undefined,
  ]);
  expect(summariseEpisodes(episodes).repeated_action_in_state_rate).toBeNull();
});
