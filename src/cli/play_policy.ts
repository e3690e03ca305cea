/** A policy at play: the model of a folder takes each step as it does in training. */
import { readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { PassThrough } from "node:stream";
import { parse } from "yaml";
import { FlatParameters } from "../autograd/flat_parameters.js";
import { DataError } from "../core/errors.js";
import type { Environment, World } from "../env/world.js";
import { pathExists } from "../host/files.js";
import { openTokenizer, readModelFolder } from "../host/model_folder.js";
import { RUN_FILES } from "../host/run_info.js";
import { Launcher } from "../kernels/launch.js";
import { Generator } from "../model/generate.js";
import { parameterShapes } from "../model/parameters.js";
import { Qwen2Model } from "../model/qwen2.js";
import { type TrainConfig, trainConfigSchema } from "../rl/config.js";
import { PromptBuilder } from "../rl/prompt.js";
import { RolloutWorker } from "../rl/rollout.js";
import type { CliContext } from "./options.js";
import { firstStep, nextStep, type PlayStep, type PolicyOptions, type PolicyPlayer } from "./play_steps.js";
import { type GpuOptions, type GpuSession, withGpu } from "./session.js";

/** @returns a player that opens the GPU for the length of each episode */
export function policyPlayer(gpu: GpuOptions, context: CliContext): PolicyPlayer {
  return (world, taskId, options) =>
    streamed(async (show, signal) => {
      const watchedWorld = watched(world, options.maxSteps, show);
      await withGpu(gpu, context, (session) => playEpisode(session, watchedWorld, taskId, options, signal));
    });
}

/** Runs `run` and yields what it shows, as it comes. Whoever stops reading early stops the run.
 *  @throws what `run` throws */
export async function* streamed(
  run: (show: (step: PlayStep) => void, signal: AbortSignal) => Promise<void>,
): AsyncGenerator<PlayStep> {
  const steps = new PassThrough({ objectMode: true });
  const stop = new AbortController();
  const running = run((step) => steps.write(step), stop.signal).then(
    () => void steps.end(),
    (error) => {
      if (!stop.signal.aborted) steps.destroy(error);
    },
  );
  try {
    // The stream stays whole when reading ends early: the run may still write to it.
    yield* steps.iterator({ destroyOnReturn: false });
  } finally {
    stop.abort();
    await running;
  }
}

/** A world whose environments show every step that somebody makes in them. */
export function watched(world: World, maxSteps: number, show: (step: PlayStep) => void): World {
  const create = (): Environment => {
    const environment = world.create();
    let count = 0;
    return {
      async reset(options) {
        const result = await environment.reset(options);
        count = 0;
        show(firstStep(result));
        return result;
      },
      async step(command) {
        const result = await environment.step(command);
        count++;
        show(nextStep(count, command, result, maxSteps));
        return result;
      },
      snapshot: () => environment.snapshot(),
      restore: (snapshot) => environment.restore(snapshot),
      close: () => environment.close(),
    };
  };
  return { id: world.id, splits: world.splits, tasks: (split) => world.tasks(split), create };
}

async function playEpisode(
  { runtime }: GpuSession,
  world: World,
  taskId: string,
  options: PolicyOptions,
  signal: AbortSignal,
): Promise<void> {
  const { model: path, maxSteps, temperature, seed } = options;
  const folder = await readModelFolder(path);
  const tokenizer = openTokenizer(folder);
  const { prompt, grpo } = await trainedWith(path);
  if (tokenizer.eosTokenId === null) {
    throw new DataError(
      `[${path}] tokenizer names no end token: got none, expected eos_token in tokenizer_config.json. Add it.`,
    );
  }
  const shapes = parameterShapes(folder.config);
  const parameters = new FlatParameters(runtime, shapes, { requiresGrad: false });
  for (const { name } of shapes) parameters.load(name, await folder.tensors.read(name));
  const model = new Qwen2Model(new Launcher(runtime), folder.config, parameters);
  const generator = new Generator(model);
  const prompts = new PromptBuilder(tokenizer, {
    format: options.format ?? prompt.format,
    history: options.history ?? prompt.history,
    admissible: options.admissible ?? prompt.admissible,
  });
  const worker = new RolloutWorker(world, prompts, generator, tokenizer.eosTokenId);
  try {
    await worker.play([{ taskId, taskType: "unknown", group: 0, episode: 0 }], {
      maxSteps,
      sampling: { temperature, maxNewTokens: options.maxTokens ?? grpo.max_completion_length },
      seed,
      label: "play",
      signal,
    });
  } finally {
    await worker.close();
    generator.release();
    model.release();
    parameters.release();
  }
}

/** The configuration of the run that exported a model, which lies beside its folder; defaults for other models. */
async function trainedWith(path: string): Promise<TrainConfig> {
  const file = join(dirname(resolve(path)), RUN_FILES.config);
  const content: unknown = (await pathExists(file)) ? parse(await readFile(file, "utf8")) : {};
  const result = trainConfigSchema.safeParse(content);
  if (result.success) return result.data;
  const [{ path: field, message }] = result.error.issues;
  throw new DataError(
    `[${file}] configuration of the run is wrong: got a bad \`${field.join(".")}\`, expected ${message}. ` +
      "Move the model folder away from it, or correct it.",
  );
}
