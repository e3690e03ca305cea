/** `uncouple train` up to the training loop, which is a stand-in here. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { parse } from "yaml";
import { runCli } from "../../src/cli/program.js";
import { checkResumable, findRun } from "../../src/cli/train/resume.js";
import { trainWith } from "../../src/cli/train/train.js";
import { trainConfigSchema } from "../../src/config/schema.js";
import { readJsonLines } from "../../src/host/files/json_lines.js";
import { readRunInfo } from "../../src/host/run/run_info.js";
import type { TrainLoop } from "../../src/host/run/train_loop.js";
import { temporaryFolder } from "../support/folders.js";
import { TextStream } from "../support/streams.js";

let root: string;
beforeEach(() => {
  root = temporaryFolder();
});

/** Counts updates, saves after each, and looks whether it should stop. */
const counting: TrainLoop = async ({ config, sink, checkpoint, signal, logger }) => {
  const total = config.imitation.max_steps;
  let step = checkpoint?.step ?? 0;
  while (step < total && !signal.aborted) {
    step++;
    await sink.metrics({ step, stage: "imitation", loss: 1 / step });
    if (step === config.seed) process.emit("SIGTERM", "SIGTERM");
    await sink.checkpoint({ step, stage: "imitation", tensors: { model: [], optimizer: [] }, state: {} });
  }
  logger.info("loop left");
  return { step, finished: step === total, summary: { loss: 0.25 } };
};

const never: TrainLoop = async () => {
  throw new Error("training must not start");
};

async function run(start: TrainLoop, ...args: string[]) {
  const [stdout, stderr] = [new TextStream(), new TextStream()];
  const env = { ...process.env, UNCOUPLE_RUNS_DIR: join(root, "runs") };
  const code = await runCli(["train", ...args], { stdout, stderr, env }, [trainWith(start)]);
  return { code, out: stdout.text, err: stderr.text };
}

test("a dry run prints all settings and the memory, and starts nothing", async () => {
  const file = join(root, "a.yaml");
  writeFileSync(file, "grpo: {max_steps: 7}\n");
  const { code, out } = await run(never, "-c", file, "model.preset=micro", "--dry-run", "--seed", "4");
  expect(code).toBe(0);
  const [yaml, table] = out.split("\n\n");
  expect(parse(yaml)).toMatchObject({ seed: 4, grpo: { max_steps: 7 }, model: { preset: "micro" } });
  expect(table).toMatch(/KV cache.*in use together.*largest buffer.*prompts of up to \d+ tokens/s);
  const json = JSON.parse(
    (await run(never, "--dry-run", "--json", "--steps", "3", "--log-rollouts", "--precision", "mixed")).out,
  );
  expect(json).toMatchObject({
    config: {
      grpo: { max_steps: 3 },
      model: { precision: "mixed" },
      log: { rollouts: true },
      out: join(root, "runs"),
    },
    memory: { totalBytes: expect.any(Number), heldBytes: expect.any(Number) },
  });
  expect(readdirSync(root)).toEqual(["a.yaml"]);
});

test("mixed precision on an adapter without f16 is refused before anything starts", async () => {
  expect(await run(never, "--precision", "mixed", "--adapter", "swiftshader")).toMatchObject({
    code: 3,
    err: expect.stringMatching(/without the feature shader-f16\. Use precision f32, or another adapter/),
  });
  expect(readdirSync(root)).toEqual([]);
});

test("wrong settings end with 2 before anything starts", async () => {
  expect(await run(never, "grpo.epsilonn=1")).toMatchObject({
    code: 2,
    err: expect.stringMatching(/Did you mean grpo\.epsilon\?/),
  });
  expect(await run(never, "--set", "seed=x")).toMatchObject({
    code: 2,
    err: expect.stringContaining('override "seed=x"'),
  });
  expect(await run(never, "--steps", "many")).toMatchObject({ code: 2 });
  expect(await run(never, "imitation.episodes=0")).toMatchObject({
    code: 2,
    err: expect.stringContaining("nothing to train"),
  });
  expect(await run(never, "--resume")).toMatchObject({
    code: 2,
    err: expect.stringContaining("no run to go on with"),
  });
  expect(await run(never, "--resume", root)).toMatchObject({ code: 2, err: expect.stringContaining(root) });
  expect(await run(never, "--dry-run", "model.path=/nowhere")).toMatchObject({
    code: 2,
    err: expect.stringContaining("config.json"),
  });
});

test("a run is stopped by a signal, refused with other settings, resumed, and finished", async () => {
  // the stand-in sends itself SIGTERM in update 3
  const args = ["imitation.max_steps=5", "--name", "one"];
  const first = await run(counting, ...args, "--seed", "3");
  expect(first.err).toMatch(
    /saving a checkpoint\n.*stopped by SIGTERM after update 3; go on with: uncouple train --resume/s,
  );
  expect(first).toMatchObject({ code: 75, out: "" });
  const folder = join(root, "runs", "one");
  expect(await readRunInfo(folder)).toMatchObject({
    status: "stopped",
    step: 3,
    seed: 3,
    reason: "stopped by SIGTERM",
  });
  expect(readFileSync(join(folder, "run.log"), "utf8")).toMatch(/loop left\n$/);

  expect(await run(counting, ...args, "--seed", "3")).toMatchObject({
    code: 2,
    err: expect.stringContaining("there already"),
  });
  expect(await run(counting, "--resume", folder, "--seed", "9")).toMatchObject({
    code: 2,
    err: expect.stringMatching(/other values of seed,/),
  });

  for (const place of ["name=two", `out=${root}`]) {
    expect(await run(never, "--resume", folder, place)).toMatchObject({
      code: 2,
      err: expect.stringMatching(/\[--resume\] setting has no effect: got (name|out) /),
    });
  }
  const second = await run(counting, "--resume", "eval.episodes=5", "--json");
  expect(second.code).toBe(0);
  expect(JSON.parse(second.out)).toEqual({ run: folder, step: 5, finished: true, summary: { loss: 0.25 } });
  expect(second.err).toMatch(/changed since the run was started: eval\.episodes.*going on after update 3/s);
  const rows = (await readJsonLines(join(folder, "metrics.jsonl"))) as { step: number }[];
  expect(rows.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5]);
  expect(await readRunInfo(folder)).toMatchObject({
    status: "finished",
    sessions: [{ fromStep: 0 }, { fromStep: 3 }],
  });
  expect(parse(readFileSync(join(folder, "config.yaml"), "utf8"))).toMatchObject({
    seed: 3,
    eval: { episodes: 5 },
  });
});

test("a failed run says so in its record; --resume latest with a new name starts that run", async () => {
  const failing: TrainLoop = async () => {
    throw new Error("out of luck");
  };
  const { code, err } = await run(failing, "--name", "bad", "--resume", "seed=1");
  expect({ code, err }).toMatchObject({ code: 1, err: expect.stringContaining("out of luck") });
  expect(await readRunInfo(join(root, "runs", "bad"))).toMatchObject({
    status: "failed",
    seed: 1,
    reason: "out of luck",
  });
  const finished = await run(counting, "imitation.max_steps=2");
  expect(finished).toMatchObject({
    code: 0,
    out: expect.stringMatching(/^finished after 2 updates\nloss 0\.25\nrun folder: /),
  });
  expect(readdirSync(join(root, "runs")).sort()[1]).toMatch(/^household__imitation__s0__\d{8}-\d{6}$/);
});

test("what a resumed run may change", async () => {
  const before = trainConfigSchema.parse({});
  const change = (input: object) => () => checkResumable(before, trainConfigSchema.parse(input));
  expect(change({ grpo: { max_steps: 9 }, out: "x", device: { adapter: "gpu" } })()).toEqual([
    "device.adapter",
    "grpo.max_steps",
  ]);
  expect(change({ grpo: { epsilon: 0.1 }, world: { household: { items: [3, 4] } } })).toThrow(
    /values of world\.household\.items, grpo\.epsilon,/,
  );
  expect(change({ imitation: { max_steps: 300 } })()).toEqual(["imitation.max_steps"]);
  // what only measures may change, what drops rows may not
  expect(change({ coupling: { every: 5 } })()).toEqual(["coupling.every"]);
  expect(change({ coupling: { drop_harmful: 2 } })).toThrow(/values of coupling\.drop_harmful/);
  const both = trainConfigSchema.parse({ grpo: { max_steps: 5 } });
  const longer = { ...both, imitation: { ...both.imitation, max_steps: 300 } };
  expect(() => checkResumable(both, longer)).toThrow(/imitation\.max_steps/);
  expect(await findRun("latest", { name: "new", out: root })).toBeUndefined();
});
