/** `uncouple generate` and `uncouple chat` as a user calls them. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { expect, test } from "vitest";
import { runCli } from "../../src/cli/program.js";
import { temporaryFolder } from "../support/folders.js";
import { writeTinyPolicy } from "../support/policy.js";
import { TextStream } from "../support/streams.js";

const model = join(temporaryFolder(), "model");
await writeTinyPolicy(model);
const adapter = process.env.UNCOUPLE_ADAPTER;

async function run(args: readonly string[], input = "") {
  const [stdout, stderr] = [new TextStream(), new TextStream()];
  const stdin = Readable.from([Buffer.from(input)]);
  const env = { UNCOUPLE_ADAPTER: adapter };
  const code = await runCli([...args, "--model", model, "--no-tune"], { stdin, stdout, stderr, env });
  return { code, stdout: stdout.text, stderr: stderr.text };
}

interface Answer {
  readonly prompt: string;
  readonly text: string;
  readonly tokens: readonly number[];
  readonly log_probs: readonly number[];
  readonly finished: boolean;
}

async function answers(args: readonly string[]): Promise<Answer[]> {
  const { code, stdout, stderr } = await run(["generate", "--json", "--max-tokens", "6", ...args]);
  expect({ code, error: /error:.*/.exec(stderr)?.[0] }).toEqual({ code: 0, error: undefined });
  return JSON.parse(stdout).answers;
}

test("prompts are answered by seed, several times each, as a message where that is asked for", async () => {
  const prompts = ["--prompt", "take the apple", "--prompt", "go to the kitchen"];
  const four = await answers([...prompts, "--samples", "2", "--seed", "3"]);
  expect(four.map(({ prompt }) => prompt)).toEqual([prompts[1], prompts[1], prompts[3], prompts[3]]);
  expect(four[0].tokens).not.toEqual(four[1].tokens);
  for (const { tokens, log_probs } of four) {
    expect(tokens.length).toBeLessThanOrEqual(6);
    expect(log_probs).toHaveLength(tokens.length);
    for (const value of log_probs) expect(value).toBeLessThan(0);
  }
  expect(await answers([...prompts, "--samples", "2", "--seed", "3"])).toEqual(four);
  expect(await answers([...prompts, "--samples", "2", "--seed", "4"])).not.toEqual(four);
  const greedy = ["--prompt", "take the apple", "--temperature", "0"];
  const [first, second] = await answers([...greedy, "--samples", "2"]);
  expect(first.tokens).toEqual(second.tokens);
  expect(await answers([...greedy, "--top-k", "1", "--temperature", "1"])).toEqual([first]);
  const [chat] = await answers([...greedy, "--chat"]);
  expect(chat.log_probs[0]).not.toBe(first.log_probs[0]);
  // rounded to 8 bits, log-probabilities differ in their third digit or so
  const [rounded] = await answers([...greedy, "--storage", "bf16"]);
  expect(Math.abs(rounded.log_probs[0] / first.log_probs[0] - 1)).toBeLessThan(0.05);
  expect(rounded.log_probs[0]).not.toBe(first.log_probs[0]);
});

test("every end token that the model names ends an answer, and no other one does", async () => {
  const greedy = ["--prompt", "take the apple", "--temperature", "0", "--max-tokens", "4"];
  const [whole] = await answers(greedy);
  expect(whole.tokens).toHaveLength(4);
  const file = join(model, "generation_config.json");
  const before = readFileSync(file, "utf8");
  try {
    const known = [JSON.parse(before).eos_token_id].flat();
    // the first token that did not come before
    const at = whole.tokens.findIndex((token, t) => t > 0 && token !== whole.tokens[0]);
    expect(at).toBeGreaterThan(0);
    writeFileSync(file, JSON.stringify({ eos_token_id: [...known, whole.tokens[at]] }));
    const [ended] = await answers(greedy);
    expect(ended.tokens).toEqual(whole.tokens.slice(0, at + 1));
    expect([whole.finished, ended.finished]).toEqual([false, true]);
  } finally {
    writeFileSync(file, before);
  }
});

test("a chat remembers what was said, until it begins anew", async () => {
  const second = async (input: string) => {
    const { code, stdout, stderr } = await run(["chat", "--max-tokens", "8"], input);
    expect({ code, error: /error:.*/.exec(stderr)?.[0] }).toEqual({ code: 0, error: undefined });
    const lines = stdout.trimEnd().split("\n");
    expect(lines).toHaveLength(2);
    return lines[1];
  };
  const after = await second("take the apple\nlook\nquit\nlook\n");
  expect(await second("go to the kitchen\nlook\n")).not.toBe(after);
  const anew = await second("take the apple\nnew\nlook\n");
  expect(anew).not.toBe(after);
  expect(await second("go to the kitchen\nnew\nlook\n")).toBe(anew);
});

test.each([
  [["generate", "--prompt", ""], 'prompt is empty: got ""'],
  [["generate"], "required option '--prompt <text>'"],
  [["generate", "--prompt", "a", "--top-p", "2"], "Expected a number, from 0 to 1"],
  [
    ["generate", "--prompt", "the", "--max-tokens", "5000"],
    "prompt and answer too long: got 1 and --max-tokens 5000",
  ],
  [["chat", "--storage", "f64"], "Allowed choices are f32, f16, bf16"],
])("%s is refused", async (args, message) => {
  const { code, stderr } = await run(args);
  expect({ code, message: stderr }).toEqual({ code: 2, message: expect.stringContaining(message) });
});
