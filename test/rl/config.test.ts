/** The training configuration: defaults, rules between fields, names. */
import { expect, test } from "vitest";
import { overrideLayer, textLayer } from "../../src/config/layers.js";
import { resolveLayers } from "../../src/config/load.js";
import { runName, stagesOf, trainConfigJsonSchema, trainConfigSchema } from "../../src/config/schema.js";

test("everything has a default, and defaults are TRL's where it has the option", () => {
  const config = trainConfigSchema.parse({});
  expect(config.grpo).toMatchObject({
    num_generations: 8,
    num_iterations: 1,
    epsilon: 0.2,
    beta: 0,
    scale_rewards: "group",
    learning_rate: 1e-6,
    temperature: 1,
    max_grad_norm: 1,
    adam_beta2: 0.999,
  });
  expect(trainConfigSchema.parse(config)).toEqual(config);
});

test("unknown keys are errors at any depth", () => {
  for (const input of [{ sed: 1 }, { grpo: { epsylon: 1 } }, { world: { household: { tran: 1 } } }])
    expect(trainConfigSchema.safeParse(input).error?.issues[0]).toMatchObject({ code: "unrecognized_keys" });
});

test.each([
  [{ grpo: { delta: 1.1 } }, "grpo.delta", "above 1 + epsilon_high"],
  [{ grpo: { epsilon_high: 3, delta: 3.5 } }, "grpo.delta", "above 1 + epsilon_high"],
  [{ grpo: { num_generations: 1 } }, "grpo.num_generations", "an integer, 2 or more"],
  [{ grpo: { adam_beta2: 1 } }, "grpo.adam_beta2", "below 1"],
  [{ grpo: { top_p: 0 } }, "grpo.top_p", "above 0, up to 1"],
  [{ grpo: { max_steps: 5, warmup_steps: 6 } }, "grpo.warmup_steps", "a number below grpo.max_steps"],
  [{ imitation: { warmup_steps: 201 } }, "imitation.warmup_steps", "a number below imitation.max_steps"],
  [{ imitation: { detour_pattern: "(" } }, "imitation.detour_pattern", "a regular expression"],
  [{ eval: { modes: ["sampled"], temperature: 0 } }, "eval.temperature", "above 0"],
  [{ model: { preset: "huge" } }, "model.preset", "nano, micro"],
  [{ world: { household: { items: [1] } } }, "world.household.items", "two integers"],
  [{ name: "a/b" }, "name", "without a folder"],
  [{ seed: 1.5 }, "seed", "an integer, 0 or more"],
])("%j breaks a rule", (input, path, expected) => {
  const issues = trainConfigSchema.safeParse(input).error?.issues;
  expect(issues?.map((issue) => issue.path.join("."))).toEqual([path]);
  expect(issues?.[0].message).toContain(expected);
});

test("run names tell world, algorithm, seed and time", () => {
  const now = new Date(2026, 0, 2, 3, 4, 5);
  const config = trainConfigSchema.parse({ seed: 7 });
  expect(runName(config, now)).toBe("household__imitation__s7__20260102-030405");
  expect(stagesOf(config)).toEqual(["imitation"]);
  const both = trainConfigSchema.parse({ grpo: { max_steps: 1 }, world: { id: "alfworld" } });
  expect(runName(both, now)).toBe("alfworld__grpo__s0__20260102-030405");
  expect(stagesOf(both)).toEqual(["imitation", "grpo"]);
  expect(stagesOf(trainConfigSchema.parse({ imitation: { episodes: 0 } }))).toEqual([]);
  expect(runName({ ...config, name: "mine" }, now)).toBe("mine");
});

test("the schema can be had as JSON Schema, with descriptions", () => {
  expect(trainConfigJsonSchema().properties).toMatchObject({
    grpo: {
      properties: { epsilon: { default: 0.2, maximum: 1, description: expect.stringContaining("verl") } },
    },
  });
});

test.each([
  "a: &a {b: *a}\ngrpo: *a",
  `a: &a [x]\n${Array.from({ length: 30 }, (_, i) => `b${i}: &b${i} [${i === 0 ? "*a" : `*b${i - 1}, *b${i - 1}`}]`).join("\n")}`,
  `grpo: ${"[".repeat(3000)}${"]".repeat(3000)}`,
])("aliases and nesting without end are refused with their file (case %#)", (text) => {
  expect(() => resolveLayers([textLayer(text, "my.yaml")])).toThrow(/\[my\.yaml:\d+/);
});

test("thousands of unknown settings take no time and no page of messages", () => {
  const text = Array.from({ length: 2000 }, (_, i) => `learning_rates_${i}: 1`).join("\n");
  const started = performance.now();
  expect(() => resolveLayers([textLayer(text, "my.yaml")])).toThrow(
    /^\[my\.yaml:1:1\] unknown setting learning_rates_0: (?:.*\n){10}\[my\.yaml:11:1\] more unknown settings: got 1990 that are not listed.*$/,
  );
  expect(performance.now() - started).toBeLessThan(10_000);
});

test.each(["__proto__.seed=3", "grpo.__proto__.max_steps=3", "__proto__={seed: 3}"])(
  "%s is an unknown setting",
  (text) => {
    const layers = [textLayer("grpo: {max_steps: 2}\n", "my.yaml"), overrideLayer(text)];
    expect(() => resolveLayers(layers)).toThrow(/unknown setting (grpo\.)?__proto__/);
  },
);

test("nesting without end is said as such", () => {
  expect(() => textLayer(`a: ${"[".repeat(5000)}${"]".repeat(5000)}`, "my.yaml")).toThrow(
    /\[my\.yaml:1:\d+\] text is not YAML: got "lists or sections nested too deep"/,
  );
});

test.each([
  [{ grpo: { learning_rate: 1e30 } }, "a number from 0 to 1"],
  [{ imitation: { batch_size: 2 ** 32 } }, "an integer from 1 to 1000000"],
  [{ name: "a\u001b[2J" }, "a name without"],
  [{ name: ".." }, "a name without"],
  [{ imitation: { detour_pattern: "(a)\\1" } }, "without back references"],
])("%j has no sense", (settings, expected) => {
  const result = trainConfigSchema.safeParse(settings);
  expect(result.success).toBe(false);
  expect(result.error?.issues[0].message).toContain(expected);
});

/** Every number among the settings, by its path. */
function numbersOf(section: object, path: readonly string[] = []): string[] {
  return Object.entries(section).flatMap(([key, value]) => {
    if (typeof value === "number") return [[...path, key].join(".")];
    return typeof value === "object" && value !== null ? numbersOf(value, [...path, key]) : [];
  });
}

test("no setting takes a number that is none, is below its bound, or that f32 cannot hold", () => {
  const optional = [
    "world.step_time_limit",
    "world.patience",
    "grpo.max_advantage",
    "grpo.epsilon_high",
    "grpo.delta",
  ];
  const paths = [...numbersOf(trainConfigSchema.parse({})), ...optional];
  expect(paths.length).toBeGreaterThan(80);
  const taken = paths.flatMap((path) =>
    [".nan", "1e999", "1e300", "-1e300"]
      .filter((value) => {
        try {
          resolveLayers([overrideLayer(`${path}=${value}`)]);
          return true;
        } catch {
          return false;
        }
      })
      .map((value) => `${path}=${value}`),
  );
  expect(taken).toEqual([]);
});

test.each([
  ["world.step_time_limit=4294967", "at most 2000000 seconds"],
  ["world.process_time_limit=1e7", "at most 2000000 seconds"],
  ["grpo.temperature=1e-300", "a number from 0.000001"],
  ["grpo.adam_epsilon=1e-300", "1.2e-38 or more"],
  ["grpo.weight_decay=1e6", "a number from 0 to 1000"],
])("bounds of what the machine does: %s", (override, expected) => {
  expect(() => resolveLayers([overrideLayer(override)])).toThrow(expected);
});
