/** Worlds that say more than fits: the past is shortened first, then the episode ends; a limit that nothing fits is an error. */
import { describe, expect, test } from "vitest";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import type { Episode } from "../../src/rl/play/episode.js";
import { PromptBuilder } from "../../src/rl/play/prompt.js";
import type { PromptOptions } from "../../src/rl/play/prompt_state.js";
import { RolloutWorker } from "../../src/rl/play/rollout.js";
import { CorridorWorld, type Trouble } from "../support/corridor_world.js";

const STEPS = 6;
const ANSWER = 4;
const tokenizer = new Tokenizer(buildWordTokenizer(new CorridorWorld().sampleTexts()));
const endToken = tokenizer.eosTokenId as number;
const words = (count: number) => " you".repeat(count);

/** Two tasks, an episode of each, played by one who goes right until the end. */
async function play(trouble: Trouble, options: Partial<PromptOptions>, model = Number.POSITIVE_INFINITY) {
  const prompts = new PromptBuilder(tokenizer, { format: "plain", history: 3, admissible: true, ...options });
  const tokens = [...tokenizer.encode("right"), endToken];
  const sampler = {
    maxTokens: model,
    generate: async (requests: readonly unknown[]) =>
      requests.map(() => ({ tokens, logProbs: tokens.map(() => 0), finished: true })),
  };
  const worker = new RolloutWorker(new CorridorWorld(trouble), prompts, sampler, endToken);
  return worker.play(
    ["one", "two"].map((taskId, group) => ({ taskId, taskType: "any", group, episode: group })),
    { maxSteps: STEPS, sampling: { temperature: 1, maxNewTokens: ANSWER }, seed: 0, label: "test" },
  );
}

const lengthOf = ({ rows }: Episode) => rows.map(({ prompt }) => prompt.length);
const mostOf = (episodes: readonly Episode[]) => Math.max(...episodes.flatMap(lengthOf));
const endsOf = (episodes: readonly Episode[]) =>
  episodes.map(({ ended, rows, isTooLong = false }) => [ended, rows.length, isTooLong]);

describe.each(["step", "episode"] as const)("context %s", (context) => {
  const past = context === "episode";
  const only = (task: string, at: number) => (one: string, step: number) => one === task && step === at;

  test("one observation that does not fit ends its episode, and no other", async () => {
    const usual = await play({}, { context });
    const limit = mostOf(usual);
    const huge = only("two", 3);
    const played = await play(
      { said: (task, step) => (huge(task, step) ? words(5 * limit) : "") },
      { context, max_tokens: limit },
    );
    expect(endsOf(played)).toEqual([
      ["truncated", STEPS, false],
      ["truncated", 3, true],
    ]);
    expect(lengthOf(played[0])).toEqual(lengthOf(usual[0]));
  });

  test("an observation that fits by itself costs the past that stands before it", async () => {
    const usual = await play({}, { context });
    const limit = mostOf(usual) + 10;
    const room = limit - lengthOf(usual[0])[0] - 12;
    const long = only("two", 3);
    const played = await play(
      { said: (task, step) => (long(task, step) ? words(room) : "") },
      { context, max_tokens: limit },
    );
    expect(mostOf(played)).toBeLessThanOrEqual(limit);
    // an episode as one text cannot leave anything out
    expect(endsOf(played)[1]).toEqual(past ? ["truncated", 3, true] : ["truncated", STEPS, false]);
    expect(played[0].rows.some(({ shortened }) => shortened)).toBe(false);
    if (!past) expect(played[1].rows.map(({ shortened }) => shortened)[3]).toBe(true);
  });

  test("a list of commands is never cut", async () => {
    const usual = await play({}, { context });
    const listed = Array.from({ length: 30 }, () => "shout you");
    const commands: Trouble["commands"] = (task, step) => (task === "two" && step >= 2 ? listed : []);
    const shows = ({ rows }: Episode) =>
      rows.map(
        ({ text }) => text.blocks.filter(({ name }) => name === "admissible").at(-1)?.text.length ?? 0,
      );
    const roomy = await play({ commands }, { context, max_tokens: mostOf(usual) + 200 });
    const whole = shows(roomy[1]);
    expect(whole[2]).toBeGreaterThan(listed.join(" ; ").length);
    const tight = await play({ commands }, { context, max_tokens: mostOf(usual) + 40 });
    for (const [step, length] of shows(tight[1]).entries()) expect(length).toBe(whole[step]);
    expect(mostOf(tight)).toBeLessThanOrEqual(mostOf(usual) + 40);
    const tightest = await play({ commands }, { context, max_tokens: mostOf(usual) });
    expect(endsOf(tightest)[1]).toEqual(["truncated", 2, true]);
  });

  test("a limit below what an episode starts with is an error, of the settings or of the model", async () => {
    const [first] = lengthOf((await play({}, { context }))[0]);
    await expect(play({}, { context, max_tokens: first - 1 })).rejects.toThrow(
      `[prompt] too long without any past step: got ${first} tokens, expected at most ${first - 1}. Raise prompt.max_tokens.`,
    );
    await expect(play({}, { context }, first + ANSWER - 1)).rejects.toThrow(
      `got ${first} tokens, expected at most ${first - 1}. Lower grpo.max_completion_length`,
    );
    const commands = () => Array.from({ length: 500 }, () => "shout you");
    await expect(play({ commands }, { context, max_tokens: first + 100 })).rejects.toThrow(
      /too long without any past step: got \d{4,} tokens/,
    );
  });

  test("what the model reads bounds prompt and answer where no other limit does", async () => {
    const usual = await play({}, { context });
    const model = mostOf(usual) + ANSWER - 1;
    const played = await play({}, { context }, model);
    expect(mostOf(played) + ANSWER).toBeLessThanOrEqual(model);
    expect(endsOf(played)[0]).toEqual(past ? ["truncated", STEPS - 1, true] : ["truncated", STEPS, false]);
    expect(await play({}, { context }, model + 1)).toEqual(usual);
  });
});
