/** A small policy whose every term of a gradient matters, and samples of different lengths for it. */
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { Random } from "../../src/core/random.js";
import type { CouplingSample } from "../../src/coupling/samples.js";
import type { Launcher } from "../../src/kernels/index.js";
import { vocabularyTile } from "../../src/kernels/loss/linear_log_prob.js";
import { presetConfig, type Qwen2Config } from "../../src/model/config.js";
import { elementCount, parameterShapes, storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";

export const V = 83;

/** Two layers, four query heads and two of keys and values; weights of large spread, so that every term matters. */
export function couplingPolicy(
  owner: Launcher,
  change: Partial<Qwen2Config> = {},
  half = false,
  requiresGrad: boolean | ((name: string) => boolean) = true,
): Qwen2Model {
  const config = { ...presetConfig("nano", V), hidden_size: 32, intermediate_size: 36, ...change };
  const parameters = new FlatParameters(owner.runtime, storedShapes(config), {
    storage: half ? "f16" : "f32",
    requiresGrad,
  });
  const random = new Random(4);
  for (const { name, shape } of parameterShapes(config)) {
    const centre = name.includes("norm") ? 1 : 0;
    const values = Float32Array.from({ length: elementCount(shape) }, () => centre + 0.2 * random.normal());
    parameters.load(name, values);
  }
  return new Qwen2Model(owner, config, parameters);
}

/** A vocabulary whose logits come in two tiles for some 200 scored tokens, and samples that have them. */
export function drawWide(): { readonly change: Partial<Qwen2Config>; readonly samples: CouplingSample[] } {
  const vocab_size = 24_000;
  const random = new Random(5);
  const samples = Array.from({ length: 8 }, () => ({
    tokens: Array.from({ length: 27 }, () => random.integer(vocab_size)),
    responseStart: 1,
  }));
  if (vocabularyTile(8 * 26, vocab_size) >= vocab_size) throw new Error("the vocabulary is one tile");
  return { change: { vocab_size, hidden_size: 16, intermediate_size: 16 }, samples };
}

/** Samples of different lengths; every third with weights. */
export function drawSamples(count: number, longer = 0): CouplingSample[] {
  const random = new Random(9);
  return Array.from({ length: count }, (_, s) => {
    const length = 3 + longer + random.integer(9);
    const tokens = Array.from({ length }, () => random.integer(V));
    const responseStart = 1 + random.integer(length - 1);
    const weights = tokens.slice(responseStart).map(() => random.normal());
    return { tokens, responseStart, ...(s % 3 === 0 && { weights }) };
  });
}
