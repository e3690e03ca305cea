/** `uncouple generate` and `uncouple chat` as a user calls them. */
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
