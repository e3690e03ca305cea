import { expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { Random } from "../../src/core/random.js";
import { Launcher } from "../../src/kernels/index.js";
import { presetConfig } from "../../src/model/config.js";
import { Generator } from "../../src/model/generate.js";
import { storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";
import { testRuntime } from "../support/runtime.js";

test("a request gives the same tokens alone, in a batch, and beside others with the same prompt", async () => {
  const launcher = new Launcher(await testRuntime());
  const config = presetConfig("nano", 32);
  const model = new Qwen2Model(launcher, config, new FlatParameters(launcher.runtime, storedShapes(config)));
  model.initialise(Random.of(1, "weights"));
  const generator = new Generator(model, { tokensPerBatch: 24 });
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
  const together = await generator.generate(requests, options);
  for (const [index, request] of requests.entries()) {
    const [alone] = await generator.generate([request], options);
    expect(together[index].tokens).toEqual(alone.tokens);
    together[index].logProbs.forEach((value, t) => {
      expect(Math.abs(value - alone.logProbs[t])).toBeLessThan(1e-4);
    });
  }
  // streams differ, so equal prompts go different ways
  expect(new Set([0, 2, 5].map((index) => together[index].tokens.join())).size).toBeGreaterThan(1);
  generator.release();
  model.release();
  model.parameters.release();
});
