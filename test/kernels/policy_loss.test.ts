import { describe, expect, test } from "vitest";
import { Tape } from "../../src/autograd/tape.js";
import { Tensor } from "../../src/autograd/tensor.js";
import { type Aggregation, aggregationWeights } from "../../src/core/aggregation.js";
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
const INTEGERS = new Set(["stream", "sequence_start"]);

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
        Tensor.from(runtime, INTEGERS.has(name) ? Uint32Array.from(values) : Float32Array.from(values)),
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

/** Every scalar, as a caller would leave them. */
function allScalars(N: number, params: Scalars): Scalars {
  const defaults = Object.entries(policyLoss.params ?? {}).map(([name, param]) => [name, param.default]);
  return { N, ...(Object.fromEntries(defaults) as Scalars), ...params };
}

/** Starts of sequences of 1 to 8 tokens, one a token. */
function runs(random: Random, N: number): number[] {
  const starts: number[] = [];
  while (starts.length < N) {
    const start = starts.length;
    starts.push(...Array<number>(1 + random.integer(8)).fill(start));
  }
  return starts.slice(0, N);
}

interface GradientCase {
  readonly name: string;
  readonly params: Scalars;
  /** Scalars whose loss has this gradient, where the loss itself has another. */
  readonly differentiated?: Scalars;
  /** The ratio is a constant of the loss: the old log-probability moves along. */
  readonly keepsRatio?: boolean;
}

const sequence = { ratio_level: 1, classification_ratio_level: 1 };
const GRADIENTS: readonly GradientCase[] = [
  { name: "k1", params: { kl_kind: 1, classification_kl_kind: 1, dual_clip: 1.8 } },
  { name: "k2 and k3", params: { kl_kind: 2, classification_kl_kind: 3, classification_dual_clip: 1.8 } },
  {
    name: "k3+ has the gradient of k2",
    params: { kl_kind: 4, classification_kl_kind: 4, dual_clip: 1.8 },
    differentiated: { kl_kind: 2, classification_kl_kind: 2 },
  },
  { name: "k3 corrected by the ratio", params: { kl_kind: 5, classification_kl_kind: 5 } },
  { name: "sequence ratios", params: { ...sequence, clip_low: 0.05, clip_high: 0.05, dual_clip: 1.05 } },
  { name: "sequence ratios in one stream", params: { classification_ratio_level: 1, kl_kind: 5 } },
  { name: "cispo", params: { surrogate: 1, classification_surrogate: 1 }, keepsRatio: true },
  {
    name: "cispo with sequence ratios",
    params: { ...sequence, surrogate: 1, classification_surrogate: 1, clip_low: 0.05, clip_high: 0.05 },
    keepsRatio: true,
  },
];

const normals = (random: Random, count: number, scale = 1) =>
  Float32Array.from({ length: count }, () => scale * random.normal());

for (const [family, launcher] of families) {
  describe(`${family} family`, () => {
    test.each(GRADIENTS)("gradients are those of the float64 loss, $name", async (variant) => {
      const random = Random.of(21, variant.name);
      const N = 61;
      const sequence = runs(random, N);
      const rows: Record<string, Float32Array> = {
        log_prob: normals(random, N, 0.4),
        entropy: normals(random, N).map(Math.abs),
        old_log_prob: normals(random, N, 0.4),
        reference_log_prob: normals(random, N, 0.4),
        advantage: normals(random, N),
        weight: Float32Array.from({ length: N }, (_, t) => (t % 5 === 0 ? 0 : random.uniform())),
        stream: Float32Array.from(sequence, (start) => (start >> 1) % 2),
        sequence_start: Float32Array.from(sequence),
      };
      const base = { clip_low: 0.2, clip_high: 0.28, beta: 0.3, entropy_coef: 0.02, coef: 0.7 };
      const other = {
        classification_clip_low: 0.1,
        classification_clip_high: 0.4,
        classification_beta: 0.1,
        classification_entropy_coef: 0.05,
        classification_coef: 0.5,
      };
      const params: Scalars = { ...base, ...other, ...variant.params };
      const actual = await run(launcher, rows, params);
      const exact = Object.fromEntries(
        Object.entries(rows).map(([name, values]) => [name, Float64Array.from(values)]),
      );
      const scalars = allScalars(N, { ...params, ...variant.differentiated });
      const loss = (changed: Record<string, Float64Array>) => {
        const { stats } = policyLoss.reference({ ...exact, ...changed }, scalars);
        return stats[LOSS] + stats[POLICY_STATISTICS.length + LOSS];
      };
      for (const [name, gradient] of [
        ["log_prob", actual.d_log_prob],
        ["entropy", actual.d_entropy],
      ] as const) {
        gradient.forEach((value, t) => {
          const moved = (step: number) => {
            const names = name === "log_prob" && variant.keepsRatio ? [name, "old_log_prob"] : [name];
            return loss(
              Object.fromEntries(
                names.map((one) => {
                  const copy = exact[one].slice();
                  copy[t] += step;
                  return [one, copy];
                }),
              ),
            );
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

    test("cispo: clipped tokens keep a gradient, that of the clipped ratio", async () => {
      const ratios = [0.1, 1, 3];
      const log_prob = ratios.map(Math.log);
      for (const [A, clipped] of [
        [1, 1],
        [-2, 1],
        [0, 0],
      ]) {
        const { d_log_prob, stats } = await run(
          launcher,
          { log_prob, old_log_prob: [0, 0, 0], advantage: [A, A, A] },
          { surrogate: 1, clip_low: 0.5, clip_high: 1 },
        );
        for (const [t, ratio] of [0.5, 1, 2].entries()) expect(d_log_prob[t]).toBeCloseTo(-A * ratio, 5);
        const [policy] = joinPolicyStatistics([stats]);
        expect(policy.clipFractionLow).toBeCloseTo(clipped / 3, 6);
        expect(policy.clipFractionHigh).toBeCloseTo(clipped / 3, 6);
        expect(policy.policyLoss).toBeCloseTo(-A * (0.5 * log_prob[0] + 2 * log_prob[2]), 4);
      }
    });

    test("a sequence ratio is the geometric mean of its counted tokens, and clips them together", async () => {
      // sequences of 3, 1 and 2 tokens; the masked token of the last one does not count
      const rows = {
        log_prob: [0.3, -0.1, 0.1, 0.5, 0.2, 9],
        old_log_prob: [0, 0, 0, 0, 0, 0],
        advantage: [1, 1, 1, 1, -1, -1],
        weight: [1, 1, 1, 1, 1, 0],
        sequence_start: [0, 0, 0, 3, 4, 4],
      };
      const { d_log_prob, stats } = await run(launcher, rows, { ratio_level: 1, clip_high: 0.3 });
      const whole = Math.exp(0.1);
      for (const t of [0, 1, 2]) expect(d_log_prob[t]).toBeCloseTo(-whole, 5);
      expect(d_log_prob[3]).toBe(0);
      expect(d_log_prob[4]).toBeCloseTo(Math.exp(0.2), 5);
      expect(d_log_prob[5]).toBe(0);
      const [policy] = joinPolicyStatistics([stats]);
      expect(policy.ratioMean).toBeCloseTo((3 * whole + Math.exp(0.5) + Math.exp(0.2)) / 5, 5);
      expect(policy.clipFractionHigh).toBeCloseTo(1 / 5, 6);
    });

    test("sequences of one token have the ratio of the token; ratio 1 is a tie that counts", async () => {
      const random = Random.of(25);
      const N = 33;
      const rows = {
        log_prob: normals(random, N, 0.3),
        old_log_prob: normals(random, N, 0.3),
        advantage: normals(random, N),
        weight: normals(random, N).map(Math.abs),
        sequence_start: Float32Array.from({ length: N }, (_, t) => t),
      };
      const params = { clip_high: 0.28, dual_clip: 3 };
      const token = await run(launcher, rows, params);
      const single = await run(launcher, rows, { ...params, ratio_level: 1 });
      single.d_log_prob.forEach((value, t) => {
        expect(value).toBeCloseTo(token.d_log_prob[t], 6);
      });
      const tied = { ...rows, old_log_prob: rows.log_prob, sequence_start: runs(random, N) };
      const even = {
        ...tied,
        advantage: new Float32Array(N).fill(2),
        weight: new Float32Array(N).fill(0.25),
      };
      const on = await run(launcher, even, { ratio_level: 1, clip_low: 0, clip_high: 0 });
      expect(on.d_log_prob).toEqual(new Float32Array(N).fill(-0.5));
    });

    test("each stream has its own scalars", async () => {
      const rows = {
        log_prob: [0.5, 0.5],
        old_log_prob: [0, 0],
        reference_log_prob: [0, 0],
        stream: [0, 1],
      };
      const { d_log_prob, d_entropy, stats } = await run(launcher, rows, {
        clip_high: 0.2,
        beta: 0.5,
        kl_kind: 1,
        entropy_coef: 0.1,
        classification_clip_high: 2,
        classification_beta: 0,
        classification_coef: 3,
        classification_entropy_coef: 0.2,
      });
      expect(d_log_prob[0]).toBeCloseTo(0.5, 6);
      expect(d_log_prob[1]).toBeCloseTo(-3 * Math.exp(0.5), 4);
      expect([...d_entropy].map((value) => Number(value.toFixed(6)))).toEqual([-0.1, -0.6]);
      const [policy, classification] = joinPolicyStatistics([stats]);
      expect([policy.clipFractionHigh, classification.clipFractionHigh]).toEqual([1, 0]);
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

    test.each<[Aggregation, Scalars]>([
      ["sequence_mean", {}],
      ["token_mean", sequence],
      ["sequence_sum", { surrogate: 1, classification_surrogate: 1 }],
    ])(
      "micro-batches of any size add up to one gradient and statistics: %s %j",
      async (aggregation, params) => {
        const random = Random.of(23);
        const lengths = [5, 1, 17, 9, 40, 3];
        const masks = lengths.map((length) =>
          Array.from({ length }, (_, t) => Number(t > 0 || length === 1)),
        );
        const weight = aggregationWeights(aggregation, masks, 40);
        const sequences = lengths.map((length, index) => ({
          log_prob: normals(random, length, 0.3),
          old_log_prob: normals(random, length, 0.3),
          advantage: normals(random, length),
          stream: new Float32Array(length).fill(index % 2),
          weight: weight[index],
        }));
        const batch = (part: typeof sequences): Rows => {
          const names = ["log_prob", "old_log_prob", "advantage", "stream", "weight"] as const;
          const packed = names.map((name) => [name, part.flatMap((sequence) => [...sequence[name]])]);
          const sequence_start: number[] = [];
          for (const { weight: own } of part) {
            const start = sequence_start.length;
            sequence_start.push(...Array<number>(own.length).fill(start));
          }
          return { ...Object.fromEntries(packed), sequence_start };
        };
        const whole = await run(launcher, batch(sequences), params);
        const parts = [
          await run(launcher, batch(sequences.slice(0, 2)), params),
          await run(launcher, batch(sequences.slice(2, 5)), params),
          await run(launcher, batch(sequences.slice(5)), params),
        ];
        expect(parts.flatMap(({ d_log_prob }) => [...d_log_prob])).toEqual([...whole.d_log_prob]);
        const joined = joinPolicyStatistics(parts.map(({ stats }) => stats));
        joinPolicyStatistics([whole.stats]).forEach((stream, index) => {
          for (const [name, value] of Object.entries(stream))
            expect(joined[index][name as keyof typeof stream], name).toBeCloseTo(value, 5);
        });
        expect(joined[0].tokens + joined[1].tokens).toBe(masks.flat().filter(Boolean).length);
      },
    );
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
  await expect(run(launcher, rows, { kl_kind: 6 })).rejects.toThrow("kl_kind");
  await expect(run(launcher, rows, { classification_surrogate: 2 })).rejects.toThrow(
    "classification_surrogate",
  );
  await expect(run(launcher, rows, { surrogate: 1, dual_clip: 3 })).rejects.toThrow("dual_clip");
  await expect(run(launcher, rows, { ratio_level: 1 })).rejects.toThrow("sequence_start is missing");
  await expect(run(launcher, rows, { clip_low: 2 })).rejects.toThrow("clip_low");
  await expect(run(launcher, rows, { dual_clip: 0.5 })).rejects.toThrow("dual_clip");
});
