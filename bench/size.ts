/** A model at work, one thing after the other: loading, a pass, generation, training steps. Times, and memory beside its plan. */
import { FlatParameters } from "../src/autograd/flat_parameters.js";
import type { MatrixStorage } from "../src/autograd/parameter_slots.js";
import { Random } from "../src/core/random.js";
import { planningRuntime } from "../src/gpu/planning_device.js";
import type { Runtime } from "../src/gpu/runtime.js";
import { loadWeights } from "../src/host/model/load_weights.js";
import type { ModelFolder } from "../src/host/model/model_folder.js";
import { Launcher } from "../src/kernels/index.js";
import { presetConfig, type Qwen2Config } from "../src/model/config.js";
import { Generator } from "../src/model/generate.js";
import { cacheStorage } from "../src/model/kv_cache.js";
import { LoraAdapter } from "../src/model/lora.js";
import { LORA_TARGETS } from "../src/model/lora_config.js";
import { parameterCount, parameterShapes, storedShapes } from "../src/model/parameters.js";
import { Qwen2Model } from "../src/model/qwen2.js";
import { AdamW, type AdamWOptions } from "../src/optim/adamw.js";
import { imitationObjective } from "../src/rl/objective/imitation.js";
import type { Row } from "../src/rl/rows.js";
import { Learner } from "../src/rl/update/learner.js";
import { scoreSequences } from "../src/rl/update/score.js";
import { randomWeights } from "./make_model.js";
import { wallTime } from "./measure.js";
import { referenceLogProbs } from "./reference_model.js";

/** What can be measured: log-probabilities of a pass, sampling, a step of an adapter, a step of all weights. */
export const SIZE_WORKS = ["forward", "generate", "adapter", "train"] as const;
export type SizeWork = (typeof SIZE_WORKS)[number];

export interface SizeOptions {
  readonly works: readonly SizeWork[];
  /** Of frozen matrices; weights that are trained are f32. */
  readonly storage: MatrixStorage;
  /** Sequences, and tokens of each. */
  readonly B: number;
  readonly T: number;
  /** Tokens of an answer, whose mean time is that of one step of decoding. */
  readonly newTokens: number;
  readonly rank: number;
  readonly moments: NonNullable<AdamWOptions["moments"]>;
  readonly recompute: boolean;
  /** Times that each work is done after the first. */
  readonly repeats: number;
  /** Tokens whose log-probabilities are held against float64; 0 = none. */
  readonly checked: number;
}

/** A model by its shape and where its weights come from; without a folder they are drawn. */
export interface SizeSubject {
  readonly name: string;
  readonly config: Qwen2Config;
  readonly folder?: ModelFolder;
}

export interface SizeRow {
  readonly model: string;
  readonly work: string;
  /** Milliseconds with all that happens once: pipelines are compiled. */
  readonly firstMs: number;
  /** Shortest, the first included. */
  readonly ms: number;
  /** Floating point operations of the matrix products and of attention. */
  readonly flops?: number;
  /** Bytes of weights that it reads, from files of BF16 or from the adapter's memory. */
  readonly bytes?: number;
  readonly peakBytes: number;
  readonly plannedBytes: number;
  /** Largest distance of a log-probability from float64. */
  readonly error?: number;
}

/** The preset that others are compared with. */
export function smallSubject(): SizeSubject {
  return { name: "small", config: presetConfig("small", 2048) };
}

/** Does all works on a real device, and once on one that only counts. */
export async function benchSize(
  launcher: Launcher,
  subject: SizeSubject,
  options: SizeOptions,
  onRow: (row: SizeRow) => void,
): Promise<SizeRow[]> {
  const runtime = await planningRuntime(launcher.facts);
  const planned: number[] = [];
  const counted = { ...options, repeats: 0, checked: 0 };
  await enact(new Launcher(runtime), { ...subject, fill: async () => {} }, counted, ({ peakBytes }) => {
    planned.push(peakBytes);
  });
  await runtime.dispose();
  const rows: SizeRow[] = [];
  const fill = (parameters: FlatParameters) => fillFrom(subject, parameters);
  await enact(launcher, { ...subject, fill }, options, (measured) => {
    const row = { ...measured, plannedBytes: planned[rows.length] };
    rows.push(row);
    onRow(row);
  });
  await launcher.runtime.trim();
  return rows;
}

type Measured = Omit<SizeRow, "plannedBytes">;

interface FilledSubject extends SizeSubject {
  readonly fill: (parameters: FlatParameters) => Promise<void>;
}

async function enact(
  launcher: Launcher,
  subject: FilledSubject,
  options: SizeOptions,
  onRow: (row: Measured) => void,
): Promise<void> {
  const { runtime } = launcher;
  const { name: model, config } = subject;
  const { works, storage, B, T, repeats, recompute } = options;
  const measured = (run: () => Promise<void>) => timed(runtime, run, repeats);
  const sequences = drawnSequences(config, B, T);
  const rows = sequences.map(rowOf);
  const opened = async (requiresGrad: boolean, as: MatrixStorage) => {
    let parameters: FlatParameters | undefined;
    const load = async () => {
      parameters = new FlatParameters(runtime, storedShapes(config), { requiresGrad, storage: as });
      await subject.fill(parameters);
      await runtime.finish();
    };
    onRow({
      model,
      work: `load as ${as}`,
      bytes: 2 * parameterCount(config),
      ...(await timed(runtime, load, 0)),
    });
    return new Qwen2Model(launcher, config, parameters as FlatParameters, { recompute });
  };
  const close = async (policy: Qwen2Model) => {
    policy.release();
    policy.parameters.release();
    await runtime.trim();
  };
  if (works.some((work) => work !== "train")) {
    const policy = await opened(false, storage);
    const bytes = readBytes(config, storage);
    if (works.includes("forward")) {
      const head = { model, work: `pass, B ${B}, T ${T}`, flops: passFlops(config, B, T), bytes };
      const times = await measured(async () => void (await scoreSequences(policy, sequences)));
      onRow({ ...head, ...times, ...(await errorOf(policy, subject, sequences, options.checked)) });
    }
    if (works.includes("generate"))
      for (const row of await generation(policy, options)) onRow({ model, bytes, ...row });
    if (works.includes("adapter")) {
      const lora = { rank: options.rank, alpha: 2 * options.rank, dropout: 0, targets: LORA_TARGETS };
      const adapter = new LoraAdapter(launcher, policy.parameters, config, lora);
      adapter.initialise(Random.of(3, "adapter"));
      // forward, again where layers are recomputed, and the gradients of the inputs
      const flops = (recompute ? 3 : 2) * passFlops(config, B, T);
      const adapted = policy.withAdapter(adapter);
      const times = await training(adapted, rows, options, measured);
      onRow({ model, work: `adapter step, B ${B}, T ${T}`, flops, ...times });
      adapted.release();
    }
    await close(policy);
  }
  if (works.includes("train")) {
    const policy = await opened(true, "f32");
    const flops = (recompute ? 4 : 3) * passFlops(config, B, T);
    const times = await training(policy, rows, options, measured);
    onRow({ model, work: `AdamW step, B ${B}, T ${T}`, flops, ...times });
    await close(policy);
  }
}

type Times = Pick<Measured, "firstMs" | "ms" | "peakBytes">;

async function timed({ buffers }: Runtime, run: () => Promise<void>, repeats: number): Promise<Times> {
  buffers.resetPeak();
  const firstMs = await wallTime(run);
  let ms = firstMs;
  for (let repeat = 0; repeat < repeats; repeat++) ms = Math.min(ms, await wallTime(run));
  return { firstMs, ms, peakBytes: buffers.peakBytes };
}

/** Rows of the prompts with a first token, and of one step of decoding: answers to one token, by their length. */
async function generation(
  policy: Qwen2Model,
  { B, T, newTokens, storage, repeats }: SizeOptions,
): Promise<Omit<Measured, "model">[]> {
  const { config, launcher } = policy;
  const { runtime, facts } = launcher;
  const generator = new Generator(policy, { cache: cacheStorage(storage, facts) });
  const answer = (prompts: number, maxNewTokens: number) => {
    const requests = drawnSequences(config, B, prompts).map((prompt, stream) => ({ prompt, stream }));
    const sampling = { temperature: 1, endTokens: [], seed: 1, maxNewTokens };
    return timed(runtime, async () => void (await generator.generate(requests, sampling)), repeats);
  };
  const first = await answer(T, 1);
  const { firstMs, ms, peakBytes } = await answer(1, newTokens);
  generator.release();
  return [
    { work: `prompts, B ${B}, T ${T}, and first tokens`, flops: passFlops(config, B, T, B), ...first },
    {
      work: `one of ${newTokens} tokens, B ${B}`,
      flops: passFlops(config, B, 1, B),
      firstMs: firstMs / newTokens,
      ms: ms / newTokens,
      peakBytes,
    },
  ];
}

async function training(
  policy: Qwen2Model,
  rows: readonly Row[],
  { moments, B, T }: SizeOptions,
  measured: (run: () => Promise<void>) => Promise<Times>,
): Promise<Times> {
  const { launcher, trained, parameters } = policy;
  const lossScale = parameters.half ? {} : undefined;
  const optimizer = new AdamW({
    parameters: trained,
    launcher,
    lr: 1e-4,
    moments,
    maxGradNorm: 1,
    lossScale,
  });
  const learner = new Learner(policy, optimizer, B * T);
  const times = await measured(async () => void (await learner.update(imitationObjective(rows), 1e-4)));
  optimizer.release();
  return times;
}

/** Each token but the first is predicted. */
function rowOf(tokens: readonly number[], episode: number): Row {
  const place = { group: 0, episode, step: 0, taskId: "", taskType: "" };
  return { kind: "imitation", prompt: tokens.slice(0, 1), answer: tokens.slice(1), ...place };
}

function drawnSequences({ vocab_size: V }: Qwen2Config, B: number, T: number): number[][] {
  const random = Random.of(5, "sequences");
  return Array.from({ length: B }, () => Array.from({ length: T }, () => random.integer(V)));
}

async function fillFrom({ config, folder }: SizeSubject, parameters: FlatParameters): Promise<void> {
  if (folder) return loadWeights(parameters, folder);
  for (const { name, data } of randomWeights(config, 7))
    parameters.load(name, typeof data === "function" ? await data() : data);
}

/** Bytes of all weights that a pass reads: of an embedding beside a head of its own, next to none. */
function readBytes(config: Qwen2Config, storage: MatrixStorage): number {
  const { vocab_size: V, hidden_size: C, tie_word_embeddings: isTied } = config;
  return (parameterCount(config) - (isTied ? 0 : V * C)) * (storage === "f32" ? 4 : 2);
}

/** Products of a pass over B sequences of T tokens, and causal attention. @param scored rows that meet the vocabulary */
function passFlops(config: Qwen2Config, B: number, T: number, scored = B * (T - 1)): number {
  const { hidden_size: C, vocab_size: V, num_hidden_layers: L, tie_word_embeddings: isTied } = config;
  const layers = parameterCount(config) - (isTied ? 1 : 2) * V * C;
  return 2 * layers * B * T + 2 * V * C * scored + 2 * T * C * L * B * T;
}

/** The beginning of the first sequence against float64. */
async function errorOf(
  policy: Qwen2Model,
  { config, folder }: SizeSubject,
  [sequence]: readonly (readonly number[])[],
  checked: number,
): Promise<{ readonly error?: number }> {
  if (checked === 0) return {};
  const tokens = sequence.slice(0, checked + 1);
  const [{ logProbs }] = await scoreSequences(policy, [tokens]);
  const shapes = new Map(parameterShapes(config).map(({ name, shape }) => [name, shape]));
  const weightOf = async (name: string) => ({
    shape: shapes.get(name) ?? [],
    data: await (folder ? folder.tensors.read(name) : policy.parameters.read(name)),
  });
  const { facts } = policy.launcher;
  const expected = await referenceLogProbs(facts, config, tokens, tokens.slice(1), weightOf);
  return { error: Math.max(...logProbs.map((value, t) => Math.abs(value - expected[t]))) };
}
