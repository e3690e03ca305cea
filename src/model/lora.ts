/** A low-rank adapter on a frozen model: its factors, and the weights of the model with their changes. */
import { FlatParameters, type FlatParametersOptions } from "../autograd/flat_parameters.js";
import type { ParameterSlot } from "../autograd/parameter_slots.js";
import { Tensor, type WeightSource } from "../autograd/tensor.js";
import { ArgumentError } from "../core/errors.js";
import type { Random } from "../core/random.js";
import { rowFactorsInto } from "../kernels/coupling/token_pairs.js";
import {
  type ArrayView,
  addLowRank,
  type Launcher,
  type LowRankChange,
  lowRankGradients,
} from "../kernels/index.js";
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

export interface AdapterOptions {
  /** Which factors are trainable, by name. Default: all. */
  readonly requiresGrad?: FlatParametersOptions["requiresGrad"];
}

/**
 * A and B of every targeted matrix, f32, and the changed weights W + s B A, stored as the model's. Ops read the changed weights,
 * in training as in generation, so that both see the same policy; the factors' gradients are made of the factors of the
 * weight's gradient, which itself is never computed.
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
   * @throws ArgumentError when one of them is trainable or stored as bf16, or no matrix is targeted
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
    if (base.storage === "bf16") {
      throw new ArgumentError(
        "[lora] changed weights are written by kernels: got a model stored as bf16, expected f32 or f16. Store it as one of them.",
      );
    }
    this.#weights = adaptedWeights(config, lora);
    if (this.#weights.length === 0) {
      throw new ArgumentError("[lora] no matrix is targeted: got no targets, expected some. Name them.");
    }
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

  /** The changed weight that ops read in place of a stored tensor; undefined for one that is not targeted. */
  weight(stored: string): Tensor | undefined {
    return this.#leaves.get(stored);
  }

  /** Appends what brings the changed weights up to date with the factors; nothing where they are. */
  refresh(): void {
    if (this.#version === this.parameters.version) return;
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
    this.refresh();
    const isAdapted = this.#weights.some(({ parts }) => parts.some((part) => part.name === name));
    return (isAdapted ? (this.#changed as FlatParameters) : this.base).read(name);
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
    const scaled = (name: string): ArrayView => {
      const { bucket, offset, shape } = this.parameters.slots.get(name) as ParameterSlot;
      const { buffer } = (this.#scaled[bucket] as Tensor).range;
      return { range: { buffer, offset: 4 * offset, bytes: 4 * elementCount(shape) }, shape, dtype: "f32" };
    };
    return {
      alternates,
      parts: parts.map(({ name, rows, isAdapted }) => {
        if (!isAdapted) return { rows, factors: undefined };
        const [A, B] = [factorName(name, "A"), factorName(name, "B")];
        const a = this.parameters.get(A);
        return { rows, factors: { rank: this.lora.rank, a, scaledA: scaled(A), scaledB: scaled(B) } };
      }),
    };
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
