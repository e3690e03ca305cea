/** Texts that grow by turns: what is kept between turns equals what is computed anew. */
import { afterAll, expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { Random } from "../../src/core/random.js";
import { Launcher } from "../../src/kernels/index.js";
import { presetConfig } from "../../src/model/config.js";
import { Generator, type GeneratorOptions, type SamplingOptions } from "../../src/model/generate.js";
import { storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";
import { testRuntime } from "../support/runtime.js";

const V = 32;
const END = 0;

function modelOn(launcher: Launcher): Qwen2Model {
  const config = presetConfig("nano", V);
  const parameters = new FlatParameters(launcher.runtime, storedShapes(config), { requiresGrad: false });
  const model = new Qwen2Model(launcher, config, parameters);
  model.initialise(Random.of(1, "weights"));
  afterAll(() => {
    model.release();
    model.parameters.release();
  });
  return model;
}

const own = modelOn(new Launcher(await testRuntime()));
// steps ahead of what the host has seen, and batches in units of eight
const gpu = modelOn(new Launcher(await testRuntime({ isSoftware: false })));

const sampling: SamplingOptions = { temperature: 1.4, maxNewTokens: 9, endTokens: [END, 5, 9], seed: 11 };

/** What the world says in a turn, different in length from conversation to conversation; the longest one grows fast. */
function said(conversation: number, turn: number): number[] {
  const length = conversation === 2 ? 70 : 1 + ((conversation * 3 + turn * 5) % 11);
  return Array.from({ length }, (_, t) => 1 + ((t * t + conversation * 7 + turn) % (V - 1)));
}

const OPENINGS = [said(0, 9), said(1, 9), said(1, 9), [3], said(1, 9), said(7, 9)];
const TURNS = 4;

interface Turn {
  readonly prompt: readonly number[];
  readonly tokens: readonly number[];
  readonly logProbs: readonly number[];
}

/** Talks with all at once; conversation 3 sits out the second turn, conversation 5 ends after the first. */
async function talk(model: Qwen2Model, isKept: boolean, options: GeneratorOptions = {}): Promise<Turn[][]> {
  const generator = new Generator(model, options);
  const conversations = OPENINGS.map(() => (isKept ? generator.open() : undefined));
  const turns: Turn[][] = OPENINGS.map(() => []);
  for (let turn = 0; turn < TURNS; turn++) {
    const present = [...OPENINGS.keys()].filter((c) => !(c === 3 && turn === 1) && !(c === 5 && turn > 0));
    const requests = present.map((c) => {
      const last = turns[c].at(-1);
      const prompt = last ? [...last.prompt, ...last.tokens, ...said(c, turn)] : OPENINGS[c];
      return { prompt, stream: 100 * c + turn, conversation: conversations[c] };
    });
    const generations = await generator.generate(requests, sampling);
    for (const [i, c] of present.entries()) turns[c].push({ prompt: requests[i].prompt, ...generations[i] });
    if (turn === 0) conversations[5]?.close();
    // somebody else's text in between takes free places only
    await generator.generate([{ prompt: said(4, turn), stream: 1 }], { ...sampling, maxNewTokens: 2 });
  }
  generator.release();
  return turns;
}

test.each<[string, Qwen2Model, GeneratorOptions]>([
  ["at the adapter's pace", own, {}],
  ["a token a submit, few tokens at a time", own, { stepsPerSubmit: 1, tokensPerBatch: 13 }],
  ["eight tokens a submit", own, { stepsPerSubmit: 8 }],
  ["steps submitted ahead", gpu, { stepsPerSubmit: 3 }],
])("turns over a kept cache are those of whole prompts: %s", async (_, model, options) => {
  const whole = await talk(model, false, options);
  const kept = await talk(model, true, options);
  // answers end at different times, so that ended sequences went on beside running ones
  expect(new Set(whole.flat().map(({ tokens }) => tokens.length)).size).toBeGreaterThan(4);
  let largest = 0;
  whole.forEach((turns, c) => {
    expect(kept[c].map(({ tokens }) => tokens)).toEqual(turns.map(({ tokens }) => tokens));
    turns.forEach(({ logProbs }, turn) => {
      for (const [t, value] of logProbs.entries())
        largest = Math.max(largest, Math.abs(value - kept[c][turn].logProbs[t]));
    });
  });
  expect(largest).toBeLessThan(1e-4);
});

test("a turn computes what is new and one token more", async () => {
  const generator = new Generator(own);
  const conversation = generator.open();
  const prompt = said(2, 0);
  const embedded: number[] = [];
  const hiddenBy = own.hiddenBy.bind(own);
  own.hiddenBy = (tape, batch, attend) => {
    embedded.push(batch.token.shape[0]);
    return hiddenBy(tape, batch, attend);
  };
  const once = { ...sampling, maxNewTokens: 1, endTokens: [] };
  const [first] = await generator.generate([{ prompt, stream: 0, conversation }], once);
  await generator.generate(
    [{ prompt: [...prompt, ...first.tokens, 7, 8, 9], stream: 1, conversation }],
    once,
  );
  own.hiddenBy = hiddenBy;
  generator.release();
  // the answer's token, three of the world, and place 0
  expect(embedded).toEqual([prompt.length, 5]);
});

test("conversations that do not go on, are closed, foreign or asked twice are refused", async () => {
  const generator = new Generator(own);
  const other = new Generator(own);
  const conversation = generator.open();
  const ask = (prompt: number[], of = conversation) =>
    generator.generate([{ prompt, stream: 0, conversation: of }], sampling);
  const [{ tokens }] = await ask([1, 2, 3]);
  await expect(ask([1, 2, 4, ...tokens])).rejects.toThrow(/got token 4 at place 2, expected 3/);
  await expect(ask([1, 2])).rejects.toThrow(/got token undefined at place 2|got 2 tokens/);
  await expect(ask([1], other.open())).rejects.toThrow(/not open here/);
  const request = { prompt: [1, 2, 3, ...tokens, 4], stream: 0, conversation };
  await expect(generator.generate([request, request], sampling)).rejects.toThrow(/twice in one call/);
  await generator.generate([request], sampling);
  conversation.close();
  conversation.close();
  await expect(generator.generate([request], sampling)).rejects.toThrow(/not open here/);
  generator.release();
  other.release();
});
