/** A model folder that answers texts: what `generate` and `chat` share. */
import { Option } from "@commander-js/extra-typings";
import type { MatrixStorage } from "../../autograd/parameter_slots.js";
import { ConfigError } from "../../core/errors.js";
import { beforeWork } from "../../host/files/before_work.js";
import {
  loadPolicy,
  openPolicyFiles,
  type PolicyFiles,
  policyTokenizer,
} from "../../host/model/policy_folder.js";
import { Launcher } from "../../kernels/index.js";
import { checkSampling } from "../../model/check_tokens.js";
import { type Generation, Generator } from "../../model/generate.js";
import { cacheStorage } from "../../model/kv_cache.js";
import type { Tokenizer } from "../../model/tokenizer.js";
import { decimalNumber, wholeNumber } from "../kit/numbers.js";
import { type CliContext, gpuCommand, loraOption, type Register, storageOption } from "../kit/options.js";
import { type GpuOptions, withGpu } from "../kit/session.js";
import { noTuneOption } from "../kit/tuning.js";

export interface AnswerOptions extends GpuOptions {
  readonly model: string;
  readonly lora?: string;
  readonly storage?: MatrixStorage;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly seed: number;
}

/** Starts a command that samples from a model. */
export function samplingCommand(program: Parameters<Register>[0], name: string, description: string) {
  return gpuCommand(program, name, description)
    .requiredOption("--model <folder>", "model in Hugging Face layout")
    .addOption(loraOption())
    .addOption(storageOption())
    .option("--max-tokens <number>", "most tokens of an answer", wholeNumber(1), 256)
    .addOption(
      new Option("--temperature <number>", "divides the logits; 0 takes the most likely token")
        .argParser(decimalNumber(0))
        .default(1),
    )
    .option("--top-k <number>", "sample among so many of the most likely tokens; 0 = all", wholeNumber(0), 0)
    .addOption(
      new Option("--top-p <number>", "sample among the most likely tokens that together hold this mass")
        .argParser(decimalNumber(0, 1))
        .default(1),
    )
    .option("--seed <number>", "seed of the draws", wholeNumber(0), 0)
    .addOption(noTuneOption());
}

/** A model that is loaded. */
export interface Answerer {
  readonly tokenizer: Tokenizer;
  /** One answer a prompt; equal prompts are computed once. @param stream number of the first prompt's random stream */
  answer(prompts: readonly (readonly number[])[], stream: number): Promise<Generation[]>;
}

/** How a model reads texts, known before a GPU is opened. */
export interface Texts {
  readonly tokenizer: Tokenizer;
  /** @throws ConfigError for a prompt after which an answer would be longer than the model reads */
  readonly checkLength: (prompt: readonly number[]) => void;
}

function textsOf({ folder }: PolicyFiles, { maxTokens }: AnswerOptions): Texts {
  const { path, config } = folder;
  const most = config.max_position_embeddings;
  return {
    tokenizer: policyTokenizer(folder),
    checkLength: ({ length }) => {
      if (length + maxTokens <= most) return;
      throw new ConfigError(
        `[${path}] prompt and answer too long: got ${length} and --max-tokens ${maxTokens}, expected at most ${most} tokens together (max_position_embeddings). Shorten one of them.`,
      );
    },
  };
}

/** Opens GPU and model, and closes them when the action is done.
 *  @param check looks at what is asked for, before a GPU is opened */
export async function withAnswerer(
  options: AnswerOptions,
  context: CliContext,
  check: (texts: Texts) => void,
  action: (answerer: Answerer) => Promise<void>,
): Promise<void> {
  const { model: path, lora, storage, maxTokens, temperature, topK, topP, seed } = options;
  const { files, tokenizer, checkLength } = await beforeWork(async () => {
    const opened = await openPolicyFiles(path, lora);
    const texts = textsOf(opened, options);
    const { endTokenIds: endTokens } = texts.tokenizer;
    const sampling = { maxNewTokens: maxTokens, temperature, topK, topP, endTokens };
    checkSampling(sampling, opened.folder.config.vocab_size);
    // the shortest prompt has a token
    texts.checkLength([0]);
    check(texts);
    return { files: opened, ...texts };
  });
  await withGpu(options, context, async ({ runtime }) => {
    const { model, folder } = await loadPolicy(new Launcher(runtime), files, {
      requiresGrad: false,
      storage,
    });
    for (const note of folder.notes) context.terminal.warn(note);
    const generator = new Generator(model, { cache: cacheStorage(storage, runtime.facts) });
    const endTokens = tokenizer.endTokenIds;
    const sampling = { temperature, topK, topP, maxNewTokens: maxTokens, endTokens, seed };
    try {
      await action({
        tokenizer,
        answer: (prompts, stream) => {
          for (const prompt of prompts) checkLength(prompt);
          const requests = prompts.map((prompt, index) => ({ prompt, stream: stream + index }));
          return generator.generate(requests, sampling);
        },
      });
    } finally {
      generator.release();
      model.release();
      model.parameters.release();
    }
  });
}
