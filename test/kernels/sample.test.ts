import { describe, expect, test } from "vitest";
import { Tape } from "../../src/autograd/tape.js";
import { Random } from "../../src/core/random.js";
import { Launcher, linearLogProb, type Scalars, sample } from "../../src/kernels/index.js";
import { keptTokens } from "../../src/kernels/steps/sample.js";
import { testRuntime } from "../support/runtime.js";

const families = [
  ["adapter's own", new Launcher(await testRuntime())],
  ["GPU", new Launcher(await testRuntime({ isSoftware: false }))],
] as const;

interface Draws {
  readonly token: Uint32Array;
  readonly logProb: Float32Array;
  readonly entropy: Float32Array;
}

/** Rows of logits with one stream each; the counter is the same for all. */
async function run(
  launcher: Launcher,
  logits: readonly ArrayLike<number>[],
  params: Scalars,
  streams = logits.map((_, b) => b),
): Promise<Draws> {
  const tape = new Tape(launcher, { record: false });
  const V = logits[0].length;
  const out = tape.apply(
    sample,
    {
      logits: tape.input(Float32Array.from(logits.flatMap((row) => Array.from(row))), [logits.length, V]),
      stream: tape.input(Uint32Array.from(streams)),
      counter: tape.input(new Uint32Array(logits.length).fill(9)),
    },
    params,
  );
  const ranges = [out.token.range, out.log_prob.range, out.entropy.range];
  const [tokens, logProbs, entropies] = await launcher.runtime.read(ranges);
  tape.release();
  return {
    token: new Uint32Array(tokens),
    logProb: new Float32Array(logProbs),
    entropy: new Float32Array(entropies),
  };
}

const repeat = (row: ArrayLike<number>, times: number) => Array.from({ length: times }, () => row);
const softmax = (row: readonly number[], temperature: number) => {
  const masses = row.map((value) => Math.exp(value / temperature));
  const total = masses.reduce((sum, mass) => sum + mass, 0);
  return masses.map((mass) => mass / total);
};

for (const [family, launcher] of families) {
  // a CPU adapter needs long for the barriers of the GPU family
  const draws = launcher.facts.isSoftware ? 4000 : 800;
  describe(`${family} family`, () => {
    test("a vocabulary of 151,936 has the log-probability and entropy of float64", async () => {
      const random = Random.of(3);
      const logits = Float32Array.from({ length: 151_936 }, () => 2 * random.normal());
      const { token, logProb, entropy } = await run(launcher, [logits], { temperature: 0.9, seed: 1 });
      const shifted = Array.from(logits, (value) => value / 0.9);
      const logSum = Math.log(shifted.reduce((sum, value) => sum + Math.exp(value), 0));
      const mean = shifted.reduce((sum, value) => sum + Math.exp(value - logSum) * value, 0);
      expect(Math.abs(logProb[0] - (shifted[token[0]] - logSum))).toBeLessThan(5e-6);
      expect(Math.abs(entropy[0] - (logSum - mean))).toBeLessThan(2e-5);
    });

    test("frequencies follow the distribution (chi-square, fixed seed)", async () => {
      const logits = [0, 1.5, -1, 0.5, 2, -0.5, 0.2, 1, -3, 0.7];
      for (const temperature of [1, 0.5]) {
        const { token } = await run(launcher, repeat(logits, draws), { temperature, seed: 11 });
        const counts = new Array(logits.length).fill(0);
        for (const id of token) counts[id]++;
        const chiSquare = softmax(logits, temperature).reduce(
          (sum, p, id) => sum + (counts[id] - draws * p) ** 2 / (draws * p),
          0,
        );
        // 9 degrees of freedom: 27.9 is exceeded once in a thousand
        expect(chiSquare).toBeLessThan(27.9);
        expect(chiSquare).toBeGreaterThan(0.5);
      }
    });

    test.each<{ top_k?: number; top_p?: number }>([
      { top_k: 3 },
      { top_p: 0.62 },
      { top_k: 7, top_p: 0.8 },
      { top_k: 1 },
      { top_p: 0.01 },
      { top_k: 99 },
    ])("draws every kept token and no other: %j", async (params) => {
      const random = Random.of(31);
      const logits = Array.from({ length: 40 }, () => Math.fround(1.5 * random.normal()));
      const { token } = await run(launcher, repeat(logits, draws), {
        top_k: params.top_k ?? 0,
        top_p: params.top_p ?? 1,
        seed: 12,
      });
      const kept = keptTokens(Float64Array.from(logits), params.top_k ?? 0, params.top_p ?? 1);
      const seen = [...new Set(token)].sort((a, b) => a - b);
      const masses = softmax(logits, 1);
      const keptMass = kept.reduce((sum, id) => sum + masses[id], 0);
      expect(seen.every((id) => kept.includes(id))).toBe(true);
      // tokens so unlikely that the draws may miss them need not appear
      expect(kept.filter((id) => (draws * masses[id]) / keptMass > 20 && !seen.includes(id))).toEqual([]);
    });

    test("tokens that tie with the last kept one stay", async () => {
      const logits = [1, 3, 1, -0, 0, 1, 2];
      const { token } = await run(launcher, repeat(logits, 200), { top_k: 3, seed: 13 });
      expect([...new Set(token)].sort()).toEqual([0, 1, 2, 5, 6]);
      const zeros = await run(launcher, repeat([-0, 0, -5], 30), { top_k: 1, seed: 13 });
      expect([...new Set(zeros.token)].sort()).toEqual([0, 1]);
    });

    test("greedy takes the lowest id of the largest logits", async () => {
      const rows = [
        [0, 5, 5, 1],
        [-3, -2, -2, -2],
        [7, 7, 7, 7],
        [-1e30, -1e30, 1, -1e30],
      ];
      const { token, logProb } = await run(launcher, rows, { temperature: 0, top_k: 2, top_p: 0.5 });
      expect([...token]).toEqual([1, 1, 0, 2]);
      for (const [b, row] of rows.entries())
        expect(logProb[b]).toBeCloseTo(Math.log(softmax(row, 1)[token[b]]), 4);
    });

    test("a row's token does not depend on the batch around it", async () => {
      const random = Random.of(32);
      const rows = Array.from({ length: 20 }, () =>
        Float32Array.from({ length: 300 }, () => random.normal()),
      );
      const whole = await run(launcher, rows, { seed: 14, top_p: 0.9 });
      for (const b of [0, 7, 19]) {
        const alone = await run(launcher, [rows[b]], { seed: 14, top_p: 0.9 }, [b]);
        expect(alone.token[0]).toBe(whole.token[b]);
        expect(alone.logProb[0]).toBe(whole.logProb[b]);
      }
      const otherSeed = await run(launcher, rows, { seed: 15, top_p: 0.9 });
      expect([...otherSeed.token]).not.toEqual([...whole.token]);
    });

    test("log-probabilities equal those of training", async () => {
      const random = Random.of(33);
      const [B, C, V] = [12, 8, 200];
      const hidden = Float32Array.from({ length: B * C }, () => random.normal());
      const weight = Float32Array.from({ length: V * C }, () => random.normal());
      const logits = Array.from({ length: B }, (_, b) =>
        Float32Array.from({ length: V }, (_, v) => {
          let sum = 0;
          for (let c = 0; c < C; c++) sum += hidden[b * C + c] * weight[v * C + c];
          return sum;
        }),
      );
      const temperature = 0.8;
      const { token, logProb } = await run(launcher, logits, { temperature, top_k: 10, seed: 16 });
      const tape = new Tape(launcher, { record: false });
      const out = tape.apply(
        linearLogProb,
        { hidden: tape.input(hidden, [B, C]), weight: tape.input(weight, [V, C]), target: tape.input(token) },
        { temperature },
      );
      const trained = await out.log_prob.read();
      tape.release();
      for (const [b, value] of logProb.entries()) expect(value).toBeCloseTo(trained[b], 4);
    });
  });
}

test("both families draw the same tokens", async () => {
  const random = Random.of(34);
  const rows = Array.from({ length: 64 }, () => Float32Array.from({ length: 500 }, () => random.normal()));
  const [own, gpu] = [
    await run(families[0][1], rows, { seed: 17, top_p: 0.95 }),
    await run(families[1][1], rows, { seed: 17, top_p: 0.95 }),
  ];
  expect([...own.token]).toEqual([...gpu.token]);
});

test("params out of range are refused", async () => {
  const [, launcher] = families[0];
  await expect(run(launcher, [[1, 2]], { temperature: -1 })).rejects.toThrow("temperature");
  await expect(run(launcher, [[1, 2]], { top_p: 0 })).rejects.toThrow("top_p");
});
