/** The memory plan against what a run really has in use, and by hand where parts can be worked out. */
import { expect, test } from "vitest";
import { checkFits } from "../../src/cli/train/dry_run.js";
import { trainConfigSchema } from "../../src/config/schema.js";
import { planRequest } from "../../src/host/run/memory.js";
import { Launcher } from "../../src/kernels/index.js";
import { presetConfig } from "../../src/model/config.js";
import { elementCount, parameterCount, parameterShapes, storedShapes } from "../../src/model/parameters.js";
import { type MemoryPlan, memoryCures, planMemory } from "../../src/rl/loop/memory_plan.js";
import { testRuntime } from "../support/runtime.js";
import { type ConfigInput, fewHouseholds, recordTraining } from "../support/training.js";

const runtime = await testRuntime();
const input: ConfigInput = {
  world: { max_steps: 4, household: { train: 6, in_domain: 2, out_of_domain: 0, difficulty: "easy" } },
  imitation: { episodes: 6, max_steps: 1, batch_size: 16, learning_rate: 1e-3 },
  grpo: { max_steps: 1, tasks_per_step: 3, num_generations: 6, beta: 0.05, tokens_per_micro_batch: 1000 },
  eval: { episodes: 2, modes: ["greedy"], splits: ["in_domain"] },
};
const bytesOf = ({ rows }: MemoryPlan, name: string) => rows.find((row) => row.name === name)?.bytes;

test("what a run of both stages has in use at its peak is planned within a tenth", async () => {
  const config = trainConfigSchema.parse(input);
  const plan = await planMemory(await planRequest(config, undefined, runtime.facts));
  expect(plan.rows.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(plan.totalBytes);
  expect(plan.heldBytes).toBeGreaterThanOrEqual(plan.totalBytes);
  const before = runtime.buffers.liveBytes;
  runtime.buffers.resetPeak();
  await recordTraining(new Launcher(runtime), fewHouseholds(), input);
  const measured = runtime.buffers.peakBytes - before;
  expect(plan.totalBytes / measured).toBeGreaterThan(0.9);
  expect(plan.totalBytes / measured).toBeLessThan(1.1);
});

test("weights, gradients and moments are those of the sizes; an adapter has its own alone; what saves is told", async () => {
  const model = presetConfig("qwen2.5-0.5b");
  const config = trainConfigSchema.parse({
    grpo: { max_steps: 1, tasks_per_step: 2, tokens_per_micro_batch: 1024 },
    imitation: { episodes: 0 },
    eval: { episodes: 1 },
  });
  const request = { config, model, lora: undefined, facts: { isSoftware: true } };
  const plan = await planMemory(request);
  const weights = 4 * parameterCount(model);
  const matrices = parameterShapes(model).reduce(
    (sum, { shape }) => sum + (shape.length > 1 ? 4 * elementCount(shape) : 0),
    0,
  );
  // slots begin at multiples of 256 bytes
  const near = (name: string, bytes: number, of = plan) => {
    expect(bytesOf(of, name), name).toBeGreaterThanOrEqual(bytes);
    expect(bytesOf(of, name), name).toBeLessThan(1.01 * bytes + 256 * storedShapes(model).length);
  };
  near("weights", weights);
  near("gradients", weights);
  near("moments", 2 * weights);
  const halves = { ...config, grpo: { ...config.grpo, adam_moments: "f16" as const } };
  near("moments", weights, await planMemory({ ...request, config: halves }));
  const mixed = await planMemory({
    ...request,
    config: { ...config, model: { ...config.model, precision: "mixed" } },
  });
  near("masters", matrices, mixed);
  near("weights", weights - matrices / 2, mixed);
  const lora = { rank: 8, alpha: 16, dropout: 0, targets: ["q_proj", "o_proj"] as const };
  const adapted = await planMemory({ ...request, lora });
  const factors = 4 * 24 * 2 * 8 * (896 + 896);
  near("gradients", factors, adapted);
  near("moments", 2 * factors, adapted);
  // the weights, those that the adapter changes once more (with the whole projection to queries, keys and values)
  near("weights", weights + 4 * 24 * 896 * (1152 + 896), adapted);
  // where they are bits of bf16 there are no changed ones, but factors and the same times their scale
  const bits = { ...config, model: { ...config.model, precision: "bf16" as const } };
  near("weights", weights - matrices / 2 + 2 * factors, await planMemory({ ...request, config: bits, lora }));
  const cures = await memoryCures(request, plan);
  const found = cures.map(({ settings }) => settings);
  expect(found).toEqual(expect.arrayContaining(["lora.rank=16", "model.gradient_checkpointing=true"]));
  // together they need less than alone, and as much as a plan with all of them says
  const [best] = cures;
  const last = cures[cures.length - 1];
  expect(last.totalBytes).toBeLessThan(0.95 * best.totalBytes);
  const given = last.settings.split(" ").map((setting) => setting.split("="));
  const all = { ...config, model: { ...config.model }, grpo: { ...config.grpo, max_steps: 1 } };
  for (const [name, value] of given) {
    const [section, field] = name.split(".");
    if (section === "lora") continue;
    Object.assign(Reflect.get(all, section), {
      [field]: /^\d+$/.test(value) ? Number(value) : parsed(value),
    });
  }
  const adapter = { rank: 16, alpha: 32, dropout: 0, targets: config.lora.targets };
  expect((await planMemory({ ...request, config: all, lora: adapter })).totalBytes).toBe(last.totalBytes);
  const refusal = (free: number) => {
    try {
      checkFits(plan, free, cures);
    } catch (error) {
      return (error as Error).message;
    }
  };
  expect(refusal(best.totalBytes)).toContain(`Set ${best.settings} (`);
  expect(refusal(2 ** 20)).toMatch(
    /\[memory\] the run does not fit: got \d+\.\d GiB in use at once .* Use a smaller model/,
  );
  expect(refusal(2 ** 20)).toContain(`the least is ${last.settings} (`);
  expect(refusal(2 ** 40)).toBeUndefined();
});

const parsed = (value: string): unknown => (value === "true" ? true : value);
