/** Evaluation numbers on episodes small enough to count by hand. */
import { expect, test } from "vitest";
import { type EvaluatedEpisode, summariseByType, summariseEpisodes } from "../../src/rl/play/evaluation.js";

/** Rows from `observation>action` texts; `!` in front marks an invalid action. */
function episode(taskType: string, won: boolean, ...steps: string[]): EvaluatedEpisode {
  const rows = steps.map((step) => {
    const [observation, action] = step.replace("!", "").split(">");
    return { observation, action, valid: !step.startsWith("!") };
  });
  return { taskType, won, truncated: !won, rows };
}

const episodes = [
  episode("pick", true, "a>go", "b>take", "c>put"),
  // look in a: new; look in b: elsewhere; look in a again: repeated; take is invalid twice under one observation
  episode("look", false, "a>look", "b>look", "a>look", "!n>take", "!n>take"),
];

test("rates over episodes and over steps", () => {
  expect(summariseEpisodes(episodes)).toMatchObject({
    episodes: 2,
    success: 0.5,
    mean_length: 4,
    median_length: 4,
    success_mean_length: 3,
    truncated_rate: 0.5,
    invalid_action_rate: 2 / 8,
    repeated_action_rate: 2 / 8,
    repeated_action_in_state_rate: null,
    repeated_action_anywhere_rate: 3 / 8,
  });
});

test("states, where they are told, decide what is in vain", () => {
  const keyed = episodes.map((one) => ({
    ...one,
    rows: one.rows.map((row, index) => ({ ...row, stateKey: row.observation === "a" ? "s" : String(index) })),
  }));
  expect(summariseEpisodes(keyed).repeated_action_in_state_rate).toBe(1 / 8);
});

test("repeats do not cross episodes, and texts do not run into each other", () => {
  const twice = [episode("t", false, "a>go"), episode("t", false, "a>go")];
  expect(summariseEpisodes(twice).repeated_action_rate).toBe(0);
  expect(summariseEpisodes([episode("t", false, "ab>c", "a>bc")]).repeated_action_rate).toBe(0);
});

test("each task type alone; no episodes at all", () => {
  const byType = summariseByType(episodes);
  expect([...byType.keys()]).toEqual(["look", "pick"]);
  expect(byType.get("pick")).toMatchObject({ episodes: 1, success: 1, truncated_rate: 0, success_high: 1 });
  expect(summariseEpisodes([])).toMatchObject({
    episodes: 0,
    success: 0,
    success_low: 0,
    success_high: 1,
    mean_length: 0,
    success_mean_length: null,
    repeated_action_rate: 0,
  });
});
