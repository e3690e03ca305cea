import { describe, expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { Tape } from "../../src/autograd/tape.js";
import { Tensor } from "../../src/autograd/tensor.js";
import { Random } from "../../src/core/random.js";
import { Launcher } from "../../src/kernels/index.js";
import { presetConfig, type Qwen2Config } from "../../src/model/config.js";
import { packSequences } from "../../src/model/packing.js";
import { elementCount, parameterShapes, storedShapes } from "../../src/model/parameters.js";
import { Qwen2Model } from "../../src/model/qwen2.js";
import { scoreSequences } from "../../src/rl/update/score.js";
import { referenceConfig, referenceScore } from "../support/reference_qwen2.js";
import { testRuntime } from "../support/runtime.js";
import { constant, differentiate, type Scalar, scaled, total } from "../support/scalars.js";

const launcher = new Launcher(await testRuntime());
const gpuFamily = new Launcher(await testRuntime({ isSoftware: false }));

interface Built {
  readonly model: Qwen2Model;
  readonly values: Map<string, Float32Array>;
}

/** Random weights with larger spread than usual, biases and gains included, so that every term matters. */
function build(owner: Launcher, config: Qwen2Config, seed: number): Built {
  const random = new Random(seed);
  const parameters = new FlatParameters(owner.runtime, storedShapes(config));
  const values = new Map<string, Float32Array>();
  for (const { name, shape } of parameterShapes(config)) {
    const data = new Float32Array(elementCount(shape));
    for (let i = 0; i < data.length; i++) data[i] = (name.includes("norm") ? 1 : 0) + 0.2 * random.normal();
    values.set(name, data);
    parameters.load(name, data);
  }
  return { model: new Qwen2Model(owner, config, parameters), values };
}

function sequences(vocabulary: number, lengths: readonly number[]): number[][] {
  const random = new Random(5);
  return lengths.map((length) => Array.from({ length }, () => random.integer(vocabulary)));
}

/** Weights as numbers to differentiate by. */
function scalarsOf({ values }: Built): Map<string, Scalar[]> {
  return new Map([...values].map(([name, data]) => [name, Array.from(data, constant)]));
}

const shapes: [string, Partial<Qwen2Config>][] = [
  ["tied, grouped heads", { tie_word_embeddings: true }],
  ["untied, grouped heads", { tie_word_embeddings: false }],
  ["tied, one key head per query head", { tie_word_embeddings: true, num_key_value_heads: 4 }],
  [
    "untied, one key head, odd sizes",
    {
      tie_word_embeddings: false,
      hidden_size: 72,
      num_attention_heads: 6,
      num_key_value_heads: 1,
      intermediate_size: 101,
    },
  ],
];

describe("scores agree with float64", () => {
  for (const [label, changes] of shapes) {
    for (const [family, owner] of [
      ["adapter's own", launcher],
      ["GPU", gpuFamily],
    ] as const) {
      test(`${label}, ${family} family`, async () => {
        const built = build(owner, presetConfig("nano", 131, changes), 3);
        const all = sequences(131, [1, 2, 17, 40]);
        const scores = await scoreSequences(built.model, all, 50);
        const weights = scalarsOf(built);
        expect(scores[0]).toEqual({ logProbs: [], entropy: [] });
        all.forEach((tokens, index) => {
          const config = referenceConfig(built.model.config);
          const expected = referenceScore(config, (name) => weights.get(name) as Scalar[], tokens);
          for (const key of ["logProbs", "entropy"] as const) {
            expect(scores[index][key].length).toBe(expected[key].length);
            scores[index][key].forEach((value, t) => {
              expect(
                Math.abs(value - expected[key][t].value),
                `${key} of sequence ${index} at ${t}`,
              ).toBeLessThan(1e-4);
            });
          }
        });
        built.model.parameters.release();
        built.model.release();
      });
    }
  }
});

test("every entry of every gradient agrees with the float64 model", async () => {
  const built = build(
    launcher,
    presetConfig("nano", 37, {
      num_hidden_layers: 2,
      hidden_size: 16,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      intermediate_size: 24,
    }),
    9,
  );
  const { model } = built;
  const all = sequences(37, [5, 9]);
  const packed = packSequences(all);
  const places: number[] = [];
  const targets: number[] = [];
  all.forEach((tokens, s) => {
    for (let t = 1; t < tokens.length; t++) {
      places.push(packed.offsets[s] + t - 1);
      targets.push(tokens[t]);
    }
  });
  const tape = new Tape(launcher);
  const hidden = model.hidden(tape, model.batch(tape, packed));
  const { log_prob, entropy } = model.score(
    tape,
    hidden,
    Uint32Array.from(places),
    Uint32Array.from(targets),
  );
  model.parameters.clearGradients();
  const seed = (value: number) => Tensor.from(launcher.runtime, new Float32Array(places.length).fill(value));
  const seeds = [seed(1), seed(0.3)];
  tape.backward([
    [log_prob, seeds[0]],
    [entropy, seeds[1]],
  ]);
  tape.release();
  for (const tensor of seeds) tensor.release();
  const weights = scalarsOf(built);
  const terms = all.flatMap((tokens) => {
    const { logProbs, entropy: entropies } = referenceScore(
      referenceConfig(model.config),
      (name) => weights.get(name) as Scalar[],
      tokens,
    );
    return [...logProbs, ...entropies.map((one) => scaled(one, 0.3))];
  });
  differentiate(total(terms));
  for (const [name, scalars] of weights) {
    const gradient = await model.parameters.readGradient(name);
    scalars.forEach(({ grad }, index) => {
      expect(Math.abs(gradient[index] - grad) / (1 + Math.abs(grad)), `${name}[${index}]`).toBeLessThan(1e-4);
    });
  }
  model.parameters.release();
});
