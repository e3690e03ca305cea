/** A policy at play: the model of a folder takes each step as it does in training. */
import { PassThrough } from "node:stream";
import type { MatrixStorage } from "../../autograd/parameter_slots.js";
import { ConfigError, DataError } from "../../core/errors.js";
import type { Environment, World } from "../../env/world.js";
import { beforeWork } from "../../host/files/before_work.js";
import {
  loadPolicy,
  openPolicyFiles,
  type PolicyFiles,
  policyTokenizer,
} from "../../host/model/policy_folder.js";
import { Launcher } from "../../kernels/index.js";
import { checkSampling } from "../../model/check_tokens.js";
import type { Qwen2Config } from "../../model/config.js";
import { Generator } from "../../model/generate.js";
import type { Tokenizer } from "../../model/tokenizer.js";
import { PromptBuilder } from "../../rl/play/prompt.js";
import { RolloutWorker } from "../../rl/play/rollout.js";
import type { CliContext } from "../kit/options.js";
import { type GpuOptions, withGpu } from "../kit/session.js";
import { firstStep, nextStep, type PlayStep, type PolicyOptions, type PolicyPlayer } from "./play_steps.js";

/**
 * @returns a player that opens the GPU for the length of each episode
 * @throws ConfigError for a model or an adapter that cannot be used
 */
export async function policyPlayer(
  gpu: GpuOptions & {
    readonly model: string;
    readonly lora?: string;
    readonly storage?: MatrixStorage;
    readonly temperature: number;
    readonly maxTokens?: number;
  },
  context: CliContext,
): Promise<PolicyPlayer> {
  const policy = await beforeWork(async () => {
    const files = await openPolicyFiles(gpu.model, gpu.lora);
    const tokenizer = policyTokenizer(files.folder);
    checkOptions(gpu, files.folder.config);
    if (tokenizer.eosTokenId !== null) return { files, tokenizer, endToken: tokenizer.eosTokenId };
    throw new DataError(
      `[${gpu.model}] tokenizer names no end token: got none, expected eos_token in tokenizer_config.json. Add it.`,
    );
  });
  for (const note of policy.files.folder.notes) context.terminal.warn(note);
  return (world, taskId, options) =>
    streamed(async (show, signal) => {
      const watchedWorld = watched(world, options.maxSteps, show);
      const episode = { world: watchedWorld, taskId, options, signal, storage: gpu.storage };
      await withGpu(gpu, context, ({ runtime }) => playEpisode(new Launcher(runtime), policy, episode));
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
      snapshot: environment.snapshot?.bind(environment),
      restore: environment.restore?.bind(environment),
      close: () => environment.close(),
    };
  };
  return { id: world.id, splits: world.splits, tasks: (split) => world.tasks(split), create };
}

/** @throws an error for sampling that no model does, or that this one cannot */
function checkOptions(
  { temperature, maxTokens = 1 }: { readonly temperature: number; readonly maxTokens?: number },
  { vocab_size: rows, max_position_embeddings: longest }: Qwen2Config,
): void {
  checkSampling({ temperature, maxNewTokens: maxTokens, endTokens: [] }, rows);
  if (maxTokens < longest) return;
  throw new ConfigError(
    `[play] --max-tokens is more than the model reads: got ${maxTokens}, expected less than ${longest} (max_position_embeddings). Lower it.`,
  );
}

interface PlayedPolicy {
  readonly files: PolicyFiles;
  readonly tokenizer: Tokenizer;
  readonly endToken: number;
}

interface Episode {
  readonly world: World;
  readonly taskId: string;
  readonly options: PolicyOptions;
  readonly signal: AbortSignal;
  readonly storage: MatrixStorage | undefined;
}

async function playEpisode(
  launcher: Launcher,
  { files, tokenizer, endToken }: PlayedPolicy,
  { world, taskId, options, signal, storage }: Episode,
): Promise<void> {
  const { maxSteps, maxTokens, temperature, seed, prompt } = options;
  const { model } = await loadPolicy(launcher, files, { requiresGrad: false, storage });
  const generator = new Generator(model);
  try {
    const worker = new RolloutWorker(world, new PromptBuilder(tokenizer, prompt), generator, endToken);
    await worker.play([{ taskId, taskType: "unknown", group: 0, episode: 0 }], {
      maxSteps,
      sampling: { temperature, maxNewTokens: maxTokens },
      seed,
      label: "play",
      signal,
    });
    await worker.close();
  } finally {
    generator.release();
    model.release();
    model.parameters.release();
  }
}
