/** Evaluation numbers on episodes small enough to count by hand. */
import { expect, test } from "vitest";
import {
  type EvaluatedEpisode,
  passAtK,
  summariseByType,
  summariseEpisodes,
  summariseSamples,
} from "../../src/rl/play/evaluation.js";

/** Rows from `observation>action` texts; `!` in front marks an invalid action. */
function episode(taskType: string, won: boolean, ...steps: string[]): EvaluatedEpisode {
  const rows = steps.map((step) => {
    const [observation, action] = step.replace("!", "").split(">");
    return { observation, action, valid: !step.startsWith("!") };
  });
  return { taskType, ended: won ? "won" : "truncated", rows };
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

test("states that are told in part only are not counted by", () => {
  const [first, ...rest] = episodes[1].rows;
  const some = [{ ...episodes[1], rows: [{ ...first, stateKey: "s" }, ...rest] }];
  expect(summariseEpisodes(some).repeated_action_in_state_rate).toBeNull();
  expect(summariseEpisodes([]).repeated_action_in_state_rate).toBeNull();
});

test("more wins than misses: every draw of that many holds one", () => {
  expect(passAtK(5, 3, 3)).toBe(1);
  expect(passAtK(5, 2, 3)).toBeCloseTo(0.9, 12);
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

test("episodes count by how they ended; those of a world that failed count nowhere else", () => {
  const ends = ["won", "lost", "lost", "truncated", "failed"] as const;
  const all = ends.map((ended) => ({ ...episode("t", false, "a>go", "a>go"), ended }));
  expect(summariseEpisodes(all)).toMatchObject({
    episodes: 4,
    success: 1 / 4,
    lost_rate: 2 / 4,
    truncated_rate: 1 / 4,
    failed_rate: 1 / 5,
    repeated_action_rate: 1 / 2,
  });
});

test("pass@k is the share of draws of k episodes that hold a win", () => {
  /** All draws of k places out of n, the first c of which are wins. */
  const counted = (n: number, c: number, k: number) => {
    let hits = 0;
    let draws = 0;
    for (let bits = 0; bits < 2 ** n; bits++) {
      const places = [...Array(n).keys()].filter((place) => (bits >> place) & 1);
      if (places.length !== k) continue;
      draws++;
      if (places.some((place) => place < c)) hits++;
    }
    return hits / draws;
  };
  for (let n = 1; n <= 6; n++)
    for (let c = 0; c <= n; c++)
      for (let k = 1; k <= n; k++) expect(passAtK(n, c, k)).toBeCloseTo(counted(n, c, k), 12);
});

test("several episodes a task: pass@k, avg@k, and an interval over tasks", () => {
  const wins = { a: 3, b: 0, c: 1 };
  const all = Object.entries(wins).flatMap(([taskId, count]) =>
    Array.from({ length: 3 }, (_, i) => ({ ...episode("t", i < count, "x>go"), taskId })),
  );
  const numbers = summariseSamples(all, 3);
  expect(Object.keys(numbers)).toEqual(["avg@3", "pass@2", "pass@3"]);
  expect(numbers["avg@3"]).toBeCloseTo(4 / 9, 12);
  expect(numbers["pass@2"]).toBeCloseTo((1 + 0 + 2 / 3) / 3, 12);
  expect(numbers["pass@3"]).toBeCloseTo(2 / 3, 12);
  expect(summariseSamples(all, 1)).toEqual({});
  const [byTask, byEpisode] = [summariseEpisodes(all, 3), summariseEpisodes(all)];
  expect(byTask.success).toBeCloseTo(byEpisode.success, 12);
  expect(byTask.success_high - byTask.success_low).toBeGreaterThan(
    byEpisode.success_high - byEpisode.success_low,
  );
  // one whose world failed is no loss: its task cannot be judged
  const broken = all.map((one, index) => (index === 8 ? { ...one, ended: "failed" as const } : one));
  expect(summariseSamples(broken, 3)["pass@3"]).toBeCloseTo(1 / 2, 12);
});
