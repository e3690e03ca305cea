/** What a coupling pass is planned from, without a GPU: samples, pieces, paths and the forecast, with numbers worked out by hand. */
import { describe, expect, test } from "vitest";
import { type ForecastPolicy, forecastPasses } from "../../src/coupling/forecast.js";
import { blockTokens, pathFlops, planPaths, projectedFlops, tokenBlocks } from "../../src/coupling/paths.js";
import { biasPiece, cutPieces, lookupPieces, vectorPiece } from "../../src/coupling/pieces.js";
import {
  type CouplingSample,
  checkSamples,
  packSamples,
  passesOf,
  sampleOf,
} from "../../src/coupling/samples.js";
import { presetConfig } from "../../src/model/config.js";
import { storedShapes } from "../../src/model/parameters.js";

/** Rows so wide that a part of a sum is two of them. */
const C = 1000;

describe("pieces of a tensor", () => {
  const single = { name: "w", shape: [5, C] };
  const stack = {
    name: "qkv",
    shape: [6, C],
    parts: [
      { name: "q", shape: [3, C], first: 0, stride: 1 },
      { name: "k", shape: [1, C], first: 3, stride: 1 },
      { name: "v", shape: [2, C], first: 4, stride: 1 },
    ],
  };
  const pairs = {
    name: "gate_up",
    shape: [6, C],
    parts: [
      { name: "gate", shape: [3, C], first: 0, stride: 2 },
      { name: "up", shape: [3, C], first: 1, stride: 2 },
    ],
  };
  const region = (name: string, [start, R, origin, first, end]: readonly number[], stride = 1) => ({
    ...{ name, start, R, C, origin, stride, first, end },
  });

  test("one parameter: whole, from a row on, and cut at whole parts", () => {
    expect(cutPieces(single, { first: 0, rows: 5, C }, 5)).toEqual([
      {
        ...{ first: 0, rows: 5, interleave: 1, offsets: [0, 2000, 4000, 5000] },
        regions: [region("w", [0, 5, 0, 0, 3])],
      },
    ]);
    // parts begin at even rows of the parameter
    expect(cutPieces(single, { first: 3, rows: 2, C }, 5)).toEqual([
      {
        ...{ first: 3, rows: 2, interleave: 1, offsets: [0, 1000, 2000] },
        regions: [region("w", [0, 2, 3, 0, 2])],
      },
    ]);
    for (const most of [1, 2, 3])
      expect(
        cutPieces(single, { first: 0, rows: 5, C }, most).map(({ first, rows }) => [first, rows]),
      ).toEqual([
        [0, 2],
        [2, 2],
        [4, 1],
      ]);
  });

  test("parts of a sum are as many rows as have 2048 elements, at most 64, at least one", () => {
    const offsets = (rows: number, width: number) =>
      cutPieces({ name: "w", shape: [rows, width] }, { first: 0, rows, C: width }, rows)[0].offsets;
    expect(offsets(130, 10)).toEqual([0, 640, 1280, 1300]);
    expect(offsets(5, 1024)).toEqual([0, 2048, 4096, 5120]);
    expect(offsets(3, 1025)).toEqual([0, 1025, 2050, 3075]);
    expect(offsets(2, 9000)).toEqual([0, 9000, 18_000]);
  });

  test("parameters one below the other have regions of their own", () => {
    expect(cutPieces(stack, { first: 0, rows: 6, C }, 6)).toEqual([
      {
        ...{ first: 0, rows: 6, interleave: 1, offsets: [0, 2000, 3000, 4000, 6000] },
        regions: [
          region("q", [0, 3, 0, 0, 2]),
          region("k", [3000, 1, 3, 2, 3]),
          region("v", [4000, 2, 4, 3, 4]),
        ],
      },
    ]);
    expect(cutPieces(stack, { first: 2, rows: 3, C }, 6)).toEqual([
      {
        ...{ first: 2, rows: 3, interleave: 1, offsets: [0, 1000, 2000, 3000] },
        regions: [
          region("q", [0, 1, 2, 0, 1]),
          region("k", [1000, 1, 3, 1, 2]),
          region("v", [2000, 1, 4, 2, 3]),
        ],
      },
    ]);
    expect(cutPieces(stack, { first: 4, rows: 2, C }, 6)[0].regions).toEqual([region("v", [0, 2, 4, 0, 1])]);
    const cut = (first: number, rows: number) =>
      cutPieces(stack, { first, rows, C }, 2).map((piece) => [
        piece.first,
        piece.rows,
        ...piece.regions.map(({ name, origin, start }) => `${name} ${origin} ${start}`),
      ]);
    expect(cut(0, 6)).toEqual([
      [0, 2, "q 0 0"],
      [2, 1, "q 2 0"],
      [3, 1, "k 3 0"],
      [4, 2, "v 4 0"],
    ]);
    expect(cut(2, 3)).toEqual([
      [2, 1, "q 2 0"],
      [3, 1, "k 3 0"],
      [4, 1, "v 4 0"],
    ]);
  });

  test("parts of a sum begin at fixed rows of the parameter, wherever it lies in the stack", () => {
    const parts = [
      { name: "a", shape: [1, C], first: 0, stride: 1 },
      { name: "b", shape: [3, C], first: 1, stride: 1 },
    ];
    const [whole] = cutPieces({ name: "ab", shape: [4, C], parts }, { first: 0, rows: 4, C }, 4);
    expect(whole.offsets).toEqual([0, 1000, 3000, 4000]);
  });

  test("parameters whose rows alternate are laid one after the other", () => {
    expect(cutPieces(pairs, { first: 0, rows: 6, C }, 100)).toEqual([
      {
        ...{ first: 0, rows: 6, interleave: 2, offsets: [0, 2000, 3000, 5000, 6000] },
        regions: [region("gate", [0, 3, 0, 0, 2], 2), region("up", [3000, 3, 1, 2, 4], 2)],
      },
    ]);
    const [first, second, ...rest] = cutPieces(pairs, { first: 0, rows: 6, C }, 4);
    expect([first.first, first.rows, rest]).toEqual([0, 4, []]);
    expect(second).toEqual({
      ...{ first: 4, rows: 2, interleave: 2, offsets: [0, 1000, 2000] },
      regions: [region("gate", [0, 1, 4, 0, 1], 2), region("up", [1000, 1, 5, 1, 2], 2)],
    });
    // at least one part's rows of each
    expect(cutPieces(pairs, { first: 0, rows: 6, C }, 1)).toEqual([first, second]);
    const [from] = cutPieces(pairs, { first: 2, rows: 4, C }, 100);
    expect([from.first, from.rows, from.offsets]).toEqual([2, 4, [0, 1000, 2000, 3000, 4000]]);
    expect(from.regions.map(({ origin }) => origin)).toEqual([2, 3]);
  });

  test("a bias has one element for each row, a vector parts of 2048", () => {
    const [piece] = cutPieces(stack, { first: 0, rows: 6, C }, 6);
    const bias = biasPiece(piece, C, (name) => `${name}.bias`);
    expect(bias.offsets).toEqual([0, 2, 3, 4, 6]);
    expect(bias.regions.map((one) => [one.name, one.start, one.R, one.C, one.origin])).toEqual([
      ["q.bias", 0, 3, 1, 0],
      ["k.bias", 3, 1, 1, 3],
      ["v.bias", 4, 2, 1, 4],
    ]);
    expect([bias.first, bias.rows]).toEqual([0, 6]);
    expect(vectorPiece("g", 2048).offsets).toEqual([0, 2048]);
    expect(vectorPiece("g", 5000)).toEqual({
      ...{ first: 0, rows: 1, interleave: 1, offsets: [0, 2048, 4096, 5000] },
      regions: [{ ...region("g", [0, 1, 0, 0, 3]), C: 5000 }],
    });
  });

  test("looked-up rows: a part is a block of ids, a piece as many as fit, at least one", () => {
    // blocks of two ids: 0 1 | 2 | 5 | 6 7
    const ids = Uint32Array.of(0, 1, 2, 5, 6, 7);
    expect(lookupPieces("e", ids, C, 3)).toEqual([
      {
        ...{ first: 0, rows: 3, interleave: 1, offsets: [0, 2000, 3000] },
        regions: [region("e", [0, 3, 0, 0, 2])],
      },
      {
        ...{ first: 3, rows: 3, interleave: 1, offsets: [0, 1000, 3000] },
        regions: [region("e", [0, 3, 3, 0, 2])],
      },
    ]);
    const rows = (most: number) => lookupPieces("e", ids, C, most).map((piece) => piece.rows);
    expect([rows(1), rows(2), rows(6)]).toEqual([[2, 1, 1, 2], [2, 2, 2], [6]]);
    expect(lookupPieces("e", Uint32Array.of(), C, 3)).toEqual([]);
    expect(lookupPieces("e", Uint32Array.of(2, 3), C, 3)[0]).toMatchObject({
      first: 0,
      rows: 2,
      offsets: [0, 2000],
    });
  });
});

describe("paths of a Gram", () => {
  test("operations of each path", () => {
    const shape = { S: 2, N: 10, O: 3, I: 5, hasGradient: false };
    // gradients 2 N O I, and 4 ordered pairs of them
    expect(pathFlops(shape, "product")).toBe(300 + 120);
    expect(pathFlops({ ...shape, hasGradient: true }, "product")).toBe(300 + 120 + 60);
    expect(pathFlops(shape, "token")).toBe(100 * 8);
    expect(pathFlops({ ...shape, hasGradient: true }, "token")).toBe(100 * 8 + 300);
    // of 64 samples the tiles of 32 on and above the diagonal: 3 of 4
    expect(pathFlops({ ...shape, S: 64 }, "product")).toBe(300 + 2 * 3072 * 15);
    // both sides to 4 numbers, the one of 3 stays
    expect(projectedFlops(shape, 4)).toBe(20 * (3 * 3 + 5 * 4) + 20 * 12 + 8 * 12);
    expect(projectedFlops(shape, 5)).toBe(20 * 9 + 20 * 15 + 8 * 15);
  });

  test("which matrices have one, and by how many rows", () => {
    const config = presetConfig("nano", 16);
    const names = ["model.embed_tokens.weight", "lm_head.weight", "x"];
    const shapes = [...names.map((name) => ({ name, shape: [1000, 1000] })), { name: "g", shape: [1000] }];
    const sizes = { S: 4, N: 4000, R: 4 };
    const plan = (tied: boolean, wish?: "auto" | "token" | "projected") => [
      ...planPaths({ ...config, tie_word_embeddings: tied }, sizes, false, wish, shapes),
    ];
    const auto = [
      ["lm_head.weight", "token"],
      ["x", "product"],
    ];
    expect(plan(true)).toEqual([["model.embed_tokens.weight", "token"], ...auto]);
    expect(plan(false)).toEqual(auto);
    expect(plan(false, "token").map(([name]) => name)).toEqual(names.slice(1));
    expect(plan(false, "projected")).toEqual(names.map((name) => [name, "projected"]));
  });

  test("blocks of tokens", () => {
    // four arrays of f32 over pairs of tokens
    expect([1024, 1295, 1296].map(blockTokens)).toEqual([8, 8, 9]);
    const offsets = [0, 3, 5, 9, 10];
    const blocks = (most: number) =>
      tokenBlocks(offsets, most).map(({ first, end, start, stop }) => [first, end, start, stop]);
    expect(blocks(5)).toEqual([
      [0, 2, 0, 5],
      [2, 4, 5, 10],
    ]);
    for (const most of [1, 4])
      expect(blocks(most)).toEqual([
        [0, 1, 0, 3],
        [1, 2, 3, 5],
        [2, 3, 5, 9],
        [3, 4, 9, 10],
      ]);
  });
});

describe("samples", () => {
  test("laid end to end: the last token is predicted only", () => {
    const packed = packSamples([
      { tokens: [1, 2, 3, 4], responseStart: 2 },
      { tokens: [5, 6], responseStart: 1, weights: [0.5] },
    ]);
    expect([...packed.packed.tokens]).toEqual([1, 2, 3, 5]);
    expect([...packed.tokenOffsets]).toEqual([0, 3, 4]);
    expect([...packed.scoredOffsets]).toEqual([0, 2, 3]);
    expect([...packed.index]).toEqual([1, 2, 3]);
    expect([...packed.target]).toEqual([3, 4, 6]);
    expect([...packed.weights]).toEqual([1, 1, 0.5]);
  });

  test("passes hold as many as fit, at least one", () => {
    const samples = [3, 2, 4, 1, 1].map((length) => ({ tokens: Array(length).fill(1), responseStart: 1 }));
    const passes = (most: number) =>
      [...passesOf(samples, most)].map((part) => part.map(({ tokens }) => tokens.length));
    expect(passes(5)).toEqual([[3, 2], [4, 1], [1]]);
    expect(passes(1)).toEqual([[3], [2], [4], [1], [1]]);
    expect(passes(11)).toEqual([[3, 2, 4, 1, 1]]);
    expect([...passesOf([], 5)]).toEqual([]);
  });

  test("limits are allowed, what is beyond is not", () => {
    const config = { ...presetConfig("nano", 10), max_position_embeddings: 4 };
    const check = (sample: CouplingSample) => () => checkSamples([sample], config);
    const good = { tokens: [0, 9, 1, 2, 3], responseStart: 1 };
    for (const sample of [good, { ...good, responseStart: 4 }, { ...good, weights: [0, -1, 3e38, 1] }])
      expect(check(sample)).not.toThrow();
    expect(check({ ...good, tokens: [0, 10] })).toThrow(
      "sample 0: token 1 is not in the vocabulary: got id 10",
    );
    expect(() => checkSamples([], config)).toThrow("no samples: got 0, expected at least one");
    expect(check({ ...good, tokens: [10, 0] })).toThrow(
      "sample 0: token 0 is not in the vocabulary: got id 10",
    );
    expect(check({ ...good, responseStart: 0 })).toThrow("responseStart is out of range: got 0");
    for (const [at, bad] of [Number.NaN, 1e39].entries()) {
      const weights = [1, 1, 1, 1].map((weight, t) => (t === at ? bad : weight));
      expect(check({ ...good, weights })).toThrow(
        `weight ${at} is not finite: got ${bad}, expected a number`,
      );
    }
    expect(sampleOf({ prompt: [1, 2], answer: [3] })).toEqual({ tokens: [1, 2, 3], responseStart: 2 });
    expect(check({ ...good, tokens: [0, -1] })).toThrow("expected an integer from 0 to 9");
    expect(check({ ...good, tokens: [0, 0.5] })).toThrow("token 1 is not in the vocabulary: got id 0.5");
    expect(check({ ...good, responseStart: 1.5 })).toThrow("responseStart is out of range: got 1.5");
    expect(check({ ...good, responseStart: 5 })).toThrow(
      "zero response tokens: got responseStart 5 of 5 tokens",
    );
    expect(check({ ...good, tokens: [0, 1, 2, 3, 4, 5] })).toThrow(
      "too long: got 6 tokens, expected at most 5",
    );
    expect(check({ ...good, weights: [1, 1, 1] })).toThrow("got 3, expected 4, one a response token");
  });
});

describe("the forecast", () => {
  const config = {
    ...presetConfig("nano", 10),
    ...{ hidden_size: 4, intermediate_size: 6, num_attention_heads: 2, num_key_value_heads: 1 },
    ...{ num_hidden_layers: 2, tie_word_embeddings: false },
  };
  const launcher = {
    facts: { isSoftware: true, maxBindingBytes: 2 ** 27 } as ForecastPolicy["launcher"]["facts"],
  };
  const policy = { config, activations: "f32", launcher } as const;
  const tied = { ...policy, config: { ...config, tie_word_embeddings: true } };
  // N of 4 + 2 tokens that are read, R of 3 + 2 that are scored
  const samples = [
    { tokens: [1, 2, 3, 4, 5], responseStart: 2 },
    { tokens: [1, 2, 3], responseStart: 1 },
  ];
  const pieceBytes = 2 ** 16;

  test("bytes of a small pass, term by term", () => {
    // of a layer, each token: qkv 8, heads 4, twice C 8, three times F 18; two heads and two more
    const layer = 6 * (4 * (8 + 4 + 8 + 18) + 4 * 4);
    const head = 4 * 5 * (10 + 8) + 4 * 2 * 5 * 4;
    const kept = 2 * layer + 6 * (4 * 8 + 32) + head;
    const backward = 6 * (4 * (16 + 16) + 4 * 18 + 16);
    const parts = 8 * 16 + 4 * 2 * 64;
    // 12 parameters a layer, embedding, norm and head
    const grams = 4 * 27 * 4;
    const tables = 4 * (12 + 8 + 20 + 6);
    const { bytes, passes, paths, ...rest } = forecastPasses(policy, samples, { pieceBytes });
    expect(bytes).toBe(1.25 * (kept + backward + pieceBytes + parts + grams + tables));
    expect([passes, paths.size, rest.pieceBytes]).toEqual([[[0, 1]], 0, pieceBytes]);
    const half = forecastPasses({ ...policy, activations: "f16" }, samples, { pieceBytes });
    expect(half.bytes).toBe(bytes - 1.25 * (2 * 6 * 2 * 38 + 6 * 2 * 8 + 2 * 2 * 5 * 4 + 6 * 2 * 18));
    // one parameter less; the embedding's gradients of both samples, and where each row is
    expect(forecastPasses(tied, samples, { pieceBytes }).bytes).toBe(bytes + 1.25 * (4 * 2 * 40 + 40 - 16));
    // too large to keep: of the 6 rows looked up, and of the head's 10 and 4 columns; the piece of least size is 16 KiB
    expect(forecastPasses(tied, samples, { pieceBytes: 64 }).bytes).toBe(
      bytes + 1.25 * (4 * 5 * (6 + 10 + 4) + 40 - 16 - (pieceBytes - 2 ** 14) - 6 * 16),
    );
    const trainedShapes = [
      { name: "a", shape: [2, 4] },
      { name: "b", shape: [8, 2] },
    ];
    const adapted = forecastPasses({ ...tied, adapter: {}, trainedShapes }, samples, { pieceBytes });
    expect(adapted.bytes).toBe(bytes + 1.25 * (4 * 6 * (4 + 12) - 25 * 16));
    // forward and the gradients of activations, and two directions
    expect(adapted.flops).toBe(4 * (6 * 276 + 5 * 40) + 1120 + 4 * 2 * 24);
  });

  test("operations: forward and backward, attention, and two a parameter and sample for each of two products", () => {
    const count = storedShapes(config).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
    expect(count).toBe(356);
    const attention = 7 * 2 * 4 * (4 ** 2 + 2 ** 2);
    const passes = 6 * (6 * (356 - 80) + 5 * 40) + attention;
    expect(forecastPasses(policy, samples, { pieceBytes }).flops).toBe(passes + 4 * 2 * 356);
    expect(forecastPasses(tied, samples, { pieceBytes }).flops).toBe(passes + 4 * 2 * 316);
  });

  test("a Gram by tokens or projected: memory of the widest matrix, and operations matrix by matrix", () => {
    // one sample, N = 2000, R = 1000
    const long = [{ tokens: Array(2001).fill(1), responseStart: 1001 }];
    const of = (wishes: Parameters<typeof forecastPasses>[3]) =>
      forecastPasses(policy, long, { pieceBytes }, wishes);
    const rest = 904_000 + 432_000 + 320 + 108 + 8136;
    expect(of({ path: "product", hasGradient: false }).bytes).toBe(1.25 * (rest + pieceBytes));
    const token = of({ path: "token", hasGradient: false });
    // gate and up: 4 columns of inputs, twice 12 of gradients; four arrays over pairs of tokens
    expect(token.bytes).toBe(1.25 * (rest + 4 * 2000 * (4 + 24) + 4 * (4 * 2000 ** 2 + 3 * 2000)));
    const passes = 6 * (2000 * 276 + 1000 * 40) + 7 * 2 * 4 * 2000 ** 2;
    const tokens = (O: number, I: number, N = 2000) => N ** 2 * (O + I) - 2 * N * O * I;
    const layer = tokens(8, 4) + tokens(4, 4) + tokens(12, 4) + tokens(4, 6);
    // vectors and the embedding by the product of a gradient with itself
    expect(token.flops).toBe(passes + 2 * layer + tokens(10, 4, 1000) + 2 * 36 + 2 * 40);
    const gradient = of({ path: "token", hasGradient: true }).flops - token.flops;
    expect(gradient).toBe(2 * 2000 * 2 * (32 + 16 + 48 + 24) + 2 * 1000 * 40 + 2 * 36 + 2 * 40);
    const projected = of({ path: "projected", hasGradient: false, rank: 2 });
    expect(projected.bytes).toBe(1.25 * (rest + 4 * ((28 + 10) * 2000 + 2 * (28 + 8) + 3 * 4)));
    const two = (O: number, I: number, N = 2000) => 2 * N * (2 * O + 2 * I + 4 - O * I) + 8;
    expect(projected.flops).toBe(
      passes + 2 * (two(8, 4) + two(4, 4) + two(12, 4) + two(4, 6)) + 2 * two(10, 4, 1000) + 2 * 36,
    );
  });

  test("a smaller budget first makes pieces smaller, then passes", () => {
    const five = Array.from({ length: 5 }, () => samples[0]);
    const plan = (budgetBytes: number, gram?: Parameters<typeof forecastPasses>[3]) =>
      forecastPasses(policy, five, { pieceBytes: 2 ** 20, budgetBytes }, gram);
    const least = forecastPasses(policy, five, { pieceBytes }).bytes;
    expect(plan(Number.POSITIVE_INFINITY).pieceBytes).toBe(2 ** 20);
    expect(plan(least)).toMatchObject({ pieceBytes, bytes: least, passes: [[0, 1, 2, 3, 4]] });
    const halves = plan(least - 1);
    expect(halves).toMatchObject({
      pieceBytes,
      passes: [
        [0, 1],
        [2, 3, 4],
      ],
    });
    expect(halves.bytes).toBe(forecastPasses(policy, five.slice(2), { pieceBytes }).bytes);
    const apart = [five.slice(2), five.slice(3)].map(
      (part) => forecastPasses(policy, part, { pieceBytes }).flops,
    );
    expect(halves.flops).toBe(apart[0] + apart[1]);
    const wish = { path: "product", hasGradient: false } as const;
    const whole = forecastPasses(policy, five, { pieceBytes }, wish).bytes;
    // all pairs of three blocks
    expect(plan(whole - 1, wish).passes).toEqual([
      [0, 1, 2],
      [0, 3, 4],
      [1, 2, 3, 4],
    ]);
    const hardware = { ...policy, launcher: { facts: { ...launcher.facts, isSoftware: false } } };
    expect([policy, hardware].map((one) => forecastPasses(one, samples, {}).pieceBytes)).toEqual([
      4 * 2 ** 20,
      32 * 2 ** 20,
    ]);
  });

  test("passes whose widest array the adapter can bind", () => {
    const five = Array.from({ length: 5 }, () => samples[0]);
    const plan = (maxBindingBytes: number, gram?: Parameters<typeof forecastPasses>[3]) => {
      const facts = { ...launcher.facts, maxBindingBytes };
      return forecastPasses({ ...policy, launcher: { facts } }, five, { pieceBytes }, gram).passes;
    };
    // 20 tokens with 12 products of gate and up, then 12
    expect(plan(4 * 20 * 12)).toEqual([[0, 1, 2, 3, 4]]);
    expect(plan(4 * 20 * 12 - 1)).toEqual([
      [0, 1],
      [2, 3, 4],
    ]);
    expect(plan(4 * 20 * 12 - 1, { path: "product", hasGradient: false })).toEqual([
      [0, 1, 2],
      [0, 3, 4],
      [1, 2, 3, 4],
    ]);
    // a sample too long for any pass is left to the arrays themselves
    expect(plan(1)).toEqual([[0], [1], [2], [3], [4]]);
  });

  test("a budget for nothing tells the least, and the longest sample", () => {
    const one = forecastPasses(policy, [samples[0]], { pieceBytes }).bytes;
    expect(() => forecastPasses(policy, [samples[1], samples[0]], { pieceBytes, budgetBytes: 1000 })).toThrow(
      `[coupling] budget too small: got 1000 bytes, expected at least ${Math.ceil(one)} for one sample at a time, of which sample 1 is the longest (5 tokens).`,
    );
    const wish = { path: "product", hasGradient: false } as const;
    expect(() => forecastPasses(policy, samples, { pieceBytes, budgetBytes: 1000 }, wish)).toThrow(
      /for two samples at a time, of which sample 0 is the longest/,
    );
  });
});
