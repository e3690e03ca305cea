/** First launches shared among devices: who launches what, what goes wrong beside, and that nothing of it reaches results. */
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/core/logger.js";
import { type Beside, FirstLaunches, isFromCache } from "../../src/gpu/first_launches.js";
import { Runtime } from "../../src/gpu/runtime.js";
import { openGpu } from "../../src/host/gpu/drivers.js";
import { testAdapter } from "../support/gpu.js";
import { testRuntime } from "../support/runtime.js";

const runtime = await testRuntime();
const never = () => false;

/** Adds `summand` to the numbers of one buffer and writes them to another. */
const kernel = (summand: number) => `
@group(0) @binding(0) var<uniform> scalars: vec4u;
@group(0) @binding(1) var<storage, read> given: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;
@compute @workgroup_size(4) fn main(@builtin(global_invocation_id) id: vec3u) {
  result[id.x] = given[id.x] + ${summand}.0 + f32(scalars.x);
}`;

const pipeline = (on: Runtime, summand: number) =>
  on.pipelines.get(`add.${summand}`, kernel(summand), ["read", "write"]);

async function newPipelines(summands: readonly number[]): Promise<void> {
  await Promise.all(summands.map((summand) => runtime.wait(pipeline(runtime, summand).compiled)));
}

async function sums(on: Runtime, summands: readonly number[]): Promise<number[]> {
  const range = () => ({ buffer: on.buffers.acquire(16, "test"), offset: 0, bytes: 16 });
  const [from, ...to] = [range(), ...summands.map(range)];
  on.upload(from, Float32Array.of(1, 2, 3, 4));
  for (const [at, summand] of summands.entries())
    on.dispatch({
      pipeline: pipeline(on, summand),
      bindings: [from, to[at]],
      scalars: Uint32Array.of(1000, 0, 0, 0),
      workgroups: 1,
      kernels: [],
    });
  const read = await on.read(to);
  return read.map((bytes) => new Float32Array(bytes)[3]);
}

function besideOf(devices: number, gpu = runtime.gpu): Beside & { opened: number } {
  const beside = {
    devices,
    opened: 0,
    open: async () => {
      beside.opened++;
      return (await gpu.requestAdapter({ powerPreference: "high-performance" })) ?? undefined;
    },
  };
  return beside;
}

describe("what is launched where", () => {
  const beside = besideOf(2);
  const launches = new FirstLaunches(runtime.pipelines, beside, runtime.wait, never);

  test("each new pipeline once, on one of the devices", async () => {
    const summands = Array.from({ length: 40 }, (_, at) => 100 + at);
    await newPipelines(summands);
    const report = await launches.share();
    expect(report.own + report.beside).toBe(40);
    expect(report.own).toBeGreaterThan(1);
    expect(report.beside).toBeGreaterThan(0);
    expect(beside.opened).toBe(2);
    expect(await sums(runtime, summands)).toEqual(summands.map((summand) => 1004 + summand));
  });

  test("none again, and few ones are left to their first use", async () => {
    expect(await launches.share()).toEqual({ own: 0, beside: 0, wasCached: true });
    await newPipelines([200, 201, 202]);
    expect(await launches.share()).toMatchObject({ own: 0, beside: 0 });
    expect(beside.opened).toBe(2);
  });

  test("one alone where the cache has it", async () => {
    await newPipelines([300, 301, 302, 303]);
    const asked: number[] = [];
    const cached = new FirstLaunches(runtime.pipelines, beside, runtime.wait, (ms, characters) => {
      asked.push(characters);
      return ms >= 0;
    });
    expect(await cached.share()).toEqual({ own: 1, beside: 0, wasCached: true });
    expect(asked).toEqual([kernel(300).length]);
    expect(beside.opened).toBe(2);
  });

  // what lavapipe took for kernels of a training step
  test.each([
    [4202, 53376, false],
    [521, 8537, false],
    [98, 2069, false],
    [15, 53376, true],
    [7, 8047, true],
    [5, 1442, true],
  ])("%i ms for %i characters: from the cache %s", (ms, characters, expected) => {
    expect(isFromCache(ms, characters)).toBe(expected);
  });
});

describe("what goes wrong beside is left to the first device", () => {
  const refused = {
    requestDevice: () => Promise.reject(new Error("no more devices")),
    features: new Set(),
    limits: {},
  } as unknown as GPUAdapter;
  test.each<[string, Beside["open"]]>([
    ["no adapter", async () => undefined],
    ["an error", () => Promise.reject(new Error("gone"))],
    ["no device", async () => refused],
  ])("%s", async (name, open) => {
    const summands = [0, 1, 2, 3].map((at) => 1000 * name.length + at);
    const launches = new FirstLaunches(runtime.pipelines, { devices: 3, open }, runtime.wait, never);
    await newPipelines(summands);
    expect(await launches.share()).toMatchObject({ beside: 0 });
    expect(await sums(runtime, summands)).toEqual(summands.map((summand) => 1004 + summand));
  });
});

test("a runtime with devices beside computes the same, and tells of shaders that do not compile", async () => {
  const { gpu, adapter, wait } = await testAdapter();
  const shared = await Runtime.create({ gpu, adapter, beside: besideOf(1, gpu), ...(wait && { wait }) });
  try {
    const summands = [1, 2, 3, 4, 5, 6];
    expect(await sums(shared, summands)).toEqual(summands.map((summand) => 1004 + summand));
    const range = { buffer: shared.buffers.acquire(16, "test"), offset: 0, bytes: 16 };
    shared.dispatch({
      pipeline: shared.pipelines.get("broken.entry", "fn main(", ["write"]),
      bindings: [range],
      scalars: new Uint32Array(4),
      workgroups: 1,
      kernels: [],
    });
    await expect(shared.flush()).rejects.toThrow("[broken.entry] the shader did not compile");
    expect(await sums(shared, [7])).toEqual([1011]);
  } finally {
    await shared.dispose();
  }
});

test("devices beside are for lavapipe with its cache", async () => {
  const open = (env: Record<string, string>) =>
    openGpu({ preset: "checked", env: { ...process.env, ...env }, logger: silentLogger });
  const { choice, beside } = await open({});
  if (choice.kind !== "lavapipe") expect(beside).toBeUndefined();
  else {
    expect(beside?.devices).toBeGreaterThanOrEqual(1);
    expect(await beside?.open()).toMatchObject({ info: expect.anything() });
    expect((await open({ MESA_SHADER_CACHE_DISABLE: "true" })).beside).toBeUndefined();
  }
});
