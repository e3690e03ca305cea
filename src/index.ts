/**
 * uncouple as a library: open a GPU, run and differentiate ops, build policies, play text worlds, train.
 * Everything here runs in Node; the folders core, gpu, kernels, autograd, model, optim, env and rl hold no Node imports.
 */

// values and errors
export { Random } from "./core/random.js";
export {
  AdapterError,
  ArgumentError,
  CheckError,
  ConfigError,
  DataError,
  DeviceError,
  EXIT,
  UncoupleError,
} from "./core/errors.js";
export { type Logger, silentLogger } from "./core/logger.js";
export type { Checkpoint, Evaluation, Metrics, RolloutRow, RunSink } from "./core/run_record.js";

// device
export { openGpu, type AdapterChoice, type OpenGpu } from "./host/drivers.js";
export { Runtime, type DeviceFacts } from "./gpu/runtime.js";

// ops, tensors, automatic differentiation
export * from "./kernels/index.js";
export { Tape } from "./autograd/tape.js";
export { Tensor } from "./autograd/tensor.js";
export { FlatParameters } from "./autograd/flat_parameters.js";
export { AdamW } from "./optim/adamw.js";
export { schedule } from "./optim/schedule.js";

// policies
export { parseQwen2Config, presetConfig, PRESET_NAMES, type Qwen2Config } from "./model/config.js";
export { parameterShapes } from "./model/parameters.js";
export { packSequences, type PackedTokens } from "./model/packing.js";
export { Qwen2Model } from "./model/qwen2.js";
export { Generator, type Generation, type GenerationRequest, type SamplingOptions } from "./model/generate.js";
export { Tokenizer } from "./model/tokenizer.js";
export { buildWordTokenizer } from "./model/word_tokenizer.js";
export { readModelFolder, writeModelFolder } from "./host/model_folder.js";
export { loadPolicy, policyTokenizer } from "./host/policy_folder.js";
export { scoreSequences, type SequenceScore } from "./rl/score.js";

// worlds
export type { Environment, Info, ResetResult, StepResult, Task, World } from "./env/world.js";
export { householdWorld } from "./env/household/world.js";
export { openAlfworldFolder } from "./host/alfworld_folder.js";

// training
export { trainConfigSchema, type TrainConfig } from "./rl/config.js";
export { groupAdvantages } from "./rl/advantages.js";
export { PromptBuilder } from "./rl/prompt.js";
export { RolloutWorker, type Episode } from "./rl/rollout.js";
export { Learner } from "./rl/learner.js";
export { runTraining, type TrainingDeps, type TrainingResult } from "./rl/train.js";
export { openPolicy, openTrainingWorld } from "./host/training_setup.js";
