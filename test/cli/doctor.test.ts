import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { advise } from "../../src/cli/doctor/doctor_advice.js";
import type { DoctorReport } from "../../src/cli/doctor/doctor_report.js";
import { silentLogger } from "../../src/core/logger.js";
import { DRIVER_VARIABLES, listAdapters } from "../../src/host/gpu/drivers.js";
import { buildForTest } from "../support/built.js";
import { temporaryFolder } from "../support/folders.js";

const onLinux = process.platform === "linux" && process.arch === "x64";
// Which drivers there are is what these tests choose; this process runs no other tests.
for (const variable of [...DRIVER_VARIABLES, "UNCOUPLE_ADAPTER", "UNCOUPLE_PRESET"])
  delete process.env[variable];
const installed = await listAdapters({ preset: "checked", env: process.env, logger: silentLogger });
const hasLavapipe = installed.some((name) => name.includes("llvmpipe"));
const LOADER = "/usr/lib/x86_64-linux-gnu/libvulkan.so.1";
const canHideFiles =
  onLinux && process.getuid?.() === 0 && existsSync("/usr/bin/unshare") && existsSync(LOADER);

let script: string;
let scratch: string;
let remove: () => void;

beforeAll(() => {
  const built = buildForTest("doctor");
  script = join(built.folder, "src/cli/main.js");
  remove = built.remove;
  scratch = temporaryFolder();
});

afterAll(() => {
  remove();
});

/** The command line under test, in a shell. */
const CLI = '"$NODE" "$SCRIPT"';

/** Runs a shell command.
 *  @returns milliseconds from the last output to the end of the process, beside output and exit code */
async function shell(command: string, env: Record<string, string> = {}) {
  const child = spawn("bash", ["-c", command], {
    env: {
      ...process.env,
      UNCOUPLE_ADAPTER: undefined,
      UNCOUPLE_PRESET: undefined,
      NODE: process.execPath,
      SCRIPT: script,
      ...env,
    },
  });
  let lastOutput = performance.now();
  child.stdout.on("data", () => {
    lastOutput = performance.now();
  });
  const outputs = [text(child.stdout), text(child.stderr)];
  const [code] = await once(child, "exit");
  const lingered = performance.now() - lastOutput;
  const [stdout, stderr] = await Promise.all(outputs);
  return { code, stdout, stderr, lingered };
}

/** Prefix that runs a command where a file seems empty, in a mount namespace of its own. */
function hiding(setup: string): string {
  writeFileSync(join(scratch, "empty"), "");
  return `exec unshare -m bash -c '${setup}; "$@"' hide`;
}

test.runIf(onLinux)("--json on SwiftShader is one whole object, and the process ends by itself", async () => {
  const { code, stdout, stderr, lingered } = await shell(
    `${CLI} doctor --json --adapter swiftshader | cat; exit \${PIPESTATUS[0]}`,
  );
  const report: DoctorReport = JSON.parse(stdout);
  expect(code).toBe(0);
  expect(report.adapter).toMatchObject({
    choice: {
      kind: "swiftshader",
      requested: "swiftshader",
      isSoftware: true,
      backend: "vulkan",
      preset: "checked",
    },
    computes: true,
    subgroupSizes: { min: 4, max: 4 },
  });
  expect(report.adapter?.clock?.step).toBeLessThan(65_536);
  expect(report.adapter?.limits.maxComputeInvocationsPerWorkgroup).toBe(256);
  expect(report.versions).toMatchObject({
    uncouple: expect.stringMatching(/^\d/),
    webgpu: expect.stringMatching(/^\d/),
  });
  expect(report.advice.join("\n")).toContain("f16");
  expect(stderr).toBe("adapter: SwiftShader 5.0.0 on vulkan (SwiftShader, as asked)\n");
  expect(lingered).toBeLessThan(1500);
});

test.runIf(onLinux && hasLavapipe)(
  "--json on lavapipe, by environment variables, under the fast preset",
  async () => {
    const env = { UNCOUPLE_ADAPTER: "lavapipe", UNCOUPLE_PRESET: "fast" };
    const { code, stdout } = await shell(`${CLI} doctor --json`, env);
    const report: DoctorReport = JSON.parse(stdout);
    expect(code).toBe(0);
    expect(report.adapter).toMatchObject({ choice: { kind: "lavapipe", preset: "fast" }, computes: true });
    expect(report.adapter?.features).toContain("shader-f16");
    expect(report.environment).toMatchObject(env);
  },
);

test("an adapter that is not there: report, reason, exit code 3", async () => {
  const { code, stdout, stderr } = await shell(`${CLI} doctor --adapter nonsense`);
  expect(code).toBe(3);
  expect(stdout).toContain("installed adapters");
  expect(stderr).toMatch(/error: \[adapter\] no adapter of this name: got "nonsense"/);
});

test("a reader that leaves early does no harm", async () => {
  const { code, stdout, stderr } = await shell(`${CLI} doctor -q | head -n 1; exit \${PIPESTATUS[0]}`);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^versions/);
  expect(stderr).toBe("");
});

test.runIf(canHideFiles)("without a system Vulkan loader", async () => {
  const prefix = hiding(`mount --bind ${scratch}/empty ${LOADER}`);
  const { code, stdout, stderr } = await shell(`${prefix} ${CLI} doctor --json --adapter swiftshader`);
  expect(stderr).toBe("adapter: SwiftShader 5.0.0 on vulkan (SwiftShader, as asked)\n");
  expect(JSON.parse(stdout).adapter.computes).toBe(true);
  expect(code).toBe(0);
});

test.runIf(canHideFiles)("without loader and drivers: SwiftShader by itself, in a fresh cache", async () => {
  const prefix = hiding(`mount --bind ${scratch}/empty ${LOADER}; mount -t tmpfs none /usr/share/vulkan`);
  const env = { UNCOUPLE_CACHE_DIR: join(scratch, "cache") };
  const { code, stdout, stderr } = await shell(`${prefix} ${CLI} doctor --json`, env);
  expect(stderr).toContain("unpacked into");
  expect(JSON.parse(stdout).adapter).toMatchObject({ choice: { kind: "swiftshader" }, computes: true });
  expect(code).toBe(0);
});

const BARE: Omit<DoctorReport, "advice"> = {
  versions: { uncouple: "0", node: "v20", webgpu: "0", swiftshader: "0", platform: "linux-x64" },
  installedAdapters: [],
  traces: { manifests: [], gpuFiles: [] },
  scienceWorld: {},
  environment: {},
};

test("advice names the cure for what the machine lacks", () => {
  expect(advise(BARE)[0]).toContain("no GPU on this machine");
  const nvidia = { manifests: [], gpuFiles: ["/dev/nvidiactl"] };
  expect(advise({ ...BARE, traces: nvidia })[0]).toContain("NVIDIA_DRIVER_CAPABILITIES=all");
  expect(advise({ ...BARE, environment: { VK_DRIVER_FILES: "/x" } })[0]).toContain(
    "VK_DRIVER_FILES limits the drivers",
  );
  const oldMesa = { manifests: [], gpuFiles: [], mesaPackage: "22.3.6-1+deb12u1" };
  expect(advise({ ...BARE, traces: oldMesa })[1]).toContain(
    "apt install -t bookworm-backports mesa-vulkan-drivers",
  );
  const withGpu = { ...BARE, installedAdapters: ["NVIDIA H200"] };
  expect(advise({ ...withGpu, traces: oldMesa })).toEqual([]);
  const environment = { SCIENCEWORLD_JAR: "/no/such.jar" };
  expect(advise({ ...withGpu, environment })).toEqual([
    expect.stringContaining("SCIENCEWORLD_JAR names /no/such.jar, which is no file"),
    expect.stringContaining("apt install default-jre-headless"),
  ]);
  expect(advise({ ...withGpu, scienceWorld: { jar: "/a.jar" } })).toEqual([
    expect.stringContaining("no Java"),
  ]);
  expect(advise({ ...withGpu, scienceWorld: { jar: "/a.jar", java: "17" } })).toEqual([]);
});

test("what ScienceWorld needs is found and told", async () => {
  const jar = join(scratch, "scienceworld.jar");
  writeFileSync(jar, "");
  const env = { SCIENCEWORLD_JAR: jar };
  const { stdout } = await shell(`PATH="" "$NODE" "$SCRIPT" doctor --json`, env);
  const report: DoctorReport = JSON.parse(stdout);
  expect(report.scienceWorld).toEqual({ jar });
  expect(report.environment).toMatchObject(env);
  expect(report.advice.at(-1)).toContain("apt install default-jre-headless");
});
