/** A small policy whose every term of a gradient matters, and samples of different lengths for it. */
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { Random } from "../../src/core/random.js";
import type { CouplingSample } from "../../src/coupling/samples.js";
import type { Launcher } from "../../src/kernels/index.js";
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
  const parameters = new FlatParameters(owner.runtime, storedShapes(config), { half, requiresGrad });
  const random = new Random(4);
  for (const { name, shape } of parameterShapes(config)) {
    const centre = name.includes("norm") ? 1 : 0;
    const values = Float32Array.from({ length: elementCount(shape) }, () => centre + 0.2 * random.normal());
    parameters.load(name, values);
  }
  return new Qwen2Model(owner, config, parameters);
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
