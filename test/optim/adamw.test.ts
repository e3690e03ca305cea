import { Float16Array, f16round } from "@petamoriken/float16";
import { describe, expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import type { NamedShape } from "../../src/autograd/parameter_slots.js";
import { Random } from "../../src/core/random.js";
import { Launcher } from "../../src/kernels/index.js";
import { AdamW, type AdamWOptions, type AdamWStats } from "../../src/optim/adamw.js";
import { testRuntime } from "../support/runtime.js";

// the optimiser packs halves itself, so its shaders run where the adapter knows no f16
const features = new Set(["shader-f16"]);
const families = [
  ["adapter's own", new Launcher(await testRuntime({ features }))],
  ["GPU", new Launcher(await testRuntime({ features, isSoftware: false }))],
] as const;

const shapes: readonly NamedShape[] = [
  { name: "matrix", shape: [37, 19] },
  { name: "gain", shape: [65] },
  { name: "wide", shape: [130, 257] },
  { name: "one", shape: [1] },
];
const settings = { lr: 0.01, betas: [0.9, 0.95], eps: 1e-6, weightDecay: 0.1 } as const;

type Values = Record<string, Float32Array>;

function normals(random: Random, scale = 1): Values {
  return Object.fromEntries(
    shapes.map(({ name, shape }) => {
      const size = shape.reduce((product, value) => product * value, 1);
      return [name, Float32Array.from({ length: size }, () => scale * random.normal())];
    }),
  );
}

function setUp(launcher: Launcher, options: Partial<AdamWOptions> = {}, maxBucketBytes?: number) {
  const parameters = new FlatParameters(launcher.runtime, shapes, { maxBucketBytes });
  const optimiser = new AdamW({ ...settings, ...options, parameters, launcher });
  for (const [name, values] of Object.entries(normals(Random.of(1)))) parameters.load(name, values);
  const step = (gradients: Values, lr?: number) => {
    for (const [name, values] of Object.entries(gradients)) parameters.get(name).grad?.upload(values);
    optimiser.step(lr);
  };
  const readAll = async () => {
    const values: Values = {};
    for (const { name } of shapes) values[name] = await parameters.read(name);
    return values;
  };
  const release = () => {
    optimiser.release();
    parameters.release();
  };
  return { parameters, optimiser, step, readAll, release };
}

/** Floats at, just below and just above the middle of two halves, from 0 past the largest half, of both signs. */
function halfwayFloats(count: number): Float32Array {
  const bits = Uint16Array.from({ length: count }, (_, i) => (i * 13) % 0x7c00);
  const halves = new Float16Array(bits.buffer);
  return Float32Array.from(bits, (pattern, i) => {
    const next = pattern + 1 < 0x7c00 ? new Float16Array(Uint16Array.of(pattern + 1).buffer)[0] : 65_536;
    const middle = (halves[i] + next) / 2;
    const value = [middle, middle * (1 - 2 ** -23), middle * (1 + 2 ** -23), halves[i]][i % 4];
    return (i & 4) === 0 ? value : -value;
  });
}

function times(gradients: Values, factor: number): Values {
  return Object.fromEntries(
    Object.entries(gradients).map(([name, values]) => [name, values.map((value) => value * factor)]),
  );
}

async function stateOf(optimiser: AdamW): Promise<Record<string, Float32Array | Uint32Array>> {
  const values: Record<string, Float32Array | Uint32Array> = {};
  for (const { name, read } of optimiser.state()) values[name] = await read();
  return values;
}

function withoutScale({ lossScale, ...stats }: AdamWStats): Omit<AdamWStats, "lossScale"> {
  return stats;
}

/** AdamW in float64, written like the algorithm. */
class ReferenceAdamW {
  readonly values: Record<string, Float64Array>;
  readonly #m: Record<string, Float64Array> = {};
  readonly #v: Record<string, Float64Array> = {};
  #t = 0;

  constructor(values: Values) {
    this.values = Object.fromEntries(
      Object.entries(values).map(([name, data]) => [name, Float64Array.from(data)]),
    );
    for (const [name, data] of Object.entries(values)) {
      this.#m[name] = new Float64Array(data.length);
      this.#v[name] = new Float64Array(data.length);
    }
  }

  step(gradients: Values, maxNorm = 0): number {
    this.#t++;
    const [beta1, beta2] = settings.betas;
    const norm = Math.sqrt(
      Object.values(gradients).reduce((sum, data) => sum + data.reduce((part, g) => part + g * g, 0), 0),
    );
    const scale = maxNorm > 0 ? Math.min(1, maxNorm / (norm + 1e-6)) : 1;
    for (const { name, shape } of shapes) {
      const [value, m, v] = [this.values[name], this.#m[name], this.#v[name]];
      gradients[name].forEach((raw, i) => {
        const g = raw * scale;
        m[i] = beta1 * m[i] + (1 - beta1) * g;
        v[i] = beta2 * v[i] + (1 - beta2) * g * g;
        if (shape.length > 1) value[i] -= settings.lr * settings.weightDecay * value[i];
        const mean = m[i] / (1 - beta1 ** this.#t);
        value[i] -= (settings.lr * mean) / (Math.sqrt(v[i] / (1 - beta2 ** this.#t)) + settings.eps);
      });
    }
    return norm;
  }
}

function worstError(actual: Values, expected: Record<string, Float64Array>): number {
  let worst = 0;
  for (const [name, data] of Object.entries(actual)) {
    data.forEach((value, i) => {
      const error = Math.abs(value - expected[name][i]);
      worst = Math.max(worst, Number.isFinite(error) ? error : Number.POSITIVE_INFINITY);
    });
  }
  return worst;
}

for (const [family, launcher] of families) {
  describe(`${family} family`, () => {
    for (const maxGradNorm of [0, 5]) {
      test(`20 steps match float64, maxGradNorm ${maxGradNorm}`, async () => {
        // a small bucket limit spreads the parameters over several buckets
        const run = setUp(launcher, { maxGradNorm }, 150_000);
        expect(run.parameters.buckets.length).toBe(2);
        const reference = new ReferenceAdamW(await run.readAll());
        const random = Random.of(2);
        let norm = 0;
        for (let i = 0; i < 20; i++) {
          const gradients = normals(random, 0.05 * (i + 1));
          run.step(gradients);
          norm = reference.step(gradients, maxGradNorm);
        }
        expect(worstError(await run.readAll(), reference.values)).toBeLessThan(5e-6);
        const stats = await run.optimiser.stats();
        expect(Math.abs(stats.gradNorm / norm - 1)).toBeLessThan(1e-6);
        expect(stats).toMatchObject({ steps: 20, skipped: false, skippedSteps: 0 });
        expect(stats.clipScale).toBeCloseTo(maxGradNorm === 0 ? 1 : maxGradNorm / norm, 6);
        run.release();
      });
    }

    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 3e38]) {
      test(`a gradient with ${bad} skips the whole step`, async () => {
        const run = setUp(launcher, { maxGradNorm: 1 });
        const first = normals(Random.of(3));
        const second = normals(Random.of(4));
        run.step(first);
        const before = await run.readAll();
        const places: readonly (readonly [string, number])[] = [
          ["one", 0],
          ["wide", 20_001],
          ["matrix", 702],
          ["gain", 63],
        ];
        for (const [count, [name, index]] of places.entries()) {
          const values = second[name].slice();
          values[index] = bad;
          run.step({ ...second, [name]: values });
          expect(await run.readAll()).toEqual(before);
          expect(await run.optimiser.stats()).toMatchObject({
            steps: 1,
            skipped: true,
            skippedSteps: count + 1,
            clipScale: 0,
          });
        }
        run.step(second);
        expect(await run.optimiser.stats()).toMatchObject({ steps: 2, skipped: false });
        const untouched = setUp(launcher, { maxGradNorm: 1 });
        untouched.step(first);
        untouched.step(second);
        expect(await run.readAll()).toEqual(await untouched.readAll());
        run.release();
        untouched.release();
      });
    }

    test("a resumed run is bit-equal, whatever the buckets, and leaves no memory behind", async () => {
      const live = launcher.runtime.buffers.liveBytes;
      const gradients = [5, 6, 7, 8].map((seed) => normals(Random.of(seed)));
      const lossScale = { initial: 2, growthInterval: 3 };
      const whole = setUp(launcher, { maxGradNorm: 1, lossScale });
      for (const gradient of gradients) whole.step(gradient);
      const half = setUp(launcher, { maxGradNorm: 1, lossScale });
      for (const gradient of gradients.slice(0, 2)) half.step(gradient);
      const saved = new Map(Object.entries(await stateOf(half.optimiser)));
      const resumed = setUp(launcher, { maxGradNorm: 1, lossScale });
      for (const [name, values] of Object.entries(await half.readAll()))
        resumed.parameters.load(name, values);
      resumed.optimiser.load(saved);
      for (const gradient of gradients.slice(2)) resumed.step(gradient);
      expect(await resumed.readAll()).toEqual(await whole.readAll());
      expect(await resumed.optimiser.stats()).toEqual(await whole.optimiser.stats());
      expect((await resumed.optimiser.stats()).lossScale).toBe(4);
      saved.delete("exp_avg.gain");
      expect(() => resumed.optimiser.load(saved)).toThrow("exp_avg.gain");
      for (const run of [whole, half, resumed]) run.release();
      expect(launcher.runtime.buffers.liveBytes).toBe(live);
    });

    test("moments in f16 keep their average, follow float64 within their bound, and resume bit for bit", async () => {
      const betas = [0.9, 0.999] as const;
      const still = setUp(launcher, { moments: "f16", betas, weightDecay: 0 });
      const start = normals(Random.of(5), 0.01);
      still.step(start);
      const zeros = times(start, 0);
      for (let i = 0; i < 400; i++) still.step(zeros);
      const { "exp_avg_sq.wide": v } = await stateOf(still.optimiser);
      // rounded to the nearest, the root would not move at all: it changes by half a last bit in a step
      const ratios = [...start.wide.keys()]
        .filter((i) => Math.abs(start.wide[i]) > 1e-3)
        .map((i) => v[i] / (0.001 * start.wide[i] ** 2 * 0.999 ** 400));
      expect(Math.abs(ratios.reduce((a, b) => a + b, 0) / ratios.length - 1)).toBeLessThan(2e-3);
      expect(Math.max(...ratios.map((ratio) => Math.abs(ratio - 1)))).toBeLessThan(0.1);
      still.release();

      const [exact, rounded, resumed] = (["f32", "f16", "f16"] as const).map((moments) =>
        setUp(launcher, { moments, maxGradNorm: 1 }),
      );
      const gradients = Array.from({ length: 12 }, (_, i) => normals(Random.of(30 + i), 10 ** -(i % 5)));
      for (const [i, gradient] of gradients.entries()) {
        exact.step(gradient);
        rounded.step(gradient);
        if (i === 5) {
          for (const [name, values] of Object.entries(await rounded.readAll()))
            resumed.parameters.load(name, values);
          resumed.optimiser.load(new Map(Object.entries(await stateOf(rounded.optimiser))));
        }
        if (i > 5) resumed.step(gradient);
      }
      expect(await stateOf(resumed.optimiser)).toEqual(await stateOf(rounded.optimiser));
      expect(await resumed.readAll()).toEqual(await rounded.readAll());
      const [expected, actual] = [await stateOf(exact.optimiser), await stateOf(rounded.optimiser)];
      for (const [name, values] of Object.entries(expected)) {
        if (name === "counter") continue;
        const largest = Math.max(...Array.from(values, Math.abs));
        const worst = Math.max(...Array.from(values, (value, i) => Math.abs(actual[name][i] - value)));
        expect(worst / largest, name).toBeLessThan(3e-3);
        expect(worst, name).toBeGreaterThan(0);
      }
      const values = await exact.readAll();
      const wide = Object.fromEntries(
        Object.entries(values).map(([name, data]) => [name, Float64Array.from(data)]),
      );
      // twelve steps of at most about the learning rate each
      expect(worstError(await rounded.readAll(), wide)).toBeLessThan(12 * settings.lr * 0.01);
      for (const run of [exact, rounded, resumed]) run.release();
    });

    test("gradients times a power of two give the step of the gradients themselves, bit for bit", async () => {
      for (const maxGradNorm of [0, 1]) {
        const plain = setUp(launcher, { maxGradNorm });
        const scaled = setUp(launcher, { maxGradNorm, lossScale: { initial: 2 ** 12, growthInterval: 2 } });
        expect(plain.optimiser.lossScale).toBeUndefined();
        // the scale doubles after steps 2 and 4
        for (const [step, scale] of [2 ** 12, 2 ** 12, 2 ** 13, 2 ** 13, 2 ** 14].entries()) {
          expect(await scaled.optimiser.lossScale?.read()).toEqual(Float32Array.of(scale));
          const gradients = normals(Random.of(10 + step), 0.1 * (step + 1));
          plain.step(gradients);
          scaled.step(times(gradients, scale));
          expect(await scaled.readAll()).toEqual(await plain.readAll());
          const { lossScale, ...stats } = await scaled.optimiser.stats();
          expect(stats).toEqual(withoutScale(await plain.optimiser.stats()));
        }
        const { counter, ...moments } = await stateOf(plain.optimiser);
        expect(await stateOf(scaled.optimiser)).toMatchObject(moments);
        plain.release();
        scaled.release();
      }
    });

    test("a step writes the nearest halves of matrices beside their floats", async () => {
      const parameters = new FlatParameters(launcher.runtime, shapes, { storage: "f16" });
      const optimiser = new AdamW({ ...settings, parameters, launcher, lr: 0, weightDecay: 0 });
      const values = { ...normals(Random.of(1)), wide: halfwayFloats(130 * 257) };
      values.wide.set([65_536, -70_000, 1e6, 3e38]);
      for (const [name, data] of Object.entries(values)) parameters.load(name, data);
      // at a learning rate of 0 a step changes no float, so halves can only come from rounding these
      parameters.get("wide").upload(new Float32Array(130 * 257));
      optimiser.step();
      expect(await parameters.get("wide").read()).toEqual(values.wide.map(f16round));
      expect(await parameters.read("wide")).toEqual(values.wide);
      for (const { name } of shapes) parameters.get(name).grad?.upload(normals(Random.of(2))[name]);
      optimiser.step(0.01);
      for (const { name, shape } of shapes) {
        const floats = await parameters.read(name);
        expect(floats).not.toEqual(values[name as keyof typeof values]);
        const read = await parameters.get(name).read();
        expect(read).toEqual(shape.length > 1 ? floats.map(f16round) : floats);
      }
      optimiser.release();
      parameters.release();
    });

    test("the loss scale halves after bad steps down to 1 and doubles after good ones up to the largest", async () => {
      const run = setUp(launcher, { lossScale: { initial: 4, largest: 8, growthInterval: 3 } });
      const good = normals(Random.of(20), 0.1);
      const bad = { ...good, one: Float32Array.of(Number.POSITIVE_INFINITY) };
      const scales: number[] = [];
      for (const kind of "gbggbbggggggggggggg") {
        run.step(kind === "g" ? good : bad);
        scales.push((await run.optimiser.stats()).lossScale);
      }
      expect(scales).toEqual([4, 2, 2, 2, 1, 1, 1, 1, 2, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8]);
      expect((await stateOf(run.optimiser)).loss_scale).toEqual(Float32Array.of(8, 1 / 8, 1));
      expect(await run.optimiser.stats()).toMatchObject({ steps: 16, skippedSteps: 3 });
      run.release();
    });

    test("a step takes two dispatches, and buckets of many parts are covered whole", async () => {
      const { runtime } = launcher;
      const matrix = [1250, 511];
      const parameters = new FlatParameters(runtime, [
        { name: "matrix", shape: matrix },
        { name: "gain", shape: [7] },
      ]);
      const optimiser = new AdamW({ parameters, launcher, lr: 0.5 });
      const gradient = Float32Array.from({ length: 1250 * 511 }, (_, i) => 1 + (i % 5));
      parameters.get("matrix").grad?.upload(gradient);
      parameters.get("gain").grad?.upload(new Float32Array(7).fill(2));
      const { dispatches } = runtime.counters;
      optimiser.step();
      const { gradNorm } = await optimiser.stats();
      expect(runtime.counters.dispatches - dispatches).toBe(2);
      const norm = Math.sqrt(gradient.reduce((sum, value) => sum + value * value, 0) + 7 * 4);
      expect(Math.abs(gradNorm / norm - 1)).toBeLessThan(1e-5);
      // the first step moves every weight by the learning rate
      for (const name of ["matrix", "gain"])
        expect((await parameters.read(name)).every((value) => Math.abs(value + 0.5) < 1e-5)).toBe(true);
      optimiser.release();
      parameters.release();
    });

    test("a learning rate given to a step replaces the default", async () => {
      const run = setUp(launcher);
      const before = await run.readAll();
      run.step(normals(Random.of(9)), 0);
      expect(await run.readAll()).toEqual(before);
      run.release();
    });
  });
}

test("frozen parameters and values out of range are refused", () => {
  const launcher = families[0][1];
  const frozen = new FlatParameters(launcher.runtime, shapes, { requiresGrad: false });
  expect(() => new AdamW({ parameters: frozen, launcher, lr: 1 })).toThrow("frozen");
  frozen.release();
  const parameters = new FlatParameters(launcher.runtime, shapes);
  expect(() => new AdamW({ parameters, launcher, lr: -1 })).toThrow("lr");
  expect(() => new AdamW({ parameters, launcher, lr: 1, betas: [0.9, 1] })).toThrow("betas");
  for (const lossScale of [{ initial: 3 }, { initial: 2 ** 17 }, { largest: 0.5 }, { growthInterval: 1.5 }])
    expect(() => new AdamW({ parameters, launcher, lr: 1, lossScale })).toThrow(Object.keys(lossScale)[0]);
  parameters.release();
});

test("moments are saved by the parts of a fused parameter", async () => {
  const launcher = new Launcher(await testRuntime());
  const parts = [
    { name: "gate", shape: [2, 3], first: 0, stride: 2 },
    { name: "up", shape: [2, 3], first: 1, stride: 2 },
  ];
  const parameters = new FlatParameters(launcher.runtime, [{ name: "gate_up", shape: [4, 3], parts }]);
  const optimiser = new AdamW({ parameters, launcher, lr: 0 });
  const gradient = Float32Array.from({ length: 12 }, (_, index) => index + 1);
  parameters.get("gate_up").grad?.upload(gradient);
  optimiser.step();
  const saved = await stateOf(optimiser);
  expect(Object.keys(saved)).toEqual([
    "counter",
    "exp_avg.gate",
    "exp_avg.up",
    "exp_avg_sq.gate",
    "exp_avg_sq.up",
  ]);
  const firstOf = (values: number[]) => values.map((value) => Math.fround(0.1) * value);
  [...(saved["exp_avg.gate"] as Float32Array)].forEach((value, i) => {
    expect(value).toBeCloseTo(firstOf([1, 2, 3, 7, 8, 9])[i], 5);
  });
  [...(saved["exp_avg.up"] as Float32Array)].forEach((value, i) => {
    expect(value).toBeCloseTo(firstOf([4, 5, 6, 10, 11, 12])[i], 5);
  });
  const other = new AdamW({ parameters, launcher, lr: 0 });
  other.load(new Map(Object.entries(saved)));
  expect(await stateOf(other)).toEqual(saved);
  for (const one of [optimiser, other, parameters]) one.release();
});
