/** Configuration files and overrides: precedence, and errors that lead to the place and the cure. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { parse } from "yaml";
import { runCli } from "../../src/cli/program.js";
import { register as init } from "../../src/cli/train/init.js";
import { isOverride } from "../../src/config/layers.js";
import { type ConfigSources, loadConfig } from "../../src/config/load.js";
import { trainConfigSchema } from "../../src/config/schema.js";
import { configTemplate } from "../../src/config/template.js";
import { ConfigError } from "../../src/core/errors.js";
import { readConfigText } from "../../src/host/files/config_text.js";
import { temporaryFolder } from "../support/folders.js";
import { TextStream } from "../support/streams.js";

let root: string;
beforeAll(() => {
  root = temporaryFolder();
});

function file(name: string, text: string): string {
  writeFileSync(join(root, name), text);
  return join(root, name);
}

const load = (sources: Partial<ConfigSources>) =>
  loadConfig({ files: [], readText: readConfigText, env: {}, overrides: [], ...sources });

/** The message without the temporary folder. */
async function failure(sources: Partial<ConfigSources>): Promise<string> {
  const error = await load(sources).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(ConfigError);
  return (error as Error).message.replaceAll(`${root}/`, "");
}

test("later files, environment, flags and overrides win in this order", async () => {
  const first = file(
    "first.yaml",
    "seed: 1\nout: a\ngrpo:\n  epsilon: 0.1\n  epsilon_high: 0.3\neval: {splits: [a, b]}\n",
  );
  const second = file("second.yaml", "out: b\ngrpo: {epsilon: 0.15}\neval:\n  splits: [c]\n");
  const { config, resolved, input } = await load({
    files: [first, second],
    env: {
      UNCOUPLE_RUNS_DIR: "c",
      UNCOUPLE_ADAPTER: "4090",
      UNCOUPLE_PRESET: "",
      UNCOUPLE_PRECISION: "mixed",
    },
    flags: [{ path: ["seed"], value: 5, flag: "--seed 5" }],
    overrides: ["grpo.learning_rate=1e-5", "seed=6", "name='7'", "grpo.epsilon_high="],
  });
  expect(config).toMatchObject({
    seed: 6,
    name: "7",
    out: "c",
    device: { adapter: "4090", preset: "checked" },
    model: { precision: "mixed" },
    grpo: { epsilon: 0.15, epsilon_high: null, learning_rate: 1e-5 },
    eval: { splits: ["c"] },
  });
  expect(parse(resolved)).toEqual(config);
  expect(Object.keys(parse(resolved)).slice(0, 3)).toEqual(["seed", "name", "out"]);
  expect(trainConfigSchema.parse(parse(input))).toEqual(config);
  expect(parse(input)).not.toHaveProperty("log");
  expect(input).toContain(`# override "seed=6"\n`);
});

test("an empty file changes nothing, anchors and merge keys work", async () => {
  expect((await load({ files: [file("empty.yaml", "# nothing\n")] })).config).toEqual(
    trainConfigSchema.parse({}),
  );
  const anchors = file("anchors.yaml", "imitation: &a {learning_rate: 1e-4}\ngrpo: {<<: *a, max_steps: 3}\n");
  expect((await load({ files: [anchors] })).config.grpo).toMatchObject({ learning_rate: 1e-4, max_steps: 3 });
});

test("unknown settings are located and the nearest name is told", async () => {
  const path = file("typo.yaml", "seed: 1\ngrpo:\n  num_generation: 4\n  learning_rte: 1\n");
  expect(await failure({ files: [path] })).toMatch(
    /^\[typo\.yaml:3:3\] unknown setting grpo\.num_generation: got "num_generation", expected algo, max_steps, .*Did you mean grpo\.num_generations\?\n\[typo\.yaml:4:3\].*Did you mean grpo\.learning_rate\?$/,
  );
  expect(await failure({ overrides: ["learning_rate=1"] })).toMatch(
    /^\[override "learning_rate=1"\] unknown setting learning_rate: .*Did you mean imitation\.learning_rate or grpo\.learning_rate\?/,
  );
  expect(await failure({ overrides: ["lerning_rat=1"] })).toContain(
    "imitation.learning_rate or grpo.learning_rate?",
  );
  expect(await failure({ overrides: ["unheardof.a=1"] })).toContain("`uncouple init` prints all settings");
});

test("wrong values are located with the rule", async () => {
  const path = file(
    "wrong.yaml",
    'seed: -1\nworld:\n  household:\n    items: [3, x]\ngrpo:\n  epsilon: "0.2"\n  beta:\n',
  );
  expect((await failure({ files: [path] })).split("\n")).toEqual([
    "[wrong.yaml:1:7] wrong value of seed: got -1, expected an integer, 0 or more. Change it.",
    '[wrong.yaml:4:16] wrong value of world.household.items[1]: got "x", expected a list of two integers, low and high. Change it.',
    '[wrong.yaml:6:12] wrong value of grpo.epsilon: got "0.2", expected a number from 0 to 1. Change it.',
    "[wrong.yaml:7:3] wrong value of grpo.beta: got null, expected a number, 0 or more. Change it.",
  ]);
  expect(await failure({ files: [path], overrides: ["seed=1.5", "grpo=3"] })).toMatch(
    /^\[override "seed=1.5"\] wrong value of seed: got 1.5.*\n.*\n\[override "grpo=3"\] wrong value of grpo: got 3, expected a section/,
  );
  expect(await failure({ env: { UNCOUPLE_PRESET: "best" } })).toBe(
    '[UNCOUPLE_PRESET] wrong value of device.preset: got "best", expected checked or fast. Change it.',
  );
  expect(await failure({ overrides: ["grpo.delta=1.1"] })).toBe(
    '[override "grpo.delta=1.1"] wrong value of grpo.delta: got 1.1, expected a number above 1 + epsilon_high, or null. Change it.',
  );
  expect(await failure({ overrides: ["world.max_tasks=no"] })).toContain("an integer, 1 or more, or null");
  expect(await failure({ overrides: ["imitation.max_steps=5", "imitation.warmup_steps=9"] })).toContain(
    "a number below imitation.max_steps",
  );
});

test("files that are not there, not YAML or not settings are named", async () => {
  expect(await failure({ files: [join(root, "none.yaml")] })).toMatch(
    /^\[none\.yaml\] file cannot be read: got ENOENT/,
  );
  expect(await failure({ files: [file("bad.yaml", "seed: 1\nout: [a\n")] })).toMatch(
    /^\[bad\.yaml:\d:\d\] text is not YAML/,
  );
  expect(await failure({ files: [file("twice.yaml", "seed: 1\nseed: 2\n")] })).toMatch(
    /^\[twice\.yaml:2:1\].*unique/,
  );
  expect(await failure({ files: [file("list.yaml", "- 1\n")] })).toMatch(
    /^\[list\.yaml:1:1\] configuration is not made/,
  );
  expect(await failure({ overrides: ["seed"] })).toMatch(/^\[override "seed"\] override is malformed/);
  expect(await failure({ overrides: ["seed=[1"] })).toMatch(/^\[override "seed=\[1"\] text is not YAML/);
  expect(["a.b=1", "a=", "a"].map(isOverride)).toEqual([true, true, false]);
});

test("ALFWorld's folder comes from the setting or from ALFWORLD_DATA", async () => {
  const overrides = ["world.id=alfworld"];
  expect(await failure({ overrides })).toContain("ALFWORLD_DATA");
  expect((await load({ overrides, env: { ALFWORLD_DATA: "/data" } })).config.world.path).toBe("/data");
  const given = [...overrides, "world.path=here"];
  expect((await load({ overrides: given, env: { ALFWORLD_DATA: "/data" } })).config.world.path).toBe("here");
});

test("init prints or writes all defaults, explained, and overwrites nothing", async () => {
  expect(trainConfigSchema.parse(parse(configTemplate()))).toEqual(trainConfigSchema.parse({}));
  expect(parse(configTemplate())).toEqual(trainConfigSchema.parse({}));
  expect(
    Math.max(
      ...configTemplate()
        .split("\n")
        .map((line) => line.length),
    ),
  ).toBeLessThanOrEqual(110);
  const run = async (...args: string[]) => {
    const [stdout, stderr] = [new TextStream(), new TextStream()];
    return {
      code: await runCli(args, { stdout, stderr, env: {} }, [init]),
      out: stdout.text,
      err: stderr.text,
    };
  };
  expect(await run("init")).toMatchObject({ code: 0, out: `${configTemplate()}\n` });
  const path = join(root, "new.yaml");
  expect(await run("init", path)).toMatchObject({
    code: 0,
    err: expect.stringContaining("uncouple train -c"),
  });
  expect(readFileSync(path, "utf8")).toBe(`${configTemplate()}\n`);
  expect(await run("init", path)).toMatchObject({ code: 2, err: expect.stringContaining("EEXIST") });
});
