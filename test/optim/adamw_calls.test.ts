/** What AdamW hands its kernels, keeps and gives back, on a device that computes nothing. The numbers are those of adamw.test.ts. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { globals } from "webgpu";
import { FlatParameters, type FlatParametersOptions } from "../../src/autograd/flat_parameters.js";
import { Tensor } from "../../src/autograd/tensor.js";
import { planningRuntime } from "../../src/gpu/planning_device.js";
import { Launcher } from "../../src/kernels/index.js";
import { adamwInto, adamwSumWords } from "../../src/kernels/steps/adamw.js";
import { AdamW, type AdamWOptions } from "../../src/optim/adamw.js";

vi.mock("../../src/kernels/steps/adamw.js", async (original) => {
  const real = await original<typeof import("../../src/kernels/steps/adamw.js")>();
  return { ...real, adamwInto: vi.fn(), adamwSumWords: vi.fn(real.adamwSumWords) };
});
beforeEach(() => {
  vi.clearAllMocks();
});
afterEach(() => {
  vi.restoreAllMocks();
});
// constants alone
Object.assign(globalThis, globals);
const launcher = new Launcher(await planningRuntime({ isSoftware: true }));
const { runtime } = launcher;

/** 64 numbers of matrices, 64 of vectors. */
const shapes = [
  { name: "matrix", shape: [8, 8] },
  { name: "gain", shape: [5] },
];
const open = (options: Partial<AdamWOptions> = {}, memory: FlatParametersOptions = {}) => {
  const parameters = new FlatParameters(runtime, shapes, memory);
  return { parameters, optimizer: new AdamW({ parameters, launcher, lr: 0.5, ...options }) };
};
const lastCall = () => vi.mocked(adamwInto).mock.lastCall?.[2];

test("a step has the settings, or the defaults, and decays matrices alone", () => {
  const { parameters, optimizer } = open({
    ...{ betas: [0.5, 0.25], eps: 0.125, weightDecay: 0.1, maxGradNorm: 3 },
    lossScale: { initial: 2, largest: 8, growthInterval: 4 },
  });
  const changed = vi.spyOn(parameters, "changed");
  optimizer.step();
  expect(changed).toHaveBeenCalledTimes(1);
  expect(vi.mocked(adamwInto).mock.lastCall?.slice(0, 2)).toEqual([launcher, launcher.facts]);
  const call = lastCall();
  expect(call).toMatchObject({
    ...{ lr: 0.5, beta1: 0.5, beta2: 0.25, eps: 0.125, maxNorm: 3, growthInterval: 4, maxScale: 8 },
  });
  const [matrices, vectors] = parameters.buckets;
  expect(call?.buckets.map(({ value, gradient }) => [value, gradient])).toEqual([
    [matrices.master, matrices.gradient],
    [vectors.master, vectors.gradient],
  ]);
  expect(call?.buckets.map(({ decay, half }) => [decay, half])).toEqual([
    [0.05, undefined],
    [0, undefined],
  ]);
  for (const { firstMoment, secondMoment } of call?.buckets ?? []) {
    expect([firstMoment.shape, secondMoment.shape]).toEqual([[64], [64]]);
    expect([firstMoment.dtype, secondMoment.dtype]).toEqual(["f32", "f32"]);
    expect(firstMoment).not.toBe(secondMoment);
  }
  expect(vi.mocked(adamwSumWords).mock.lastCall).toEqual([[64, 64], launcher.facts]);
  optimizer.step(0.25);
  expect(lastCall()).toMatchObject({ lr: 0.25, buckets: [{ decay: 0.025 }, { decay: 0 }] });
  open().optimizer.step();
  expect(lastCall()).toMatchObject({
    ...{ lr: 0.5, beta1: 0.9, beta2: 0.999, eps: 1e-8, maxNorm: 0, growthInterval: 0, maxScale: 1 },
    buckets: [{ decay: 0 }, { decay: 0 }],
  });
  open({ lossScale: {} }).optimizer.step();
  expect(lastCall()).toMatchObject({ growthInterval: 200, maxScale: 2 ** 16 });
});

test("halves are written beside masters; what is frozen has no moments and takes no part", async () => {
  const mixed = open({ moments: "f16" }, { storage: "f16" });
  mixed.optimizer.step();
  const [matrices] = mixed.parameters.buckets;
  const [first] = lastCall()?.buckets ?? [];
  expect([first.value, first.half]).toEqual([matrices.master, matrices.value]);
  expect([first.firstMoment.dtype, first.secondMoment.dtype]).toEqual(["f16", "f16"]);
  const partly = open({}, { requiresGrad: (name) => name === "gain" });
  partly.optimizer.step();
  expect(lastCall()?.buckets).toHaveLength(1);
  expect(vi.mocked(adamwSumWords).mock.lastCall?.[0]).toEqual([64]);
  expect(partly.optimizer.state().map(({ name }) => name)).toEqual([
    "counter",
    "exp_avg.gain",
    "exp_avg_sq.gain",
  ]);
  expect(() => partly.optimizer.release()).not.toThrow();
});

test("values out of range are refused, those at the edge are not", () => {
  const refusal = (name: string, value: number, rule: string) =>
    `[adamw] ${name} is out of range: got ${value}, expected ${rule}. Change it.`;
  const least = "a number of at least 0";
  for (const name of ["lr", "weightDecay", "maxGradNorm"])
    for (const value of [-1, Number.POSITIVE_INFINITY, Number.NaN])
      expect(() => open({ [name]: value })).toThrow(refusal(name, value, least));
  expect(() => open({ lr: 0, weightDecay: 0, maxGradNorm: 0, betas: [0, 0] })).not.toThrow();
  for (const betas of [
    [-0.1, 0.5],
    [0.5, 1],
  ] as const)
    expect(() => open({ betas })).toThrow("[adamw] betas is out of range: got ");
  expect(() => open({ betas: [0.5, 1] })).toThrow(refusal("betas", 1, "numbers in [0, 1)"));
  for (const eps of [0, -1, Number.POSITIVE_INFINITY])
    expect(() => open({ eps })).toThrow(refusal("eps", eps, "a number above 0"));
  const { optimizer } = open();
  for (const lr of [-1, Number.POSITIVE_INFINITY])
    expect(() => optimizer.step(lr)).toThrow(refusal("lr", lr, least));
  expect(adamwInto).not.toHaveBeenCalled();
  optimizer.step(0);
  expect(lastCall()?.lr).toBe(0);
  expect(() => open({}, { requiresGrad: false })).toThrow(
    "[adamw] the parameters are frozen. Make them with requiresGrad true.",
  );
  const scale = (name: string, value: number, rule: string) =>
    `[loss_scale] ${name} is out of range: got ${value}, expected ${rule}. Change it.`;
  const power = "a power of two of at least 1";
  for (const largest of [0.5, 3, Number.POSITIVE_INFINITY])
    expect(() => open({ lossScale: { largest } })).toThrow(scale("largest", largest, power));
  for (const initial of [0.5, 3, 16])
    expect(() => open({ lossScale: { initial, largest: 8 } })).toThrow(
      scale("initial", initial, "a power of two from 1 to 8"),
    );
  for (const growthInterval of [-1, 0.5])
    expect(() => open({ lossScale: { growthInterval } })).toThrow(
      scale("growthInterval", growthInterval, "an integer of at least 0"),
    );
  expect(() => open({ lossScale: { initial: 8, largest: 8, growthInterval: 0 } })).not.toThrow();
  expect(() => open({ lossScale: { initial: 1, largest: 1 } })).not.toThrow();
});

test("statistics are words and floats of the state", async () => {
  const { optimizer } = open({ lossScale: {} });
  const state = new Uint32Array(8);
  state.set([7, 1], 0);
  state[6] = 3;
  new Float32Array(state.buffer).set([2.5, 0.25], 2);
  const read = vi.spyOn(runtime, "read").mockResolvedValue([state.buffer, Float32Array.of(16).buffer]);
  expect(await optimizer.stats()).toEqual({
    ...{ steps: 7, skipped: true, gradNorm: 2.5, clipScale: 0.25, skippedSteps: 3, lossScale: 16 },
  });
  optimizer.step();
  expect(read.mock.calls[0][0]).toEqual([lastCall()?.state.range, optimizer.lossScale?.range]);
  state[1] = 0;
  expect((await optimizer.stats()).skipped).toBe(false);
  expect(open().optimizer.lossScale).toBeUndefined();
});

test("the loss scale begins as asked, with its inverse", () => {
  const from = vi.spyOn(Tensor, "from");
  const begun = (options: Partial<AdamWOptions>) => {
    from.mockClear();
    open(options);
    return from.mock.calls.map(([, data]) => [...data]).find(({ length }) => length === 3);
  };
  expect(begun({ lossScale: { initial: 4 } })).toEqual([4, 0.25, 0]);
  expect(begun({ lossScale: {} })).toEqual([4096, 2 ** -12, 0]);
  expect(begun({})).toEqual([1, 1, 0]);
});

test("the state of a checkpoint: names, shapes, and what does not fit is refused before anything is loaded", async () => {
  const { optimizer } = open({ lossScale: {} });
  const described = optimizer.state().map(({ name, shape, dtype }) => [name, shape, dtype]);
  expect(described).toEqual([
    ["counter", [8], "u32"],
    ["loss_scale", [3], "f32"],
    ["exp_avg.matrix", [8, 8], "f32"],
    ["exp_avg.gain", [5], "f32"],
    ["exp_avg_sq.matrix", [8, 8], "f32"],
    ["exp_avg_sq.gain", [5], "f32"],
  ]);
  const saved = new Map<string, Float32Array | Uint32Array>();
  for (const { name, read } of optimizer.state()) saved.set(name, await read());
  expect(saved.get("counter")).toEqual(new Uint32Array(8));
  expect(saved.get("exp_avg.matrix")).toEqual(new Float32Array(64));
  const upload = vi.spyOn(Tensor.prototype, "upload");
  const refused = (
    name: string,
    values: Float32Array | Uint32Array | undefined,
    got: string,
    rule: string,
  ) => {
    const wrong = new Map(saved);
    if (values) wrong.set(name, values);
    else wrong.delete(name);
    expect(() => optimizer.load(wrong)).toThrow(
      `[adamw] optimiser state does not fit: got ${got} values for ${name}, expected ${rule}. Resume from a checkpoint of the same model.`,
    );
  };
  refused("exp_avg_sq.gain", undefined, "no", "5 of f32");
  refused("exp_avg_sq.gain", new Float32Array(4), "4", "5 of f32");
  refused("exp_avg.matrix", new Uint32Array(64), "64", "64 of f32");
  refused("counter", new Float32Array(8), "8", "8 of u32");
  expect(upload).not.toHaveBeenCalled();
  optimizer.load(saved);
  expect(upload.mock.calls.map(([{ length }]) => length)).toEqual(expect.arrayContaining([8, 3]));
  expect(
    open()
      .optimizer.state()
      .map(({ name }) => name),
  ).not.toContain("loss_scale");
});

test("moments in halves are shown as what they stand for, and stored as they are kept", async () => {
  const { parameters, optimizer } = open({ moments: "f16" });
  vi.spyOn(parameters, "readLike").mockResolvedValue(Float32Array.of(2 ** 12, 2 ** 13));
  const load = vi.spyOn(parameters, "loadLike").mockImplementation(() => {});
  const [, first, , second] = optimizer.state();
  expect([first.name, second.name]).toEqual(["exp_avg.matrix", "exp_avg_sq.matrix"]);
  // m times 2^12, and the root of v times 2^12
  expect([await first.read(), await second.read()]).toEqual([Float32Array.of(1, 2), Float32Array.of(1, 4)]);
  for (const one of [first, second]) one.load(Float32Array.of(1, 4));
  expect(load.mock.calls.map(([, name, values]) => [name, values])).toEqual([
    ["matrix", Float32Array.of(2 ** 12, 2 ** 14)],
    ["matrix", Float32Array.of(2 ** 12, 2 ** 13)],
  ]);
  const [flat] = load.mock.calls[0];
  optimizer.step();
  expect(flat).toEqual(lastCall()?.buckets.map(({ firstMoment }) => firstMoment));
  expect(load.mock.calls[1][0]).toEqual(lastCall()?.buckets.map(({ secondMoment }) => secondMoment));
  const whole = open();
  vi.spyOn(whole.parameters, "readLike").mockResolvedValue(Float32Array.of(3));
  const wholeLoad = vi.spyOn(whole.parameters, "loadLike").mockImplementation(() => {});
  const [, plain] = whole.optimizer.state();
  expect(await plain.read()).toEqual(Float32Array.of(3));
  plain.load(Float32Array.of(3));
  expect(wholeLoad.mock.calls[0][2]).toEqual(Float32Array.of(3));
});

test("all that it holds is given back, once", () => {
  const parameters = new FlatParameters(runtime, shapes);
  const live = runtime.buffers.liveBytes;
  for (const lossScale of [undefined, {}]) {
    const optimizer = new AdamW({ parameters, launcher, lr: 1, lossScale });
    expect(runtime.buffers.liveBytes).toBeGreaterThan(live);
    optimizer.release();
    expect(runtime.buffers.liveBytes).toBe(live);
    optimizer.release();
    expect(runtime.buffers.liveBytes).toBe(live);
  }
});
