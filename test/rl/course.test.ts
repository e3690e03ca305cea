/** The course of a run: what is evaluated, saved, told and released when, and what is refused. */
import { expect, test, vi } from "vitest";
import { type TrainConfigInput, trainConfigSchema } from "../../src/config/schema.js";
import type { Evaluation, Metrics } from "../../src/core/run_record.js";
import { openPolicy } from "../../src/host/run/training_setup.js";
import { Launcher } from "../../src/kernels/index.js";
import type { GeneratorOptions } from "../../src/model/generate.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { expertRows } from "../../src/rl/loop/imitation.js";
import { type ResumePoint, runTraining, type TrainingDeps } from "../../src/rl/loop/train.js";
import { colourWorld } from "../support/colour_world.js";
import { testRuntime } from "../support/runtime.js";

vi.mock("../../src/rl/loop/imitation.js", async (original) => {
  const real = await original<typeof import("../../src/rl/loop/imitation.js")>();
  return { ...real, expertRows: vi.fn(real.expertRows) };
});
const generators = vi.hoisted((): (GeneratorOptions | undefined)[] => []);
vi.mock("../../src/model/generate.js", async (original) => {
  const real = await original<typeof import("../../src/model/generate.js")>();
  class Generator extends real.Generator {
    constructor(...given: ConstructorParameters<typeof real.Generator>) {
      super(...given);
      generators.push(given[1]);
    }
  }
  return { ...real, Generator };
});
const launcher = new Launcher(await testRuntime());

/** Two updates of imitation and three of reinforcement, of one word each. */
const settings = {
  world: { max_steps: 1 },
  imitation: { episodes: 2, max_steps: 2, batch_size: 2 },
  grpo: { max_steps: 3, tasks_per_step: 2, num_generations: 2, max_completion_length: 1, beta: 0.1 },
  eval: { episodes: 2, modes: ["greedy"], splits: ["held_out"], every: 2 },
  checkpoint: { save_steps: 2 },
} satisfies TrainConfigInput;

interface Course {
  readonly result: Awaited<ReturnType<typeof runTraining>>;
  readonly metrics: readonly Metrics[];
  readonly evaluations: readonly Evaluation[];
  readonly lines: readonly string[];
  readonly checkpoints: { readonly step: number; readonly stage: string; readonly optimizer: number }[];
  /** Of each checkpoint. */
  readonly states: readonly unknown[];
  readonly tensors: ReadonlyMap<string, Float32Array>;
  /** Tasks of rows that were recorded. */
  readonly practised: ReadonlySet<string>;
  /** What is left on the GPU of what the run made. */
  readonly leftBytes: number;
}

async function run(
  input: TrainConfigInput,
  changes: Partial<TrainingDeps> = {},
  stop: (event: string) => boolean = () => false,
): Promise<Course> {
  const world = changes.world ?? colourWorld();
  const config = trainConfigSchema.parse(input);
  const { model, tokenizer } = await openPolicy(config, world, launcher);
  // the first pass makes what the model keeps
  model.reserve(64);
  const { buffers } = launcher.runtime;
  const before = buffers.liveBytes;
  const abort = new AbortController();
  const seen = (event: string) => void (stop(event) && abort.abort());
  const metrics: Metrics[] = [];
  const evaluations: Evaluation[] = [];
  const lines: string[] = [];
  const checkpoints: Course["checkpoints"] = [];
  const states: unknown[] = [];
  const tensors = new Map<string, Float32Array>();
  const practised = new Set<string>();
  let time = 0;
  seen("start");
  try {
    const result = await runTraining(config, {
      world,
      tokenizer,
      model,
      signal: abort.signal,
      now: () => {
        time += 500;
        return time;
      },
      logger: { info: (line) => void lines.push(line), warn: (line) => void lines.push(line) },
      sink: {
        metrics: async (row) => void metrics.push(row),
        evaluation: async (row) => {
          evaluations.push(row);
          seen(`evaluation ${row.step}`);
        },
        rollouts: async (_, rows) => {
          for (const { task_id } of rows) practised.add(task_id);
        },
        checkpoint: async ({ step, stage, tensors: saved, state }) => {
          states.push(state);
          checkpoints.push({ step, stage, optimizer: saved.optimizer.length });
          for (const { name, data } of [...saved.model, ...saved.optimizer])
            tensors.set(name, typeof data === "function" ? await data() : data);
        },
      },
      ...changes,
    });
    const leftBytes = buffers.liveBytes - before;
    return { result, metrics, evaluations, lines, checkpoints, states, tensors, practised, leftBytes };
  } finally {
    model.release();
    model.parameters.release();
  }
}

const stepsOf = (evaluations: readonly Evaluation[]) => evaluations.map(({ step, stage }) => [step, stage]);

test("stages end with an evaluation and a checkpoint; between come those that are asked for", async () => {
  const course = await run(settings);
  expect(course.result).toEqual({ step: 5, finished: true, evaluations: course.evaluations });
  expect(stepsOf(course.evaluations)).toEqual([
    [0, "start"],
    [2, "imitation"],
    [4, "grpo"],
    [5, "grpo"],
  ]);
  const { optimizer } = course.checkpoints[0];
  expect(optimizer).toBeGreaterThan(2);
  expect(course.checkpoints).toEqual([
    { step: 2, stage: "imitation", optimizer },
    { step: 4, stage: "grpo", optimizer },
    { step: 5, stage: "grpo", optimizer },
  ]);
  expect(course.leftBytes).toBe(0);
  const row = course.metrics[0];
  // two looks at the clock, half a second apart
  expect(row).toMatchObject({ step: 1, stage: "imitation", "perf/step_ms": 500 });
  expect(row["perf/tokens_per_s"]).toBe(2 * (row.num_tokens as number));
  expect(row["gpu/bytes_live"]).toBeGreaterThan(0);
  expect(row["gpu/bytes_peak"]).toBeGreaterThanOrEqual(row["gpu/bytes_live"] as number);
  const share = (value: number) => `${(100 * value).toFixed(1)} %`;
  const [first] = course.evaluations;
  expect(course.lines[0]).toBe(
    `evaluation after update 0, held_out, greedy: success ${share(first.success)} ` +
      `(95 % interval ${share(first.success_low)} to ${share(first.success_high)}, 2 episodes)`,
  );
  const plain = await run({
    ...settings,
    eval: { ...settings.eval, at_start: false, every: 0 },
    checkpoint: { save_steps: 0 },
  });
  expect(stepsOf(plain.evaluations)).toEqual([
    [2, "imitation"],
    [5, "grpo"],
  ]);
  expect(plain.checkpoints.map(({ step }) => step)).toEqual([2, 5]);
  // counted from the beginning of a stage
  const odd = await run({ ...settings, imitation: { ...settings.imitation, max_steps: 1 } });
  expect(stepsOf(odd.evaluations).map(([step]) => step)).toEqual([0, 1, 3, 4]);
});

test("a run that is stopped saves where it stands, and does not end", async () => {
  const early = await run(
    { ...settings, eval: { ...settings.eval, at_start: false } },
    {},
    (event) => event === "start",
  );
  expect(early.result).toEqual({ step: 0, finished: false, evaluations: [] });
  expect(early.checkpoints).toEqual([{ step: 0, stage: "imitation", optimizer: 0 }]);
  const between = await run(settings, {}, (event) => event === "evaluation 2");
  expect(between.result).toMatchObject({ step: 2, finished: false });
  // saved before the evaluation, and not twice
  expect(between.checkpoints.map(({ step }) => step)).toEqual([2]);
  expect(between.leftBytes).toBe(0);
});

test("evaluations that a checkpoint was followed by are not made again", async () => {
  const half = await run(settings, {}, (event) => event === "evaluation 2");
  const point = (evaluated: ResumePoint["evaluated"]): ResumePoint => {
    const reader = {
      tensors: half.tensors,
      read: async (name: string) => half.tensors.get(name) as Float32Array,
    };
    return { step: 2, model: reader, optimizer: reader, state: {}, evaluated };
  };
  const again = await run(settings, { resume: point([]) });
  expect(stepsOf(again.evaluations).map(([step]) => step)).toEqual([2, 4, 5]);
  expect(again.evaluations[0]).toEqual(half.evaluations[1]);
  expect(again.checkpoints.map(({ step }) => step)).toEqual([4, 5]);
  const rest = await run(settings, { resume: point([{ split: "held_out", mode: "greedy" }]) });
  expect(stepsOf(rest.evaluations).map(([step]) => step)).toEqual([4, 5]);
  expect(rest.metrics.map(({ step }) => step)).toEqual([3, 4, 5]);
});

test("what stages remember is saved, and goes on to evaluations", async () => {
  const input = {
    ...{ ...settings, seed: 9, correction: { enabled: true, dropout: 0 } },
    ...{ imitation: { episodes: 0 }, eval: { ...settings.eval, at_start: false } },
    grpo: { ...settings.grpo, max_steps: 2, beta: 0, tokens_per_micro_batch: 500 },
  };
  const begun = await run(input, {}, (event) => event === "evaluation 2");
  const forgotten = { active: [], counts: expect.any(Array), examples: expect.any(Array) };
  expect(begun.states).toEqual([
    { seed: 9, precision: "f32", stages: { grpo: { gcd: null, correction: forgotten } } },
  ]);
  expect(generators.at(-1)).toEqual({ tokensPerBatch: 500 });
  const habit = { taskType: "say", situation: "", action: "red", frequency: 1, visits: 9 };
  const active = [{ ...habit, text: "red", since: 1 }];
  const reader = {
    tensors: begun.tensors,
    read: async (name: string) => begun.tensors.get(name) as Float32Array,
  };
  const state = { stages: { grpo: { gcd: null, correction: { active, counts: [], examples: [] } } } };
  const resume: ResumePoint = { step: 2, model: reader, optimizer: reader, state, evaluated: [] };
  const { lines, evaluations } = await run(input, { resume });
  expect(evaluations.map(({ step, instructions }) => [step, instructions])).toEqual([
    [2, "without"],
    [2, "with"],
  ]);
  const beginnings = lines.map((line) => line.slice(0, line.indexOf(":")));
  expect(beginnings).toEqual(
    ["without", "with"].map((how) => `evaluation after update 2, held_out, greedy, ${how} instructions`),
  );
});

test("episodes of evaluations are handed on with the update that they follow, as many as asked for", async () => {
  const seen: unknown[] = [];
  const sink = {
    metrics: async () => {},
    evaluation: async () => {},
    rollouts: async () => {},
    checkpoint: async () => {},
    transcripts: async (step: number, { length }: readonly unknown[]) => void seen.push([step, length]),
  };
  const input = { ...settings, grpo: { max_steps: 0 }, log: { evaluation_episodes: 1 } };
  await run(input, { sink });
  expect(seen).toEqual([
    [0, 1],
    [2, 1],
  ]);
});

test("a run without updates has nothing to save", async () => {
  const nothing = { imitation: { episodes: 0 }, grpo: { max_steps: 0 }, eval: { at_start: false } };
  await expect(run(nothing)).rejects.toThrow("[train] the run has 0 updates, there is no number 0.");
});

test("demonstrations are shown as the configuration says", async () => {
  const shown = async (input: TrainConfigInput) => {
    vi.mocked(expertRows).mockClear();
    await run({ ...settings, ...input, grpo: { max_steps: 0 }, eval: { splits: [], at_start: false } });
    return vi.mocked(expertRows).mock.lastCall;
  };
  const plain = await shown({ seed: 4 });
  expect(plain?.[1]).toHaveLength(2);
  expect(plain?.[2]).toEqual({
    ...{
      seed: 4,
      isSearching: false,
      detours: 0,
      detourPattern: undefined,
      misplacedDetours: 0,
      maxSteps: 1,
    },
    ...{ questions: undefined, instructions: undefined },
  });
  const all = await shown({
    imitation: { ...settings.imitation, detours: 0.5, detour_pattern: "^r.d$", misplaced_detours: 0.25 },
    gcd: { cold_start_share: 0.25, mode: "think" },
    correction: { cold_start_share: 0.5, max_instructions: 2, max_tokens: 30 },
  });
  const { detourPattern, questions, instructions, ...rest } = all?.[2] ?? {
    seed: 0,
    detours: 0,
    maxSteps: 0,
  };
  expect(rest).toMatchObject({ detours: 0.5, misplacedDetours: 0.25 });
  expect(["red", "redder"].map((word) => detourPattern?.test(word))).toEqual([true, false]);
  expect([questions?.share, questions?.judge.options.mode]).toEqual([0.25, "think"]);
  expect([instructions?.share, instructions?.mistakes.limits]).toEqual([
    0.5,
    { perTaskType: 2, maxTokens: 30, tokensOf: expect.any(Function) },
  ]);
  const tokensOf = instructions?.mistakes.limits.tokensOf;
  expect(tokensOf?.("red blue")).toBe(2);
});

test("updates without a gradient are told, with their number", async () => {
  const nobody = colourWorld(() => false);
  const one = { ...settings, imitation: { episodes: 0 }, eval: { splits: [], at_start: false } };
  const grpo = { ...settings.grpo, max_steps: 1, beta: 0, invalid_action_penalty: 0 };
  const { lines } = await run({ ...one, grpo }, { world: nobody });
  expect(lines).toEqual(["update 1: no row has a gradient, so no optimiser step was taken"]);
  const twice = await run({ ...one, grpo: { ...grpo, num_iterations: 2 } }, { world: nobody });
  expect(twice.lines).toEqual(["update 1: no row has a gradient, so no optimiser step was taken (2 times)"]);
  const moved = await run({ ...one, grpo: { ...grpo, entropy_coef: 0.1 } }, { world: nobody });
  expect(moved.lines).toEqual([]);
});

test("a tokenizer without an end and types that no task has are refused", async () => {
  const endless = Object.create(Tokenizer.prototype, { eosTokenId: { value: null } }) as Tokenizer;
  await expect(run(settings, { tokenizer: endless })).rejects.toThrow(
    "[train] the tokenizer names no eos_token: expected one that ends an action. Add it to tokenizer_config.json.",
  );
  await expect(run({ ...settings, grpo: { ...settings.grpo, task_types: ["heat"] } })).rejects.toThrow(
    "[grpo] no task of split train has one of the types heat. Check world.task_types and grpo.task_types.",
  );
  const both = { ...settings, world: { max_steps: 1, task_types: ["say"] } };
  await expect(
    run({ ...both, imitation: { ...settings.imitation, task_types: ["heat", "cool"] } }),
  ).rejects.toThrow("[imitation] no task of split train has one of the types say and heat,cool. Check");
});

test("the types of a run and of a stage narrow its tasks together, and so do their numbers", async () => {
  const world = colourWorld();
  const types = ["say", "cry", "sing", "say"];
  const typed = {
    ...world,
    tasks: (split: string) => world.tasks(split).map((task, at) => ({ ...task, type: types[at] })),
  };
  const practised = async (of: TrainConfigInput["world"], grpo: TrainConfigInput["grpo"]) => {
    const input = {
      world: { max_steps: 1, ...of },
      imitation: { episodes: 0 },
      grpo: { ...settings.grpo, max_steps: 1, tasks_per_step: 4, ...grpo },
      eval: { splits: [], at_start: false },
      log: { rollouts: true },
    };
    return [...(await run(input, { world: typed })).practised].sort();
  };
  expect(await practised({}, {})).toEqual(["blue", "green", "red", "white"]);
  expect(await practised({ task_types: ["say", "cry"] }, { task_types: ["cry", "sing"] })).toEqual(["blue"]);
  expect(await practised({}, { task_types: ["say"] })).toEqual(["red", "white"]);
  expect(await practised({ max_tasks: 3 }, {})).toEqual(["blue", "green", "red"]);
  expect(await practised({}, { max_tasks: 1 })).toHaveLength(1);
});
