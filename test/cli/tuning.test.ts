/** When kernels are measured, which choices a command runs with, and how it says so. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test, vi } from "vitest";
import { chooseTuning, mayTune, type TuningWish, tuningLine, tuningTable } from "../../src/cli/kit/tuning.js";
import { runCli } from "../../src/cli/program.js";
import { trainWith } from "../../src/cli/train/train.js";
import { silentLogger } from "../../src/core/logger.js";
import type { Tuning } from "../../src/gpu/runtime.js";
import type { AdapterChoice } from "../../src/host/gpu/drivers.js";
import { readRunInfo } from "../../src/host/run/run_info.js";
import type { TrainLoop } from "../../src/host/run/train_loop.js";
import { keepTuning, readTuning, tuningKey } from "../../src/host/tuning/tuning_record.js";
import type { TuningResult } from "../../src/kernels/tuning/tuning_search.js";
import { temporaryFolder } from "../support/folders.js";
import { testAdapter } from "../support/gpu.js";
import { TextStream } from "../support/streams.js";

let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
});

const result = (chosen: string) => ({
  choice: "tile nt medium",
  shape: "1024x1024x1024",
  shipped: "64x64x16 4x4",
  shippedMs: 1.5,
  chosen,
  chosenMs: 1,
  dropped: {},
});
const WON: Tuning = { "tile nt medium": "128x128x8 8x8" };

/** An adapter that is not here. */
const adapter = (isSoftware: boolean) =>
  ({ vendor: "v", device: "d", description: "1.0", preset: "checked", isSoftware }) as AdapterChoice;

function choose(wish: TuningWish, isSoftware: boolean, begun?: { key: string; choices: Tuning }[]) {
  const measure = vi.fn(async () => [result("128x128x8 8x8")]);
  const gpu = { preset: "checked" as const, env: {}, cacheFolder: folder, logger: silentLogger };
  const request = { wish, begun, matmulPrecision: "f32" as const, gpu, measure };
  return { measure, chosen: chooseTuning(adapter(isSoftware), request) };
}

test.each<[TuningWish, boolean, "shipped" | "measured", number]>([
  ["shipped", false, "shipped", 0],
  ["record", false, "shipped", 0],
  ["first_use", false, "measured", 1],
  ["first_use", true, "shipped", 0],
  ["again", true, "measured", 1],
  ["again", false, "measured", 1],
])("%s, software %s, without a record: %s", async (wish, isSoftware, source, count) => {
  const { measure, chosen } = choose(wish, isSoftware);
  expect(await chosen).toMatchObject({ source, choices: source === "measured" ? WON : {} });
  expect(measure).toHaveBeenCalledTimes(count);
  expect(readdirSync(folder)).toHaveLength(count);
});

test("what was measured is used again, unless it is broken or nobody wants it", async () => {
  await choose("again", true).chosen;
  for (const [wish, source, count] of [
    ["record", "record", 0],
    ["first_use", "record", 0],
    ["shipped", "shipped", 0],
    ["again", "measured", 1],
  ] as const) {
    const { measure, chosen } = choose(wish, true);
    expect(await chosen).toMatchObject({ source, choices: wish === "shipped" ? {} : WON });
    expect(measure).toHaveBeenCalledTimes(count);
  }
  const [name] = readdirSync(folder);
  writeFileSync(join(folder, name), "{");
  const { measure, chosen } = choose("record", true);
  expect(await chosen).toMatchObject({ source: "shipped" });
  expect(measure).not.toHaveBeenCalled();
});

test("a resumed run keeps its choices, whatever was measured since", async () => {
  const key = await tuningKey(adapter(false), "f32");
  const begun: { key: string; choices: Tuning }[] = [
    { key, choices: { "tile nn small": "first" } },
    { key, choices: {} },
    { key: "elsewhere", choices: { "tile nn small": "other" } },
  ];
  const { measure, chosen } = choose("first_use", false, begun);
  expect(await chosen).toEqual({ key, choices: {}, source: "run" });
  expect(measure).not.toHaveBeenCalled();
  // on an adapter that it never ran on there is nothing to keep
  expect(await choose("first_use", false, begun.slice(2)).chosen).toMatchObject({ source: "measured" });
});

test("measuring that fails leaves everything as shipped and keeps nothing", async () => {
  const gpu = { preset: "checked" as const, env: {}, cacheFolder: folder, logger: silentLogger };
  const measure = async () => undefined;
  const request = { wish: "again" as const, matmulPrecision: "f32" as const, gpu, measure };
  expect(await chooseTuning(adapter(false), request)).toMatchObject({ source: "shipped", choices: {} });
  expect(readdirSync(folder)).toEqual([]);
});

test("flag and environment variable", () => {
  expect(mayTune(undefined, {})).toBe(true);
  expect(mayTune(true, { UNCOUPLE_TUNE: "1" })).toBe(true);
  expect(mayTune(true, { UNCOUPLE_TUNE: "0" })).toBe(false);
  expect(mayTune(false, {})).toBe(false);
});

test("choices in words and as a table", () => {
  expect(tuningLine({ source: "shipped", choices: {} })).toBe("kernels: as shipped");
  expect(tuningLine({ source: "record", choices: {} })).toMatch(/before, all as shipped$/);
  expect(tuningLine({ source: "measured", choices: WON })).toMatch(/now, tile nt medium 128x128x8 8x8$/);
  const table = tuningTable([result("128x128x8 8x8"), result("64x64x16 4x4")]);
  expect(table).toMatch(/tile nt medium.*64x64x16 4x4.*1\.50.*128x128x8 8x8.*1\.00.*50 %/);
  expect(table).toMatch(/64x64x16 4x4.*1\.50.*the same/);
});

/** Runs the command line with a cache folder of its own, in which the adapter in use has a record. */
async function prepared(): Promise<(args: string[], env?: Record<string, string>) => Promise<string>> {
  const { choice } = await testAdapter();
  const key = await tuningKey(choice, "f32");
  await keepTuning(
    folder,
    { key, date: "2025-01-01T00:00:00.000Z", results: [result("32x32")] },
    silentLogger,
  );
  const start: TrainLoop = async ({ sink }) => {
    await sink.checkpoint({ step: 1, stage: "imitation", tensors: { model: [], optimizer: [] }, state: {} });
    return { step: 1, finished: true, summary: {} };
  };
  return async (args, more = {}) => {
    const stderr = new TextStream();
    const options = {
      stdout: new TextStream(),
      stderr,
      env: {
        ...process.env,
        UNCOUPLE_TUNE: undefined,
        UNCOUPLE_RUNS_DIR: join(folder, "runs"),
        ...more,
      },
    };
    const code = await runCli(
      [...args, "--cache-dir", folder],
      options,
      args[0] === "train" ? [trainWith(start)] : undefined,
    );
    expect(stderr.text + code).toMatch(/0$/);
    return stderr.text + options.stdout.text;
  };
}

test("train takes the record, --no-tune does not, and a resumed run goes on as it began", async () => {
  const run = await prepared();
  const choices = async (name: string) => {
    const { sessions } = await readRunInfo(join(folder, "runs", name));
    return sessions.map(({ tuning }) => tuning?.choices);
  };
  expect(await run(["train", "--name", "tuned"])).toContain("before, tile nt medium 32x32\n");
  expect(await choices("tuned")).toEqual([{ "tile nt medium": "32x32" }]);
  expect(await run(["train", "--name", "plain", "--no-tune"])).toContain("kernels: as shipped\n");
  expect(await run(["train", "--name", "quiet"], { UNCOUPLE_TUNE: "0" })).toContain("kernels: as shipped\n");
  expect(await choices("quiet")).toEqual([{}]);
  // the record is as it was, and stands aside
  const again = await run(["train", "--resume", join(folder, "runs", "plain"), "device.tune=true"]);
  expect(again).toContain("kernels: as when the run began, all as shipped\n");
  expect(await choices("plain")).toEqual([{}, {}]);
  await run(["train", "--resume", join(folder, "runs", "tuned"), "--no-tune"]);
  expect(await choices("tuned")).toEqual([{ "tile nt medium": "32x32" }, { "tile nt medium": "32x32" }]);
  expect(readFileSync(join(folder, "runs", "tuned", "run.log"), "utf8")).toContain("as when the run began");
});

test("doctor shows the record and measures nothing", async () => {
  const run = await prepared();
  const before = readdirSync(folder).filter((name) => name.startsWith("tuning-"));
  expect(
    JSON.parse((await run(["doctor", "--json", "--quiet"])).replace(/^[^{]*/s, "")).adapter.tuning,
  ).toEqual({
    choices: { "tile nt medium": "32x32" },
    measured: "2025-01-01T00:00:00.000Z",
    file: join(folder, before[0]),
  });
  rmSync(join(folder, before[0]));
  expect(await run(["doctor"])).toContain("bench --tune");
  expect(readdirSync(folder).filter((name) => name.startsWith("tuning-"))).toEqual([]);
});

test("bench --tune measures the adapter in use, keeps the result and prints it", async () => {
  const stdout = new TextStream();
  const stderr = new TextStream();
  // the flag is stronger than the variable
  const env = { ...process.env, UNCOUPLE_TUNE: "0" };
  expect(await runCli(["bench", "--tune", "--json", "--cache-dir", folder], { stdout, stderr, env })).toBe(0);
  const { key, results } = JSON.parse(stdout.text);
  expect(results.map(({ choice }: TuningResult) => choice)).toContain("tile nt medium");
  expect(stderr.text).toMatch(/measuring kernels on .*kernels: as measured on this adapter now/s);
  expect((await readTuning(folder, key, silentLogger))?.results).toEqual(results);
});
