import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import type { MatmulPrecision } from "../../src/gpu/runtime.js";
import type { OpenGpu } from "../../src/host/gpu/drivers.js";
import {
  checkedPrecision,
  checkMatrixProducts,
  type MatrixAnswer,
  type MatrixJob,
  runInChild,
} from "../../src/host/gpu/matrix_check.js";
import { buildForTest } from "../support/built.js";
import { temporaryFolder } from "../support/folders.js";

let cacheFolder: string;
beforeEach(() => {
  cacheFolder = temporaryFolder();
});

const MATRIX = { componentType: "f16", resultComponentType: "f32", M: 16, N: 16, K: 16 };

/** An adapter that is not here. */
function fakeGpu(
  driver: string,
  configs: readonly object[] | undefined,
): Pick<OpenGpu, "adapter" | "choice"> {
  const choice = {
    vendor: "nvidia",
    device: "nvidia-h200",
    description: driver,
    preset: "checked",
    requested: "auto",
  };
  return { adapter: { info: { subgroupMatrixConfigs: configs } }, choice } as unknown as OpenGpu;
}

/** A runner that gives the same answer each time and remembers what it was asked. */
function fakeRunner(answer: MatrixAnswer) {
  const jobs: MatrixJob[] = [];
  const run = async (job: MatrixJob) => {
    jobs.push(job);
    return answer;
  };
  return { jobs, run };
}

function fakeLogger() {
  const lines: string[] = [];
  return { lines, info: () => {}, warn: (line: string) => lines.push(line) };
}

const check = (gpu: ReturnType<typeof fakeGpu>, run: (job: MatrixJob) => Promise<MatrixAnswer>) =>
  checkMatrixProducts("f16", gpu, { env: {}, cacheFolder, logger: fakeLogger(), run });

test("adapters without fitting matrices cost nothing", async () => {
  const { jobs, run } = fakeRunner({});
  for (const configs of [undefined, [], [{ ...MATRIX, resultComponentType: "f16" }]])
    expect(await check(fakeGpu("1.0", configs), run)).toMatchObject({ usable: false });
  expect(jobs).toEqual([]);
  expect(readdirSync(cacheFolder)).toEqual([]);
});

test.each<[MatrixAnswer, boolean]>([
  [{}, true],
  [{ mistake: "wrong product" }, false],
])("a verdict is kept: %o", async (answer, usable) => {
  const { jobs, run } = fakeRunner(answer);
  const gpu = fakeGpu("1.0", [MATRIX]);
  const first = await check(gpu, run);
  expect(first.usable).toBe(usable);
  expect(await check(gpu, run)).toEqual(first);
  expect(jobs).toHaveLength(1);
  expect(jobs[0]).toMatchObject({ adapter: "auto", preset: "checked", matmulPrecision: "f16", cacheFolder });
});

test("another driver, precision or set of matrices is another verdict", async () => {
  const { jobs, run } = fakeRunner({});
  const options = { env: {}, cacheFolder, logger: fakeLogger(), run };
  await checkMatrixProducts("f16", fakeGpu("1.0", [MATRIX]), options);
  await checkMatrixProducts("f16", fakeGpu("1.1", [MATRIX]), options);
  await checkMatrixProducts("split_f16", fakeGpu("1.0", [MATRIX]), options);
  await checkMatrixProducts("f16", fakeGpu("1.0", [MATRIX, { ...MATRIX, K: 8 }]), options);
  expect(jobs).toHaveLength(4);
  expect(readdirSync(cacheFolder)).toHaveLength(4);
});

test.each(["{", "null", '{"key": "another", "usable": true, "reason": ""}'])(
  "a file that holds %s is not believed",
  async (text) => {
    const gpu = fakeGpu("1.0", [MATRIX]);
    await check(gpu, fakeRunner({}).run);
    writeFileSync(join(cacheFolder, readdirSync(cacheFolder)[0]), text);
    expect((await check(gpu, fakeRunner({ mistake: "no" }).run)).usable).toBe(false);
  },
);

test("a cache folder that cannot be written costs another try, and says so", async () => {
  const file = join(cacheFolder, "file");
  writeFileSync(file, "");
  const logger = fakeLogger();
  const { jobs, run } = fakeRunner({});
  const options = { env: {}, cacheFolder: join(file, "below"), logger, run };
  for (let i = 0; i < 2; i++)
    expect((await checkMatrixProducts("f16", fakeGpu("1.0", [MATRIX]), options)).usable).toBe(true);
  expect(jobs).toHaveLength(2);
  expect(logger.lines[0]).toContain("cannot be kept");
});

test.each<[MatmulPrecision, MatrixAnswer, MatmulPrecision]>([
  ["f32", { mistake: "never asked" }, "f32"],
  ["split_f16", {}, "split_f16"],
  ["f16", { mistake: "wrong product at 3" }, "f32"],
])("%s with answer %o becomes %s", async (wanted, answer, expected) => {
  const logger = fakeLogger();
  const options = { env: {}, cacheFolder, logger, run: fakeRunner(answer).run };
  expect(await checkedPrecision(wanted, fakeGpu("1.0", [MATRIX]), options)).toBe(expected);
  expect(logger.lines).toHaveLength(wanted === expected ? 0 : 1);
  if (wanted !== expected) expect(logger.lines[0]).toContain("wrong product at 3");
});

/** Runs a script that stands in for the child. */
function runScript(text: string, timeLimit = 10_000): Promise<MatrixAnswer> {
  const script = join(cacheFolder, "child.mjs");
  writeFileSync(script, text);
  const job: MatrixJob = { adapter: "auto", preset: "checked", env: {}, matmulPrecision: "f16" };
  return runInChild(job, script, timeLimit);
}

test("an answer, a crash and a hang of the child process", async () => {
  const answering = `process.once("message", ({ preset }) => process.send({ mistake: preset }, () => process.exit(0)));`;
  expect(await runScript(answering)).toEqual({ mistake: "checked" });
  const crashing = `process.once("message", () => { console.error("driver: boom"); process.kill(process.pid, "SIGSEGV"); });`;
  expect((await runScript(crashing)).mistake).toMatch(/ended the process \((SIGSEGV|exit code \d+)\).*boom/);
  expect((await runScript("process.exit(7);")).mistake).toContain("exit code 7");
  const hanging = `process.once("message", () => { for (;;); });`;
  expect((await runScript(hanging, 500)).mistake).toBe("the driver gave no result in 0.5 s");
});

test.runIf(process.platform === "linux" && process.arch === "x64")(
  "the real child opens the adapter and says that nothing fits",
  async () => {
    const { folder, remove } = buildForTest("matrix");
    const env = { UNCOUPLE_ADAPTER: "swiftshader", UNCOUPLE_CACHE_DIR: process.env.UNCOUPLE_CACHE_DIR };
    const job: MatrixJob = { preset: "checked", env, matmulPrecision: "f16" };
    const answer = await runInChild(job, join(folder, "src/host/gpu/matrix_child.js"), 60_000);
    remove();
    expect(answer).toEqual({ mistake: "no matrix shape of the adapter fits the kernel" });
  },
);
