import { afterEach, expect, test, vi } from "vitest";
import { silentLogger } from "../../src/core/logger.js";
import { clockResolution, selfTest } from "../../src/gpu/self_test.js";
import { defaultCacheFolder } from "../../src/host/files/folders.js";
import { DRIVER_VARIABLES, listAdapters, type OpenGpu, openGpu } from "../../src/host/gpu/drivers.js";
import { captureStderr, withNativeEnvironment } from "../../src/host/gpu/native.js";
import { temporaryFolder } from "../support/folders.js";

// Which drivers there are is what these tests choose; this process runs no other tests.
for (const variable of [...DRIVER_VARIABLES, "UNCOUPLE_ADAPTER"]) delete process.env[variable];
const onLinux = process.platform === "linux";
const hasSwiftShader = onLinux && process.arch === "x64";
const installed = await listAdapters({ preset: "checked", env: process.env, logger: silentLogger });
const hasLavapipe = installed.some((name) => name.includes("llvmpipe"));

afterEach(() => vi.unstubAllEnvs());

function open(adapter: string, env: Record<string, string | undefined> = process.env): Promise<OpenGpu> {
  return openGpu({ adapter, preset: "checked", env, logger: silentLogger });
}

async function describeAndCompute({ adapter, choice, gpu }: OpenGpu): Promise<string> {
  const device = await adapter.requestDevice();
  const { computes } = await selfTest(device);
  device.destroy();
  return `${choice.kind} ${computes} ${gpu !== undefined}`;
}

test("some adapter opens and computes", async () => {
  expect(await describeAndCompute(await open("auto"))).toMatch(/^\w+ true/);
});

test.runIf(hasSwiftShader && hasLavapipe)("several drivers live side by side in one process", async () => {
  const first = await open("swiftshader");
  const second = await open("lavapipe");
  const third = await open("swiftshader");
  expect(await describeAndCompute(first)).toBe("swiftshader true true");
  expect(await describeAndCompute(second)).toBe("lavapipe true true");
  expect(await describeAndCompute(third)).toBe("swiftshader true true");
});

test.runIf(hasSwiftShader)("SwiftShader leaves the environment as it was", async () => {
  const before = { ...process.env };
  const { choice } = await open("swiftshader");
  expect({ ...process.env }).toEqual(before);
  expect(choice).toMatchObject({ kind: "swiftshader", isSoftware: true, cpuFamily: true, backend: "vulkan" });
});

test.runIf(onLinux)("a user's driver variables decide alone", async () => {
  for (const variable of DRIVER_VARIABLES) {
    vi.stubEnv(variable, "/nowhere/driver.json");
    await expect(open("auto")).rejects.toThrow(`${variable}=/nowhere/driver.json`);
    expect(process.env[variable]).toBe("/nowhere/driver.json");
    vi.unstubAllEnvs();
  }
});

test.runIf(hasSwiftShader)("the cache folder: argument, own variable, XDG", async () => {
  const folder = temporaryFolder();
  const env = { ...process.env, UNCOUPLE_CACHE_DIR: "/dev/null/no" };
  const options = { adapter: "swiftshader", preset: "checked", logger: silentLogger } as const;
  await expect(openGpu({ ...options, env })).rejects.toThrow(/UNCOUPLE_CACHE_DIR/);
  expect((await openGpu({ ...options, env, cacheFolder: folder })).choice.kind).toBe("swiftshader");
  expect(defaultCacheFolder({ UNCOUPLE_CACHE_DIR: "/a", XDG_CACHE_HOME: "/b" })).toBe("/a");
  expect(defaultCacheFolder({ XDG_CACHE_HOME: "/b" })).toBe("/b/uncouple");
  expect(defaultCacheFolder({ XDG_CACHE_HOME: "relative" })).toMatch(/\.cache\/uncouple$/);
});

test("UNCOUPLE_ADAPTER names the adapter when no argument does", async () => {
  const env = { ...process.env, UNCOUPLE_ADAPTER: "no such thing" };
  await expect(openGpu({ preset: "checked", env, logger: silentLogger })).rejects.toThrow(
    /got "no such thing"/,
  );
  expect((await open("auto", env)).choice.requested).toBe("auto");
});

test("timestamps are finer than Dawn's default of 65536 ns", async () => {
  const { adapter, gpu } = await open("auto");
  const requiredFeatures = (["timestamp-query"] as const).filter((name) => adapter.features.has(name));
  const device = await adapter.requestDevice({ requiredFeatures });
  const { clock } = await selfTest(device);
  device.destroy();
  expect(gpu).toBeDefined();
  if (requiredFeatures.length > 0) expect(clock?.step).toBeLessThan(65_536);
});

test("clock resolution is the divisor that all differences share", () => {
  expect(clockResolution([100n, 130n, 100n, 145n])).toEqual({ step: 15, smallest: 15 });
  expect(clockResolution([0n, 30n, 72n])).toEqual({ step: 6, smallest: 30 });
  expect(clockResolution([7n, 7n])).toBeUndefined();
});

test.runIf(onLinux)("native calls: stderr comes back, also after an exception; variables go again", () => {
  const { result } = captureStderr(() =>
    withNativeEnvironment({ UNCOUPLE_TEST: "1" }, () => process.env.UNCOUPLE_TEST),
  );
  expect(result).toBe("1");
  expect(process.env.UNCOUPLE_TEST).toBeUndefined();
  expect(() =>
    captureStderr(() => {
      throw new Error("inside");
    }),
  ).toThrow("inside");
});
