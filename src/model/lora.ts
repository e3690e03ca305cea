/** A low-rank adapter on a frozen model: its factors, and the weights of the model with their changes. */
import { FlatParameters, type FlatParametersOptions } from "../autograd/flat_parameters.js";
import type { ParameterSlot } from "../autograd/parameter_slots.js";
import { Tensor, type WeightSource } from "../autograd/tensor.js";
import { ArgumentError } from "../core/errors.js";
import type { Random } from "../core/random.js";
import { rowFactorsInto } from "../kernels/coupling/token_pairs.js";
import { rowsOf } from "../kernels/engine/array_view.js";
import {
  type ArrayView,
  addLowRank,
  type Launcher,
  type LowRankChange,
  lowRankGradients,
} from "../kernels/index.js";
import { matmulInto } from "../kernels/matmul/matmul_into.js";
import type { Qwen2Config } from "./config.js";
import {
  type AdaptedWeight,
  adaptedWeights,
  factorName,
  factorShapes,
  type LoraConfig,
  loraScale,
} from "./lora_config.js";
import { elementCount, storedShapes } from "./parameters.js";

/** Rows that a bucket of factors is seen as, to be scaled in one launch. */
const BUCKET_ROWS = 64;

/** Memory of changes on their way to the host, and rows of B that begin where a kernel can bind them. */
const READ_BYTES = 2 ** 24;
const ROWS_READ = 64;

export interface AdapterOptions {
  /** Which factors are trainable, by name. Default: all. */
  readonly requiresGrad?: FlatParametersOptions["requiresGrad"];
}

/**
 * A and B of every targeted matrix, f32, and the changed weights W + s B A, stored as the model's. Ops read the changed weights,
 * in training as in generation, so that both see the same policy; the factors' gradients are made of the factors of the
 * weight's gradient, which itself is never computed. Of a model stored as bf16, which kernels do not write, or with a targeted
 * matrix in pieces there are no changed weights: y = x W^T + s x A^T B^T is computed beside them, in training as in generation
 * (`layerBeside`).
 * @source Hu et al. 2021 (2106.09685)
 */
export class LoraAdapter {
  /** By the names of PEFT's files. */
  readonly parameters: FlatParameters;
  readonly #weights: readonly AdaptedWeight[];
  /** Of each bucket of factors, the same times s. */
  readonly #scaled: readonly Tensor[];
  readonly #scale: Tensor;
  readonly #changes = new Map<string, LowRankChange>();
  /** Made when first needed. */
  #changed: FlatParameters | undefined;
  readonly #leaves = new Map<string, Tensor>();
  #version = -1;

  /**
   * @param base the model's parameters, frozen; they stay with their owner
   * @throws ArgumentError when one of them is trainable, or no matrix is targeted
   */
  constructor(
    readonly launcher: Launcher,
    readonly base: FlatParameters,
    readonly config: Qwen2Config,
    readonly lora: LoraConfig,
    { requiresGrad = true }: AdapterOptions = {},
  ) {
    if (base.requiresGrad) {
      throw new ArgumentError(
        "[lora] the model below an adapter is trainable: got requiresGrad true, expected false. Freeze it.",
      );
    }
    this.#weights = adaptedWeights(config, lora);
    if (this.#weights.length === 0) {
      throw new ArgumentError("[lora] no matrix is targeted: got no targets, expected some. Name them.");
    }
    this.isMerged = base.storage !== "bf16" && this.#weights.every(({ name }) => !base.get(name).pieces);
    const { runtime } = launcher;
    this.parameters = new FlatParameters(runtime, factorShapes(config, lora), { requiresGrad });
    this.#scaled = this.parameters.buckets.map(({ elements }) =>
      Tensor.empty(runtime, [elements], "f32", "scaled factors"),
    );
    this.#scale = Tensor.from(runtime, new Float32Array(BUCKET_ROWS).fill(loraScale(lora)), undefined, {
      label: "lora scale",
    });
    for (const weight of this.#weights) this.#changes.set(weight.name, this.#changeOf(weight));
  }

  /** A new adapter, which changes nothing: A uniform in +-1 / sqrt(I), as PEFT draws it, B zero. */
  initialise(random: Random): void {
    for (const { name, shape } of this.parameters.named) {
      const values = new Float32Array(elementCount(shape));
      if (name.includes(".lora_A.")) {
        const bound = 1 / Math.sqrt(shape[1] as number);
        for (let i = 0; i < values.length; i++) values[i] = bound * (2 * random.uniform() - 1);
      }
      this.parameters.load(name, values);
    }
  }

  /** Whether ops read changed weights; else changes are computed beside the model's own. */
  readonly isMerged: boolean;

  /** The changed weight that ops read in place of a stored tensor; undefined for one that is not targeted. */
  weight(stored: string): Tensor | undefined {
    return this.#leaves.get(stored);
  }

  /** Appends what brings the changed weights up to date with the factors; nothing where they are. */
  refresh(): void {
    if (!this.isMerged || this.#version === this.parameters.version) return;
    this.#version = this.parameters.version;
    this.#changed ??= this.#allocate();
    for (const { name } of this.#weights) this.#changed.copyFrom(this.base, name);
    this.addTo(this.#changed);
  }

  /** Appends weight += s B A to each targeted tensor of `weights`, by their stored names. */
  addTo(weights: FlatParameters): void {
    this.#scaleFactors();
    for (const [name, change] of this.#changes) {
      this.launcher.within("lora", (context) => addLowRank(context, weights.get(name), change));
    }
    weights.changed();
  }

  /** Values of a Hugging Face tensor of the changed model, after all work appended so far. The caller owns them. */
  async read(name: string): Promise<Float32Array> {
    if (!this.parameters.has(factorName(name, "A"))) return this.base.read(name);
    if (!this.isMerged) return this.#readBeside(name);
    this.refresh();
    return (this.#changed as FlatParameters).read(name);
  }

  /** The model's own values and the change, which is computed some rows at a time. */
  async #readBeside(name: string): Promise<Float32Array> {
    this.#scaleFactors();
    const values = await this.base.read(name);
    const a = this.parameters.get(factorName(name, "A"));
    const scaledB = this.#scaledView(factorName(name, "B"));
    const [rows, I, rank] = [scaledB.shape[0] as number, a.shape[1] as number, this.lora.rank];
    const bytes = Math.min(READ_BYTES, this.launcher.facts.maxBindingBytes);
    const most = ROWS_READ * Math.max(1, Math.floor(bytes / (4 * I * ROWS_READ)));
    for (let first = 0; first < rows; first += most) {
      const M = Math.min(most, rows - first);
      const y = Tensor.empty(this.launcher.runtime, [M, I], "f32", "change");
      const factors = { a: rowsOf(scaledB, first, M), b: a, y, M, N: I, K: rank };
      this.launcher.within("lora", (context) => matmulInto(context, factors));
      const change = await y.read();
      y.release();
      for (let i = 0; i < change.length; i++) values[first * I + i] += change[i];
    }
    return values;
  }

  /** Gives all memory back but the base's. Idempotent. */
  release(): void {
    for (const leaf of this.#leaves.values()) leaf.release();
    for (const tensor of [...this.#scaled, this.#scale]) tensor.release();
    this.#changed?.release();
    this.parameters.release();
  }

  #allocate(): FlatParameters {
    const targeted = new Set(this.#weights.map(({ name }) => name));
    const shapes = storedShapes(this.config).filter(({ name }) => targeted.has(name));
    const { runtime } = this.launcher;
    const changed = new FlatParameters(runtime, shapes, { requiresGrad: false, storage: this.base.storage });
    for (const weight of this.#weights) {
      const source = this.#sourceOf(weight);
      const leaf = changed.get(weight.name);
      const isTrainable = source.parameters.some(({ requiresGrad }) => requiresGrad);
      const own = leaf.view(leaf.shape, 0, isTrainable);
      if (isTrainable) own.source = source;
      this.#leaves.set(weight.name, own);
    }
    return changed;
  }

  #sourceOf({ name, parts }: AdaptedWeight): WeightSource {
    const change = this.#changes.get(name) as LowRankChange;
    const pairs = parts.map((part) =>
      part.isAdapted
        ? [this.parameters.get(factorName(part.name, "A")), this.parameters.get(factorName(part.name, "B"))]
        : undefined,
    );
    return {
      parameters: pairs.flatMap((pair) => pair ?? []).filter(({ requiresGrad }) => requiresGrad),
      handOn: (context, factors, give) =>
        lowRankGradients(context, factors, change, (part, { a, b }) => {
          const [A, B] = pairs[part] as [Tensor, Tensor];
          if (B.requiresGrad) give(B, b);
          if (A.requiresGrad) give(A, a);
        }),
    };
  }

  #changeOf({ alternates, parts }: AdaptedWeight): LowRankChange {
    return {
      alternates,
      parts: parts.map(({ name, rows, isAdapted }) => {
        if (!isAdapted) return { rows, factors: undefined };
        const [A, B] = [factorName(name, "A"), factorName(name, "B")];
        const a = this.parameters.get(A);
        return {
          rows,
          factors: { rank: this.lora.rank, a, scaledA: this.#scaledView(A), scaledB: this.#scaledView(B) },
        };
      }),
    };
  }

  /** A factor times s. */
  #scaledView(name: string): ArrayView {
    const { bucket, offset, shape } = this.parameters.slots.get(name) as ParameterSlot;
    const { buffer } = (this.#scaled[bucket] as Tensor).range;
    return { range: { buffer, offset: 4 * offset, bytes: 4 * elementCount(shape) }, shape, dtype: "f32" };
  }

  #scaleFactors(): void {
    this.parameters.buckets.forEach(({ value, elements }, index) => {
      const shape = [BUCKET_ROWS, elements / BUCKET_ROWS];
      const [x, y] = [value, this.#scaled[index] as Tensor].map(({ range, dtype }) => ({
        range,
        shape,
        dtype,
      }));
      this.launcher.within("lora", (context) => rowFactorsInto(context, { x, rows: this.#scale, y }));
    });
  }
}
