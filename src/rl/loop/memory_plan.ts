/** How much GPU memory a run will need: the run's own code on a device that counts and computes nothing. */
import { FlatParameters, type FlatParametersOptions } from "../../autograd/flat_parameters.js";
import { stagesOf, type TrainConfig } from "../../config/schema.js";
import { storageOf } from "../../config/sections.js";
import { planningRuntime } from "../../gpu/planning_device.js";
import type { KernelFacts } from "../../gpu/runtime.js";
import { Launcher } from "../../kernels/index.js";
import type { Qwen2Config } from "../../model/config.js";
import { Generator } from "../../model/generate.js";
import { LoraAdapter } from "../../model/lora.js";
import type { LoraConfig } from "../../model/lora_config.js";
import { storedShapes } from "../../model/parameters.js";
import { Qwen2Model } from "../../model/qwen2.js";
import { imitationObjective } from "../objective/imitation.js";
import type { Objective } from "../objective/objective.js";
import { policyObjective } from "../objective/policy.js";
import type { Row } from "../rows.js";
import { Learner } from "../update/learner.js";
import { MEMORY_KINDS, type MemoryKind, MemoryLedger } from "./memory_ledger.js";
import { stageOptimizer } from "./optimizer.js";
import { referenceModel } from "./policy_state.js";
import { policyLoss } from "./policy_update.js";

/** One kind of memory at the moment when most is in use. */
export interface MemoryRow {
  readonly name: MemoryKind;
  readonly bytes: number;
}

export interface MemoryPlan {
  readonly rows: readonly MemoryRow[];
  /** Most bytes in use at once: the sum of the rows. What a run's metrics call `gpu/bytes_peak`. */
  readonly totalBytes: number;
  /** Bytes that the device is asked for: buffers that wait to be used again included. */
  readonly heldBytes: number;
  readonly largest: { readonly label: string; readonly bytes: number };
  readonly texts: TextSizes;
}

/** Lengths of the texts of a run, in tokens. */
export interface TextSizes {
  /** The longest prompt of one step. */
  readonly prompt: number;
  /** An average one that the expert shows the answer to. */
  readonly shownPrompt: number;
  /** An answer that the expert shows. */
  readonly shown: number;
  /** What the world says to one command. */
  readonly observation: number;
}

/** Where nothing is known of a world. */
export const ASSUMED_TEXTS: TextSizes = { prompt: 512, shownPrompt: 512, shown: 16, observation: 32 };

export interface PlanRequest {
  readonly config: TrainConfig;
  readonly model: Qwen2Config;
  /** Settings of the adapter that is trained, if one is. */
  readonly lora: LoraConfig | undefined;
  /** Of the adapter, or whether it is a software adapter, where none is open. */
  readonly facts: KernelFacts | { readonly isSoftware: boolean };
  readonly texts?: TextSizes;
}

/** Sequences that the generator decodes side by side; more are served in turn. */
const SEQUENCES = 256;

/**
 * Plans the memory of a run: model, optimiser, reference policy, one rollout and one update of each stage are made as the run
 * makes them, with texts of the sizes given.
 * @throws ArgumentError where a tensor is beyond what the adapter can bind
 */
export async function planMemory(request: PlanRequest): Promise<MemoryPlan> {
  const { config, texts = ASSUMED_TEXTS } = request;
  const runtime = await planningRuntime(request.facts);
  const ledger = new MemoryLedger(runtime.buffers);
  const launcher = new Launcher(runtime);
  const model = plannedModel(launcher, request);
  const generator = new Generator(model, { tokensPerBatch: config.grpo.tokens_per_micro_batch });
  const sizes = { ...texts, ...lengthsOf(request, texts) };
  const evaluated = Math.min(config.eval.episodes, environments(config));
  if (config.eval.at_start) await rollOut(generator, evaluated, sizes);
  for (const stage of stagesOf(config)) {
    const optimizer = stageOptimizer(model, config[stage]);
    const learner = new Learner(model, optimizer, config[stage].tokens_per_micro_batch);
    if (stage === "imitation") {
      const shown = { ...sizes, longest: Math.min(sizes.shownPrompt, sizes.longest) };
      const { batch_size, batch_of } = config.imitation;
      const count = batch_of === "episodes" ? batch_size * config.world.max_steps : batch_size;
      const rows = rowsOf(request, shown, sizes.shown, count, stage);
      await update(learner, imitationObjective(rows, config.imitation.prompt_loss_weight));
    } else {
      const { beta, kl_in } = config.grpo;
      const reference =
        beta > 0 ? await ledger.as("reference policy", () => referenceModel(model, undefined)) : undefined;
      await rollOut(generator, players(config), sizes);
      const count = players(config) * config.world.max_steps;
      const rows = rowsOf(request, sizes, config.grpo.max_completion_length, count, stage);
      const fixed = reference && kl_in === "loss" ? await learner.score(rows, 1, reference) : undefined;
      await learner.score(rows, 1);
      const options = { temperature: config.grpo.temperature, policy: policyLoss(config) };
      const old = rows.map(({ answer }) => new Float32Array(answer.length));
      await update(learner, policyObjective(rows, { old, reference: fixed }, options));
    }
    optimizer.release();
  }
  await rollOut(generator, evaluated, sizes);
  const { bytes, kinds } = ledger.peak;
  const plan = {
    rows: MEMORY_KINDS.filter((name) => kinds.get(name)).map((name) => ({
      name,
      bytes: kinds.get(name) as number,
    })),
    totalBytes: bytes,
    heldBytes: runtime.buffers.heldBytes,
    largest: ledger.largest,
    texts,
  };
  await runtime.dispose();
  return plan;
}

async function update(learner: Learner, objective: Objective): Promise<void> {
  await learner.update(objective, 0, { keepLogProbs: true });
}

function plannedModel(launcher: Launcher, { config, model, lora }: PlanRequest): Qwen2Model {
  const { precision, fused, gradient_checkpointing: recompute } = config.model;
  const options: FlatParametersOptions = {
    storage: storageOf(precision),
    requiresGrad: lora === undefined,
  };
  const parameters = new FlatParameters(launcher.runtime, storedShapes(model), options);
  const plain = new Qwen2Model(launcher, model, parameters, { fused, recompute });
  return lora ? plain.withAdapter(new LoraAdapter(launcher, parameters, model, lora)) : plain;
}

/** Episodes that can be played at the same time. */
function environments({ world }: TrainConfig): number {
  return world.max_environments ?? Number.POSITIVE_INFINITY;
}

/** Episodes that are played at the same time in an update. */
function players(config: TrainConfig): number {
  const { num_generations, tasks_per_step } = config.grpo;
  return Math.min(num_generations * tasks_per_step, environments(config));
}

interface Lengths {
  /** The longest text without its last answer, and that answer. */
  readonly longest: number;
  readonly answer: number;
}

function lengthsOf({ config, model }: PlanRequest, texts: TextSizes): Lengths {
  const { context, max_tokens } = config.prompt;
  const answer = config.grpo.max_completion_length;
  const steps = context === "episode" ? config.world.max_steps - 1 : 0;
  const grown = texts.prompt + steps * (answer + texts.observation);
  return {
    longest: Math.max(1, Math.min(grown, max_tokens ?? grown, model.max_position_embeddings - answer)),
    answer,
  };
}

/** Zeros are read back from the device, and end each answer at its first token. */
async function rollOut(generator: Generator, episodes: number, { longest, answer }: Lengths): Promise<void> {
  const { vocab_size: V } = generator.model.config;
  const requests = Array.from({ length: Math.min(SEQUENCES, episodes) }, (_, stream) => ({
    prompt: tokens(longest, stream, V),
    stream,
  }));
  const options = { temperature: 1, maxNewTokens: answer, endTokens: [0], seed: 0 };
  await generator.generate(requests, options);
}

const tokens = (count: number, first: number, V: number): number[] =>
  Array.from({ length: count }, (_, t) => (t === 0 ? first : t) % V);

/** Rows that fill a micro-batch, as far as an update has so many. */
function rowsOf(
  { config, model: { vocab_size: V } }: PlanRequest,
  sizes: TextSizes & Lengths,
  answerTokens: number,
  most: number,
  stage: "imitation" | "grpo",
): Row[] {
  const N = config[stage].tokens_per_micro_batch;
  const isChain = isOneText(config, stage);
  const perRow = isChain ? answerTokens + sizes.observation : sizes.longest + answerTokens - 1;
  const perText = Math.min(N, sizes.longest + answerTokens);
  const rowsOfText = isChain ? Math.max(1, Math.floor((perText - sizes.prompt) / perRow)) : 1;
  const texts = Math.max(1, Math.floor(N / (isChain ? perText : perRow)));
  return Array.from({ length: Math.min(most, texts * rowsOfText) }, (_, index): Row => {
    const answer = tokens(answerTokens, 1, V);
    const [text, step] = [Math.floor(index / rowsOfText), index % rowsOfText];
    const prompt = isChain ? tokens(sizes.prompt + step * perRow, text, V) : tokens(sizes.longest, text, V);
    const place = { group: 0, episode: text, step, taskId: "", taskType: "" };
    return { kind: "policy", prompt, answer, advantage: index % 2 === 0 ? 1 : -1, ...place };
  });
}

/** Whether the rows of an episode come one after the other and go on from each other. */
function isOneText({ prompt, imitation }: TrainConfig, stage: "imitation" | "grpo"): boolean {
  return prompt.context === "episode" && (stage === "grpo" || imitation.batch_of === "episodes");
}

/** Settings that make a run need less, as a command line takes them, and what it needs then. */
export interface MemoryCure {
  readonly settings: string;
  readonly totalBytes: number;
}

/** A way to need less. */
interface Change {
  readonly settings: string;
  readonly apply: (request: PlanRequest) => PlanRequest;
}

/**
 * Tries the settings that save memory one by one, and then more and more of them together.
 * @returns those that save a twentieth or more, the best first; then the best one with the next, and so on
 */
export async function memoryCures(request: PlanRequest, plan: MemoryPlan): Promise<MemoryCure[]> {
  const alone: (MemoryCure & Change)[] = [];
  for (const change of changesOf(request)) {
    const { totalBytes } = await planMemory(change.apply(request));
    if (totalBytes < 0.95 * plan.totalBytes) alone.push({ ...change, totalBytes });
  }
  alone.sort((a, b) => a.totalBytes - b.totalBytes);
  const together: MemoryCure[] = [];
  const [best, ...others] = alone;
  let last = best;
  for (const { settings, apply } of others) {
    const before = last;
    const both = (from: PlanRequest) => apply(before.apply(from));
    const { totalBytes } = await planMemory(both(request));
    if (totalBytes >= 0.95 * before.totalBytes) continue;
    last = { settings: joined(before.settings, settings), apply: both, totalBytes };
    together.push(last);
  }
  return [...alone, ...together].map(({ settings, totalBytes }) => ({ settings, totalBytes }));
}

/** Later values of a setting replace earlier ones. */
function joined(before: string, more: string): string {
  const settings = [...before.split(" "), ...more.split(" ")].map(
    (one) => one.split("=") as [string, string],
  );
  return [...new Map(settings)].map((pair) => pair.join("=")).join(" ");
}

function changesOf({ config, lora }: PlanRequest): Change[] {
  const { grpo } = config;
  const changed = <Section extends "model" | "grpo" | "imitation">(
    section: Section,
    fields: Partial<TrainConfig[Section]>,
  ): Change => ({
    settings: Object.entries(fields)
      .map(([field, value]) => `${section}.${field}=${value}`)
      .join(" "),
    apply: (request) => ({
      ...request,
      config: { ...request.config, [section]: { ...request.config[section], ...fields } },
    }),
  });
  const all = (...changes: Change[]): Change => ({
    settings: changes.map(({ settings }) => settings).join(" "),
    apply: (request) => changes.reduce((before, { apply }) => apply(before), request),
  });
  const stages = stagesOf(config);
  const bits = changed("model", { precision: "bf16" });
  const adapter: Change = {
    settings: "lora.rank=16",
    apply: (request) => ({
      ...request,
      lora: { rank: 16, alpha: 32, dropout: 0, targets: config.lora.targets },
    }),
  };
  return [
    changed("model", { gradient_checkpointing: true }),
    changed("model", { precision: "mixed" }),
    all(...stages.map((stage) => changed(stage, { adam_moments: "f16" }))),
    changed("grpo", { beta: 0 }),
    changed("grpo", { tasks_per_step: Math.ceil(grpo.tasks_per_step / 2) }),
    ...stages.map((stage) =>
      changed(stage, { tokens_per_micro_batch: Math.ceil(config[stage].tokens_per_micro_batch / 4) }),
    ),
    ...(lora ? [bits] : [adapter, all(adapter, bits)]),
  ];
}
