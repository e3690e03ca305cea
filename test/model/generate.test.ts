import { afterAll, expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { Random } from "../../src/core/random.js";
import { Launcher } from "../../src/kernels/index.js";
import { presetConfig } from "../../src/model/config.js";
import { Generator, type GeneratorOptions, type SamplingOptions } from "../../src/model/generate.js";
import { storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";
import { halfPrecision, needing } from "../support/needs.js";
import { testRuntime } from "../support/runtime.js";

const V = 32;

function modelOn(launcher: Launcher): Qwen2Model {
  const config = presetConfig("nano", V);
  const model = new Qwen2Model(
    launcher,
    config,
    new FlatParameters(launcher.runtime, storedShapes(config), { requiresGrad: false }),
  );
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

async function generations(
  model: Qwen2Model,
  requests: Parameters<Generator["generate"]>[0],
  sampling: SamplingOptions,
  options: GeneratorOptions = {},
) {
  const generator = new Generator(model, options);
  const result = await generator.generate(requests, sampling);
  generator.release();
  return result;
}

/** Prompts of 1 to 13 tokens, some of them equal. */
const requestsOf = (count: number) =>
  Array.from({ length: count }, (_, stream) => ({
    stream,
    prompt: Array.from({ length: 1 + ((stream * 5) % 13) }, (_, t) => (t * t + (stream % 7)) % V),
  }));

test("a request gives the same tokens alone, in a batch, and beside others with the same prompt", async () => {
  const prompts = [
    [1, 2, 3, 4, 5, 6, 7, 8, 9],
    [9, 8, 7],
    [1, 2, 3, 4, 5, 6, 7, 8, 9],
    [4],
    [9, 8, 7],
    [1, 2, 3, 4, 5, 6, 7, 8, 9],
  ];
  const requests = prompts.map((prompt, stream) => ({ prompt, stream }));
  const options = { temperature: 1.5, maxNewTokens: 6, endTokens: [0], seed: 7 };
  const together = await generations(own, requests, options, { tokensPerBatch: 24 });
  for (const [index, request] of requests.entries()) {
    const [alone] = await generations(own, [request], options);
    expect(together[index].tokens).toEqual(alone.tokens);
    together[index].logProbs.forEach((value, t) => {
      expect(Math.abs(value - alone.logProbs[t])).toBeLessThan(1e-4);
    });
  }
  // streams differ, so equal prompts go different ways
  expect(new Set([0, 2, 5].map((index) => together[index].tokens.join())).size).toBeGreaterThan(1);
});

test.each<Partial<SamplingOptions>>([
  { endTokens: [0, 5, 9, 17] },
  { endTokens: [] },
  { endTokens: [3], maxNewTokens: 1 },
  { endTokens: [1, 2, 3, 4, 5, 6, 7, 8], topK: 9, topP: 0.8 },
  { endTokens: [7, 11], temperature: 0 },
])("eight steps a submit give the tokens and log-probabilities of one step a submit: %j", async (given) => {
  const sampling = { temperature: 1.3, maxNewTokens: 21, endTokens: [], seed: 3, ...given };
  const requests = requestsOf(19);
  const single = await generations(own, requests, sampling, { stepsPerSubmit: 1 });
  for (const options of [{ stepsPerSubmit: 8 }, { stepsPerSubmit: 5 }, {}])
    expect(await generations(own, requests, sampling, options)).toEqual(single);
  for (const { tokens, finished } of single) {
    const isEnd = (token: number) => sampling.endTokens.includes(token);
    expect(tokens.slice(0, -1).some(isEnd)).toBe(false);
    expect(finished).toBe(isEnd(tokens[tokens.length - 1]));
    expect(finished || tokens.length === sampling.maxNewTokens).toBe(true);
  }
});

test("steps submitted before the last ones were seen change nothing", async () => {
  const sampling = { temperature: 1.3, maxNewTokens: 15, endTokens: [0, 5, 8], seed: 3 };
  const requests = requestsOf(10);
  const single = await generations(gpu, requests, sampling, { stepsPerSubmit: 1 });
  expect(new Set(single.map(({ tokens }) => tokens.length)).size).toBeGreaterThan(3);
  expect(await generations(gpu, requests, sampling, { stepsPerSubmit: 4 })).toEqual(single);
});

test("a steady generation makes no buffer and no bind group, and uploads nothing for a token", async () => {
  const { runtime } = own.launcher;
  const generator = new Generator(own, { stepsPerSubmit: 8 });
  const requests = requestsOf(6);
  const counts = async (maxNewTokens: number) => {
    const before = { ...runtime.counters, buffers: runtime.buffers.created };
    let uploads = 0;
    const upload = runtime.upload.bind(runtime);
    runtime.upload = (...given) => {
      uploads++;
      upload(...given);
    };
    await generator.generate(requests, { temperature: 1, maxNewTokens, endTokens: [], seed: 1 });
    runtime.upload = upload;
    return {
      uploads,
      bindGroups: runtime.counters.bindGroupsCreated - before.bindGroupsCreated,
      buffers: runtime.buffers.created - before.buffers,
    };
  };
  await counts(33);
  await counts(9);
  const [short, long] = [await counts(9), await counts(33)];
  expect(long).toEqual(short);
  expect(long).toMatchObject({ bindGroups: 0, buffers: 0 });
  generator.release();
});

test("logits of some sequences at a time give the tokens of all at once", async () => {
  const requests = requestsOf(150);
  const sampling = { temperature: 1.2, maxNewTokens: 3, endTokens: [3], seed: 2 };
  const expected = await generations(own, requests, sampling);
  expect(await generations(own, requests, sampling, { logitBytes: 1 })).toEqual(expected);
});

needing(halfPrecision(own.launcher.facts.features)).test(
  "keys and values in f16 take half the memory and leave log-probabilities near those of f32",
  async () => {
    const { buffers } = own.launcher.runtime;
    const sampling = { temperature: 0, maxNewTokens: 12, endTokens: [], seed: 1 };
    const measure = async (options: GeneratorOptions) => {
      let bytes = 0;
      buffers.observer = {
        acquired: (buffer, label) => {
          if (label.endsWith(" cache")) bytes += buffer.bytes;
        },
        released: () => {},
      };
      const answers = await generations(own, requestsOf(3), sampling, options);
      buffers.observer = undefined;
      return { bytes, answers };
    };
    const [full, half] = [await measure({}), await measure({ cache: "f16" })];
    expect(half.bytes).toBe(full.bytes / 2);
    const apart = full.answers.flatMap(({ logProbs }, index) =>
      logProbs.map((value, t) => Math.abs(value - half.answers[index].logProbs[t])),
    );
    expect(Math.max(...apart)).toBeLessThan(5e-3);
    expect(Math.max(...apart)).toBeGreaterThan(0);
  },
);
