/** A policy of some 20,000 parameters with drawn weights, and samples for it. */
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { Random } from "../../src/core/random.js";
import type { CouplingSample } from "../../src/coupling/samples.js";
import type { Launcher } from "../../src/kernels/index.js";
import { presetConfig } from "../../src/model/config.js";
import { elementCount, parameterShapes, storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";

const TINY_VOCABULARY = 23;

export function tinyModel(launcher: Launcher, seed = 1): Qwen2Model {
  const config = presetConfig("nano", TINY_VOCABULARY, {
    hidden_size: 32,
    intermediate_size: 48,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
  });
  const random = Random.of(seed, "tiny model");
  const parameters = new FlatParameters(launcher.runtime, storedShapes(config));
  for (const { name, shape } of parameterShapes(config)) {
    const centre = name.includes("norm") ? 1 : 0;
    parameters.load(
      name,
      Float32Array.from({ length: elementCount(shape) }, () => centre + 0.15 * random.normal()),
    );
  }
  return new Qwen2Model(launcher, config, parameters);
}

/** Samples of drawn tokens; every second one begins as the one before it, as prompts of similar states do. */
export function drawnSamples(count: number, seed = 2): CouplingSample[] {
  const random = Random.of(seed, "samples");
  const token = () => random.integer(TINY_VOCABULARY);
  let prompt: number[] = [];
  return Array.from({ length: count }, (_, i) => {
    if (i % 2 === 0) prompt = Array.from({ length: 3 + random.integer(6) }, token);
    const response = Array.from({ length: 1 + random.integer(4) }, token);
    return {
      tokens: [...prompt, ...response],
      responseStart: prompt.length,
      weights: response.map((_, t) => (t === 1 ? 0.5 : 1)),
    };
  });
}
