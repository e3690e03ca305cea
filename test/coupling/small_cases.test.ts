/** Every way to per-sample gradients on three samples, and its parts with values worked out by hand: quick, for changes and mutants. */
import { describe, expect, test } from "vitest";
import { keepWeights } from "../../src/coupling/actual_update.js";
import { directions } from "../../src/coupling/directions.js";
import { type GramOptions, perSampleGram } from "../../src/coupling/gram.js";
import { defaultPieceBytes, requireTrainable, samplePass, trainableNames } from "../../src/coupling/pass.js";
import { checkProjection } from "../../src/coupling/projected_sink.js";
import type { CouplingSample } from "../../src/coupling/samples.js";
import { addBatchGradient, gramOfGradients, separateGradients } from "../../src/coupling/separate.js";
import { BatchGradientSink } from "../../src/coupling/sinks.js";
import { type TakenFactors, type TakenLookup, takeFactors, takeLookup } from "../../src/coupling/taken.js";
import { diagnoseAlone, relativeError, verifyGram } from "../../src/coupling/verify.js";
import { Workspace } from "../../src/coupling/workspace.js";
import { Launcher } from "../../src/kernels/index.js";
import type { Qwen2Model } from "../../src/model/qwen2.js";
import { couplingPolicy, drawSamples, drawWide, V } from "../support/coupling_policy.js";
import { loraPolicy } from "../support/lora_policy.js";
import { testRuntime } from "../support/runtime.js";

const runtime = await testRuntime();
const launcher = new Launcher(runtime);
const samples = drawSamples(3);
const S = samples.length;
const kinds = ["tied", "untied"] as const;
const policies = {
  tied: couplingPolicy(launcher),
  untied: couplingPolicy(launcher, { tie_word_embeddings: false }),
};

const total = (layers: Iterable<Float64Array>) => {
  const sum = new Float64Array(S * S);
  for (const layer of layers)
    layer.forEach((value, at) => {
      sum[at] += value;
    });
  return sum;
};

describe.each(kinds)("%s", (kind) => {
  const policy = policies[kind];

  test("the Gram of each parameter is that of gradients one by one, whatever the path and the pieces", async () => {
    const gradients = await separateGradients(policy, samples);
    const expected = gramOfGradients(gradients);
    expect([...expected.keys()]).toEqual(trainableNames(policy));
    const live = runtime.buffers.liveBytes;
    const ways: Readonly<Record<string, GramOptions>> = {
      whole: { path: "product" },
      pieces: { path: "product", pieceBytes: 4096 },
      tokens: { path: "token" },
      "token blocks": { path: "token", pieceBytes: 4096 },
      projected: { projection: { rank: V, seed: 3 } },
    };
    for (const [way, options] of Object.entries(ways)) {
      const { gram, layers, samples: count } = await perSampleGram(policy, samples, options);
      expect(count).toBe(S);
      expect([...layers.keys()]).toEqual([...expected.keys()]);
      for (const [name, values] of layers)
        expect(relativeError(values, expected.get(name) as Float64Array), `${way} ${name}`).toBeLessThan(
          1e-5,
        );
      expect(gram).toEqual(total(layers.values()));
      expect(runtime.buffers.liveBytes).toBe(live);
    }
  });

  test("the gradient of the batch comes with it, and dot products with it are rows of the Gram", async () => {
    const { trained } = policy;
    const coefficients = [1, -2, 0.5];
    const weighted = samples.map((sample, s): CouplingSample => {
      const weights = sample.weights ?? sample.tokens.slice(sample.responseStart).map(() => 1);
      return { ...sample, weights: weights.map((weight) => weight * coefficients[s]) };
    });
    const read = async () => {
      const all = new Map<string, Float32Array>();
      for (const name of trainableNames(policy)) all.set(name, await trained.readGradient(name));
      return all;
    };
    trained.clearGradients();
    addBatchGradient(policy, weighted);
    const expected = await read();
    const same = async (way: string) => {
      for (const [name, values] of await read())
        expect(relativeError(values, expected.get(name) as Float32Array), `${way} ${name}`).toBeLessThan(
          1e-5,
        );
    };
    for (const path of ["product", "token"] as const) {
      trained.clearGradients();
      await perSampleGram(policy, samples, { coefficients, path });
      await same(path);
    }
    trained.clearGradients();
    const gradient = (name: string) => trained.get(name).grad;
    const { dots, squares, layers, logProbs } = await directions(
      policy,
      samples,
      [gradient, (name) => trained.get(name)],
      { coefficients },
    );
    await same("directions");
    const { gram, layers: grams, logProbs: others } = await perSampleGram(policy, samples);
    expect([...logProbs]).toEqual([...others]);
    for (let s = 0; s < S; s++) {
      const row = coefficients.reduce((sum, coefficient, j) => sum + coefficient * gram[s * S + j], 0);
      expect(dots[2 * s] / row).toBeCloseTo(1, 4);
      expect(squares[s] / gram[s * S + s]).toBeCloseTo(1, 4);
    }
    for (const [name, own] of layers) {
      const square = Float64Array.from({ length: S }, (_, s) => (grams.get(name) as Float64Array)[s * S + s]);
      expect(relativeError(own.squares, square), name).toBeLessThan(1e-4);
    }
    expect(await read()).toEqual(await read());
    trained.clearGradients();
  });

  test("checks tell how far apart two Grams are, and a sample alone is what it is among others", async () => {
    const gram = await perSampleGram(policy, samples);
    const differences = await verifyGram(policy, samples, gram, [2, 0]);
    expect(differences.map(({ name }) => name)).toEqual([...trainableNames(policy), "total"]);
    for (const { name, error } of differences) expect(error, name).toBeLessThan(1e-5);
    // an entry that is twice what it should be
    const name = "model.norm.weight";
    const own = gram.layers.get(name) as Float64Array;
    const largest = Math.max(...[0, 2].map((s) => own[s * S + s]));
    const wrong = { ...gram, gram: gram.gram.map((value) => 2 * value), layers: new Map(gram.layers) };
    wrong.layers.set(
      name,
      own.map((value, at) => (at === 0 ? 2 * value : value)),
    );
    const found = await verifyGram(policy, samples, wrong, [2, 0]);
    const errorOf = (of: string) => found.find((one) => one.name === of)?.error;
    expect(errorOf(name)).toBeCloseTo(own[0] / largest, 3);
    expect(errorOf("total")).toBeCloseTo(1, 3);
    policy.trained.get(name).grad?.upload(new Float32Array(32).fill(1));
    const alone = await diagnoseAlone(policy, samples, [1]);
    expect(alone.map(({ sample }) => sample)).toEqual([1]);
    expect(alone[0].cosine).toBeCloseTo(1, 5);
    for (const square of [alone[0].alone, alone[0].inBatch])
      expect(square / gram.gram[S + 1]).toBeCloseTo(1, 4);
    expect(await policy.trained.readGradient(name)).toEqual(new Float32Array(32));
    const silent = samples.map((sample, s) => ({
      ...sample,
      weights: sample.tokens.slice(sample.responseStart).map(() => Number(s > 0)),
    }));
    expect(await diagnoseAlone(policy, silent, [0])).toEqual([
      { sample: 0, inBatch: 0, alone: 0, cosine: 1 },
    ]);
  });
});

test.each(kinds)("a head whose logits come in tiles, from gradients of samples, %s", async (kind) => {
  const { change, samples: wide } = drawWide();
  const model = couplingPolicy(launcher, { ...change, tie_word_embeddings: kind === "tied" });
  const gram = await perSampleGram(model, wide, { path: "product" });
  for (const { name, error } of await verifyGram(model, wide, gram, [0, 5]))
    expect(error, name).toBeLessThan(1e-4);
  model.parameters.release();
});

test("weights of an adapter are what has gradients; what its step did is a direction", async () => {
  const policy = loraPolicy(launcher);
  const few = samples.map(({ tokens, responseStart }) => ({
    tokens: tokens.map((id) => id % 41),
    responseStart,
  }));
  const expected = gramOfGradients(await separateGradients(policy, few));
  const { layers } = await perSampleGram(policy, few);
  expect([...layers.keys()]).toEqual([...expected.keys()]);
  for (const [name, values] of layers)
    expect(relativeError(values, expected.get(name) as Float64Array), name).toBeLessThan(1e-5);
  const live = runtime.buffers.liveBytes;
  const kept = keepWeights(policy);
  expect(runtime.buffers.liveBytes).toBeGreaterThan(live);
  const [name] = trainableNames(policy);
  const before = await policy.trained.read(name);
  policy.trained.load(
    name,
    before.map((value, at) => value + at),
  );
  const update = kept.update();
  expect(update(name)).toBe(policy.trained.get(name).grad);
  (await policy.trained.readGradient(name)).forEach((value, at) => {
    expect(value).toBeCloseTo(at, 4);
  });
  kept.release();
  expect(runtime.buffers.liveBytes).toBe(live);
});

test("log-probabilities of a pass are weighted sums, and what is no number is refused by its own number", async () => {
  const policy = policies.untied;
  const workspace = new Workspace(launcher);
  const pass = { workspace, sinks: [], pieceBytes: 2 ** 16 };
  const plain = samples.map(({ tokens, responseStart }) => ({ tokens, responseStart }));
  const halves = plain.map((sample) => ({
    ...sample,
    weights: sample.tokens.slice(sample.responseStart).map(() => 0.5),
  }));
  const [whole, half] = [await samplePass(policy, plain, pass), await samplePass(policy, halves, pass)];
  half.forEach((value, s) => {
    expect(value / whole[s]).toBeCloseTo(0.5, 6);
  });
  const norm = "model.norm.weight";
  const before = await policy.trained.read(norm);
  policy.trained.load(norm, new Float32Array(32).fill(Number.NaN));
  await expect(samplePass(policy, plain, pass, [7, 8, 9])).rejects.toThrow(
    "[coupling] sample 7: its log-probability is not finite: got NaN. Check the model's weights, or leave the sample out.",
  );
  policy.trained.load(norm, before);
  workspace.release();
});

test("memory is lent until it is given back, tables are kept until the end", () => {
  const { buffers } = runtime;
  const live = buffers.liveBytes;
  const workspace = new Workspace(launcher);
  const shape = [64, 16];
  const held = () => buffers.liveBytes - live;
  expect(workspace.scratch("a", shape)).toMatchObject({ shape, dtype: "f32" });
  const one = held();
  expect(one).toBeGreaterThanOrEqual(4096);
  workspace.within(() => {
    workspace.scratch("b", shape);
    expect(held()).toBe(2 * one);
  });
  expect(held()).toBe(one);
  expect(() =>
    workspace.within(() => {
      workspace.scratch("c", shape);
      throw new Error("stop");
    }),
  ).toThrow("stop");
  expect(held()).toBe(one);
  workspace.giveBack();
  expect(held()).toBe(0);
  const table = workspace.table([1, 2, 3]);
  expect(workspace.table(Uint32Array.of(1, 2, 3))).toBe(table);
  expect(workspace.table([1, 23])).not.toBe(table);
  workspace.giveBack();
  expect(held()).toBeGreaterThan(0);
  workspace.scratch("d", shape);
  workspace.release();
  expect(held()).toBe(0);
  workspace.release();
  expect(workspace.table([1, 2, 3])).not.toBe(table);
  workspace.release();
});

test("coefficients of samples, and batches without a place for their gradient", () => {
  const live = runtime.buffers.liveBytes;
  const workspace = new Workspace(launcher);
  const sink = new BatchGradientSink(workspace, [1, 2]);
  // nobody asks for it
  expect(() => sink.take({ target: undefined } as never)).not.toThrow();
  expect(() => sink.takeFactors({ target: undefined } as never)).not.toThrow();
  sink.release();
  workspace.release();
  expect(runtime.buffers.liveBytes).toBe(live);
});

describe("by hand", () => {
  test("the error of a Gram is a share of its largest entry", () => {
    expect(relativeError([1, 2, 3], [1, 2, 4])).toBe(0.25);
    expect(relativeError([-1, 0], [-4, 0])).toBe(0.75);
    expect(relativeError([0, 0], [0, 0])).toBe(0);
    expect(relativeError([1], [0])).toBe(Number.POSITIVE_INFINITY);
    expect(relativeError([Number.NaN], [1])).toBeNaN();
  });

  test("the Gram of gradients is symmetric, by parameter", () => {
    const gradients = [
      new Map([
        ["a", Float32Array.of(1, 2)],
        ["b", Float32Array.of(3)],
      ]),
      new Map([
        ["a", Float32Array.of(4, -1)],
        ["b", Float32Array.of(0.5)],
      ]),
    ];
    expect(gramOfGradients(gradients)).toEqual(
      new Map([
        ["a", Float64Array.of(5, 2, 2, 17)],
        ["b", Float64Array.of(9, 1.5, 1.5, 0.25)],
      ]),
    );
    expect(gramOfGradients([])).toEqual(new Map());
  });

  test("what a sink cannot take is refused, what it can is handed on", () => {
    const bare = { take: () => {} };
    const message =
      "[coupling] gradients are needed here: got a path without them, expected product. Plan no paths for this sink.";
    const [factors, lookup] = [{ stored: "a" } as TakenFactors, { stored: "b" } as TakenLookup];
    // nothing thrown at all, or no error, would pass a test of the message alone
    const thrown = (body: () => void) => {
      try {
        body();
      } catch (error) {
        return (error as Error | undefined)?.message;
      }
    };
    expect(thrown(() => takeFactors(bare, factors))).toBe(message);
    expect(thrown(() => takeLookup(bare, lookup))).toBe(message);
    const taken: unknown[] = [];
    const sink = {
      ...bare,
      takeFactors: (one: TakenFactors) => void taken.push(one),
      takeLookup: (one: TakenLookup) => void taken.push(one),
    };
    takeFactors(sink, factors);
    takeLookup(sink, lookup);
    expect(taken).toEqual([factors, lookup]);
  });

  test("pieces are of the size of a cache; frozen policies, ranks and options that do not fit are refused", async () => {
    expect(
      [true, false].map((isSoftware) => defaultPieceBytes({ facts: { ...launcher.facts, isSoftware } })),
    ).toEqual([2 ** 22, 2 ** 25]);
    const frozen = couplingPolicy(launcher, {}, false, false) as Qwen2Model;
    expect(() => requireTrainable(frozen)).toThrow(
      "[coupling] the parameters are frozen: got requiresGrad false, expected true, or true for some of them. Load the policy with requiresGrad true.",
    );
    const part = couplingPolicy(launcher, {}, false, (name) => name === "model.norm.weight");
    expect(() => requireTrainable(part)).not.toThrow();
    expect(trainableNames(part)).toEqual(["model.norm.weight"]);
    for (const rank of [0, 1.5])
      expect(() => checkProjection({ rank })).toThrow(
        `[coupling] rank of the projection is out of range: got ${rank}, expected an integer of at least 1. 32 is a start`,
      );
    expect(() => checkProjection({ rank: 1 })).not.toThrow();
    await expect(perSampleGram(policies.tied, samples, { coefficients: [1] })).rejects.toThrow(
      "[coupling] coefficients of wrong length: got 1, expected 3, one a sample. Correct them.",
    );
    const projection = { rank: 2 };
    await expect(
      perSampleGram(policies.tied, samples, { projection, coefficients: [1, 1, 1] }),
    ).rejects.toThrow("got coefficients, expected none");
    await expect(perSampleGram(policies.tied, samples, { projection, path: "token" })).rejects.toThrow(
      "got path token, expected none",
    );
  });
});
