/// <reference types="@webgpu/types" preserve="true" />
/**
 * uncouple without host code, for browsers and other runtimes: ops and their gradients, policies, text worlds, training. The
 * entry `uncouple/core`. Whoever uses it brings the adapter (`Runtime.create({ gpu, adapter })`) and the files.
 */

export { FlatParameters } from "./autograd/flat_parameters.js";
export { Tape } from "./autograd/tape.js";
export { Tensor } from "./autograd/tensor.js";
// training
export { type TrainConfig, trainConfigSchema } from "./config/schema.js";
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
// values and errors
export { Random } from "./core/random.js";
export type {
  Checkpoint,
  Evaluation,
  EvaluationRow,
  Metrics,
  MetricsRow,
  RolloutRow,
  RunSink,
} from "./core/run_record.js";
// gradient coupling: what it means
export {
  type ClassCosines,
  type CosineSummary,
  classCosines,
  type PairClasses,
} from "./coupling/analysis/class_cosines.js";
export { pearson, ranks, spearman } from "./coupling/analysis/correlation.js";
export {
  contrastProbability,
  drift,
  type FixedPoints,
  type FlawedAction,
  fitToy,
  fixedPoints,
  flawedActions,
  type Toy,
  toyEnd,
  type Zone,
  zoneOf,
} from "./coupling/analysis/danger_zone.js";
export {
  type Influence,
  type InfluenceOptions,
  influence,
  type PairInfluence,
  pushes,
  worstPairs,
} from "./coupling/analysis/influence.js";
export {
  type CrossParts,
  type InversionCauses,
  inversionCauses,
  splitCross,
} from "./coupling/analysis/inversion_causes.js";
export {
  gwhes,
  type LastLayerSample,
  lastLayerGram,
  type NthrScores,
  nthr,
  type TokenDistribution,
} from "./coupling/analysis/last_layer.js";
export {
  type GroupedSample,
  type GroupScores,
  type LastLayerScores,
  lastLayerScores,
} from "./coupling/analysis/last_layer_groups.js";
export { type Agreement, agreement, leaveOneOutPrediction } from "./coupling/analysis/leave_one_out.js";
export { couplingMetrics, type Probe, type PushedBatch, probeMetrics } from "./coupling/analysis/metrics.js";
export {
  type RepeatConsistency,
  repeatConsistency,
  type VisitedStep,
} from "./coupling/analysis/repeat_consistency.js";
export {
  type Centroids,
  centroids,
  type LabelledStates,
  linearProbe,
  type Plane,
  type ProbeOptions,
  type ProbeResult,
  principalPlane,
} from "./coupling/analysis/representation.js";
export { clusteredOrder } from "./coupling/analysis/seriation.js";
export {
  type CancellationResidual,
  cancellationResidual,
  type SharedTokenSample,
} from "./coupling/analysis/shared_tokens.js";
export { policyAdvantages, softmaxChange, softmaxTrajectory } from "./coupling/analysis/softmax_dynamics.js";
export {
  type StateAction,
  type StateActionInformation,
  stateActionInformation,
} from "./coupling/analysis/state_action.js";
// gradient coupling: how it is measured
export { type Direction, directions, type SampleDirections } from "./coupling/directions.js";
export type { CouplingForecast } from "./coupling/forecast.js";
export { type GramOptions, perSampleGram, type SampleGram } from "./coupling/gram.js";
export { backwardOf, pushesOf, readGradients, weightedLogProbs } from "./coupling/ground_truth/passes.js";
export {
  leaveOneOutChanges,
  type OptimiserChanges,
  optimiserStepChanges,
  plainStepChanges,
  type RealStep,
  rateFor,
} from "./coupling/ground_truth/real_steps.js";
export {
  type ResponseOptions,
  type ResponseStates,
  responseStates,
} from "./coupling/ground_truth/response_states.js";
export type { ProjectionOptions } from "./coupling/projected_sink.js";
export type { CouplingSample } from "./coupling/samples.js";
export { separateGradients } from "./coupling/separate.js";
export { diagnoseAlone, verifyGram } from "./coupling/verify.js";
export { householdWorld } from "./env/household/world.js";
// worlds
export type { Environment, Info, ResetResult, StepResult, Task, World } from "./env/world.js";
// device
export {
  type KernelFacts,
  type MatmulPrecision,
  type OpenAdapter,
  Runtime,
  type Tuning,
} from "./gpu/runtime.js";
// ops, tensors, automatic differentiation
export * from "./kernels/index.js";
// policies
export { PRESET_NAMES, parseQwen2Config, presetConfig, type Qwen2Config } from "./model/config.js";
export {
  type Generation,
  type GenerationRequest,
  Generator,
  type SamplingOptions,
} from "./model/generate.js";
export { type PackedTokens, packSequences } from "./model/packing.js";
export { parameterShapes, storedShapes } from "./model/parameters.js";
export { Qwen2Model } from "./model/qwen2.js";
export { Tokenizer } from "./model/tokenizer.js";
export { buildWordTokenizer } from "./model/word_tokenizer.js";
export { AdamW } from "./optim/adamw.js";
export { schedule } from "./optim/schedule.js";
export { type Advantages, estimateAdvantages } from "./rl/advantages/estimate.js";
export type { AdvantageOptions } from "./rl/advantages/options.js";
export type { AdvantageRow } from "./rl/advantages/table.js";
export {
  dropHarmful,
  type InfluencedRow,
  type InfluenceReport,
  type OnInfluence,
} from "./rl/loop/influence_hook.js";
export { runTraining, type TrainingDeps, type TrainingResult } from "./rl/loop/train.js";
export type { Episode, EpisodeEnd, EpisodeRequest } from "./rl/play/episode.js";
export { PromptBuilder } from "./rl/play/prompt.js";
export { RolloutWorker } from "./rl/play/rollout.js";
export type { Row } from "./rl/rows.js";
export { Learner } from "./rl/update/learner.js";
export { type SequenceScore, scoreSequences } from "./rl/update/score.js";
