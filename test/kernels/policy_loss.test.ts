import { describe, expect, test } from "vitest";
import { Tape } from "../../src/autograd/tape.js";
import { Tensor } from "../../src/autograd/tensor.js";
import { aggregationWeights } from "../../src/core/aggregation.js";
import { Random } from "../../src/core/random.js";
import {
  joinPolicyStatistics,
  Launcher,
  linearLogProb,
  POLICY_STATISTICS,
  policyLoss,
  type Scalars,
} from "../../src/kernels/index.js";
import { testRuntime } from "../support/runtime.js";

const families = [
  ["adapter's own", new Launcher(await testRuntime())],
  ["GPU", new Launcher(await testRuntime({ isSoftware: false }))],
] as const;
const LOSS = POLICY_STATISTICS.indexOf("loss");

type Rows = Record<string, ArrayLike<number>>;
interface Result {
  readonly d_log_prob: Float32Array;
  readonly d_entropy: Float32Array;
  readonly stats: Float32Array;
}

/** Missing inputs: entropy 0, advantage 1, weight 1, old_log_prob = log_prob. */
async function run(launcher: Launcher, rows: Rows, params: Scalars = {}): Promise<Result> {
  const { runtime } = launcher;
  const N = rows.log_prob.length;
  const constant = (value: number) => new Float32Array(N).fill(value);
  const filled: Rows = {
    entropy: constant(0),
    advantage: constant(1),
    weight: constant(1),
    old_log_prob: rows.log_prob,
    ...rows,
  };
  const tape = new Tape(launcher, { record: false });
  const inputs = Object.fromEntries(
    Object.entries(filled).map(([name, values]) => [
      name,
      tape.own(
        Tensor.from(runtime, name === "stream" ? Uint32Array.from(values) : Float32Array.from(values)),
      ),
    ]),
  );
  const out = tape.apply(policyLoss, inputs, params);
  const ranges = [out.d_log_prob.range, out.d_entropy.range, out.stats.range];
  const [first, second, third] = await runtime.read(ranges);
  tape.release();
  return {
    d_log_prob: new Float32Array(first),
    d_entropy: new Float32Array(second),
    stats: new Float32Array(third),
  };
}

const normals = (random: Random, count: number, scale = 1) =>
  Float32Array.from({ length: count }, () => scale * random.normal());

for (const [family, launcher] of families) {
  describe(`${family} family`, () => {
    test.each([1, 2, 3])("gradients are those of the float64 loss, KL estimate k%d", async (kl_kind) => {
      const random = Random.of(21, kl_kind);
      const N = 61;
      const rows: Record<string, Float32Array> = {
        log_prob: normals(random, N, 0.4),
        entropy: normals(random, N).map(Math.abs),
        old_log_prob: normals(random, N, 0.4),
        reference_log_prob: normals(random, N, 0.4),
        advantage: normals(random, N),
        weight: Float32Array.from({ length: N }, (_, t) => (t % 5 === 0 ? 0 : random.uniform())),
        stream: Float32Array.from({ length: N }, (_, t) => t % 2),
      };
      const params = {
        clip_low: 0.2,
        clip_high: 0.28,
        dual_clip: 1.8,
        beta: 0.3,
        entropy_coef: 0.02,
        classification_coef: 0.5,
      };
      const actual = await run(launcher, rows, { ...params, kl_kind });
      const exact = Object.fromEntries(
        Object.entries(rows).map(([name, values]) => [name, Float64Array.from(values)]),
      );
      const loss = (changed: Record<string, Float64Array>) => {
        const { stats } = policyLoss.reference({ ...exact, ...changed }, { N, ...params, kl_kind });
        return stats[LOSS] + stats[POLICY_STATISTICS.length + LOSS];
      };
      for (const [name, gradient] of [
        ["log_prob", actual.d_log_prob],
        ["entropy", actual.d_entropy],
      ] as const) {
        gradient.forEach((value, t) => {
          const moved = (step: number) => {
            const copy = exact[name].slice();
            copy[t] += step;
            return loss({ [name]: copy });
          };
          expect(value, `${name} ${t}`).toBeCloseTo((moved(1e-6) - moved(-1e-6)) / 2e-6, 4);
        });
      }
    });

    test("on-policy, the gradient is -advantage * weight", async () => {
      const random = Random.of(22);
      const rows = {
        log_prob: normals(random, 40),
        advantage: normals(random, 40),
        weight: normals(random, 40).map(Math.abs),
      };
      const clips: Scalars[] = [{}, { clip_low: 0, clip_high: 0, dual_clip: 3 }];
      for (const params of clips) {
        const { d_log_prob, stats } = await run(launcher, rows, params);
        expect(d_log_prob).toEqual(rows.advantage.map((A, t) => Math.fround(-A * rows.weight[t])));
        expect(joinPolicyStatistics([stats])[0]).toMatchObject({
          tokens: 40,
          ratioMean: 1,
          ratioMax: 1,
          approximateKl: 0,
          clipFractionLow: 0,
          clipFractionHigh: 0,
        });
      }
    });

    test("the clip is asymmetric and acts only against the advantage's sign", async () => {
      const ratios = [0.75, 0.85, 1.25, 1.3];
      const log_prob = ratios.map(Math.log);
      const params = { clip_low: 0.2, clip_high: 0.28 };
      const old_log_prob = [0, 0, 0, 0];
      const gained = await run(launcher, { log_prob, old_log_prob }, params);
      for (const [t, value] of [-0.75, -0.85, -1.25, 0].entries())
        expect(gained.d_log_prob[t]).toBeCloseTo(value, 5);
      expect(joinPolicyStatistics([gained.stats])[0]).toMatchObject({
        clipFractionLow: 0,
        clipFractionHigh: 0.25,
      });
      const lost = await run(launcher, { log_prob, old_log_prob, advantage: [-1, -1, -1, -1] }, params);
      for (const [t, value] of [0, 0.85, 1.25, 1.3].entries())
        expect(lost.d_log_prob[t]).toBeCloseTo(value, 5);
      expect(joinPolicyStatistics([lost.stats])[0]).toMatchObject({
        clipFractionLow: 0.25,
        clipFractionHigh: 0,
      });
    });

    test("dual clip caps the loss of negative advantages only", async () => {
      const rows = { log_prob: [2, 2, 0.5], old_log_prob: [0, 0, 0], advantage: [-1, 1, -1] };
      const { d_log_prob, stats } = await run(launcher, rows, { dual_clip: 3, clip_high: 100 });
      expect(d_log_prob[0]).toBe(0);
      expect(d_log_prob[1]).toBeCloseTo(-Math.exp(2), 4);
      expect(d_log_prob[2]).toBeCloseTo(Math.exp(0.5), 5);
      const [policy] = joinPolicyStatistics([stats]);
      expect(policy.dualClipFraction).toBeCloseTo(1 / 3, 6);
      expect(policy.policyLoss).toBeCloseTo(3 - Math.exp(2) + Math.exp(0.5), 4);
    });

    test("advantage 0 and masked rows give zeros, even where masked values are absurd", async () => {
      const idle = await run(launcher, { log_prob: [0.3, -2], old_log_prob: [0, 0], advantage: [0, 0] });
      expect(idle.d_log_prob.map(Math.abs)).toEqual(Float32Array.of(0, 0));
      const rows = {
        log_prob: [1e30, Number.NaN, 5],
        old_log_prob: [-1e30, 0, Number.NaN],
        weight: [0, 0, 0],
      };
      const masked = await run(launcher, { ...rows, entropy: [Number.NaN, 1, 1] }, { entropy_coef: 1 });
      expect(masked.d_log_prob).toEqual(new Float32Array(3));
      expect(masked.d_entropy).toEqual(new Float32Array(3));
      expect(masked.stats).toEqual(new Float32Array(2 * POLICY_STATISTICS.length));
    });

    test("log-ratios beyond 20 stay finite and have no gradient", async () => {
      const rows = {
        log_prob: [0, -60, 0],
        old_log_prob: [-60, 0, 0],
        reference_log_prob: [0, 0, 60],
        advantage: [-1, 1, 0],
      };
      const { d_log_prob, stats } = await run(launcher, rows, { beta: 1 });
      expect([...d_log_prob].map(Math.abs)).toEqual([0, 0, 0]);
      expect([...stats].every(Number.isFinite)).toBe(true);
    });

    test("micro-batches of any size add up to the same gradient and statistics", async () => {
      const random = Random.of(23);
      const lengths = [5, 1, 17, 9, 40, 3];
      const masks = lengths.map((length) => Array.from({ length }, (_, t) => Number(t > 0 || length === 1)));
      const weight = aggregationWeights("sequence_mean", masks);
      const sequences = lengths.map((length, index) => ({
        log_prob: normals(random, length, 0.3),
        old_log_prob: normals(random, length, 0.3),
        advantage: normals(random, length),
        stream: new Float32Array(length).fill(index % 2),
        weight: weight[index],
      }));
      const batch = (part: typeof sequences) =>
        Object.fromEntries(
          (["log_prob", "old_log_prob", "advantage", "stream", "weight"] as const).map((name) => [
            name,
            part.flatMap((sequence) => [...sequence[name]]),
          ]),
        );
      const whole = await run(launcher, batch(sequences));
      const parts = [
        await run(launcher, batch(sequences.slice(0, 2))),
        await run(launcher, batch(sequences.slice(2, 5))),
        await run(launcher, batch(sequences.slice(5))),
      ];
      expect(parts.flatMap(({ d_log_prob }) => [...d_log_prob])).toEqual([...whole.d_log_prob]);
      const joined = joinPolicyStatistics(parts.map(({ stats }) => stats));
      joinPolicyStatistics([whole.stats]).forEach((stream, index) => {
        for (const [name, value] of Object.entries(stream))
          expect(joined[index][name as keyof typeof stream], name).toBeCloseTo(value, 5);
      });
      expect(joined[0].tokens + joined[1].tokens).toBe(masks.flat().filter(Boolean).length);
    });
  });
}

test("its gradients seed the tape through linear_log_prob", async () => {
  const [, launcher] = families[0];
  const random = Random.of(24);
  const [N, C, V] = [6, 4, 10];
  const hidden = Tensor.from(launcher.runtime, normals(random, N * C), [N, C], { requiresGrad: true });
  const weight = Tensor.from(launcher.runtime, normals(random, V * C), [V, C]);
  const tape = new Tape(launcher);
  const target = tape.input(Uint32Array.from({ length: N }, () => random.integer(V)));
  const { log_prob, entropy } = tape.apply(linearLogProb, { hidden, weight, target });
  const constant = (value: number) => tape.input(new Float32Array(N).fill(value));
  const loss = tape.apply(
    policyLoss,
    { log_prob, entropy, old_log_prob: log_prob, advantage: constant(2), weight: constant(1 / N) },
    { entropy_coef: 0.1 },
  );
  tape.backward([
    [log_prob, loss.d_log_prob],
    [entropy, loss.d_entropy],
  ]);
  const gradient = await (hidden.grad as Tensor).read();
  expect(gradient.some((value) => value !== 0)).toBe(true);
  tape.release();
  for (const tensor of [hidden, weight]) tensor.release();
});

test("params out of range are refused", async () => {
  const rows = { log_prob: [0] };
  const [, launcher] = families[0];
  await expect(run(launcher, rows, { kl_kind: 4 })).rejects.toThrow("kl_kind");
  await expect(run(launcher, rows, { clip_low: 2 })).rejects.toThrow("clip_low");
  await expect(run(launcher, rows, { dual_clip: 0.5 })).rejects.toThrow("dual_clip");
});
