/** AdamW with decoupled weight decay, global norm clipping and skipping of non-finite steps, all on the GPU. */
import type { FlatParameters, ParameterBucket } from "../autograd/flat_parameters.js";
import { Tensor } from "../autograd/tensor.js";
import { ArgumentError, DataError } from "../core/errors.js";
import type { Launcher } from "../kernels/engine/launch.js";
import { ADAMW_STATE_WORDS, adamwInto, adamwSumWords, HALF_MOMENTS } from "../kernels/steps/adamw.js";
import { LossScale, type LossScaleOptions } from "./loss_scale.js";

export interface AdamWOptions {
  readonly parameters: FlatParameters;
  readonly launcher: Launcher;
  readonly lr: number;
  /** Decay rates of the two moments, each in [0, 1). Default 0.9 and 0.999. */
  readonly betas?: readonly [number, number];
  /** Default 1e-8. */
  readonly eps?: number;
  /** Applied to matrices only. Default 0. */
  readonly weightDecay?: number;
  /** Largest norm of the gradient of all parameters together; 0 (default) turns clipping off. */
  readonly maxGradNorm?: number;
  /** How moments are stored; f16 halves their memory, see `HALF_MOMENTS`. Default f32. */
  readonly moments?: "f32" | "f16";
  /** Dynamic loss scaling: seeds of backward must be multiplied by `lossScale` then. Default: none. */
  readonly lossScale?: LossScaleOptions;
}

/** What the last step did. */
export interface AdamWStats {
  /**
   * Norm of the gradient over all parameters, the loss scale taken out, before clipping; entries that are not finite are
   * left out.
   */
  readonly gradNorm: number;
  /** Factor the gradient was multiplied with, at most 1; 0 when the step was skipped. */
  readonly clipScale: number;
  /** The last step was skipped because a gradient, or the norm, was not finite. */
  readonly skipped: boolean;
  /** Steps taken and steps skipped since the start. */
  readonly steps: number;
  readonly skippedSteps: number;
  /** Factor of the loss in the next step; 1 without loss scaling. */
  readonly lossScale: number;
}

/** One tensor of the optimiser's state, live: reading and loading it go to the GPU. */
export interface OptimizerTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: "f32" | "u32";
  read(): Promise<Float32Array | Uint32Array>;
  load(values: Float32Array | Uint32Array): void;
}

interface Moments {
  readonly first: Tensor;
  readonly second: Tensor;
}

/** From stored numbers to moments and back, exact both ways. */
interface MomentForm {
  readonly shown: (value: number) => number;
  readonly stored: (value: number) => number;
}
const { scale } = HALF_MOMENTS;
const HALF_FIRST: MomentForm = { shown: (m) => m / scale, stored: (m) => m * scale };
/** The square of a half has at most 22 bits. */
const HALF_SECOND: MomentForm = { shown: (root) => (root / scale) ** 2, stored: (v) => Math.sqrt(v) * scale };

/**
 * Steps through `FlatParameters`. The step counter of the bias correction lives on the GPU and advances on good steps
 * only: no value has to come back to the host for a step.
 * @source Loshchilov & Hutter 2019, algorithm 2
 */
export class AdamW {
  readonly parameters: FlatParameters;
  readonly #launcher: Launcher;
  readonly #lr: number;
  readonly #betas: readonly [number, number];
  readonly #eps: number;
  readonly #weightDecay: number;
  readonly #maxGradNorm: number;
  /** By bucket; frozen ones have none. */
  readonly #moments: readonly (Moments | undefined)[];
  readonly #lossScale: LossScale;
  readonly #scales: boolean;
  readonly #counter: Tensor;
  readonly #sums: Tensor;

  /** @throws ArgumentError for values out of range, and when no parameter is trainable */
  constructor(options: AdamWOptions) {
    const { parameters, launcher, lr, betas = [0.9, 0.999], eps = 1e-8, moments = "f32" } = options;
    const { weightDecay = 0, maxGradNorm = 0 } = options;
    if (!parameters.requiresGrad) {
      throw new ArgumentError("[adamw] the parameters are frozen. Make them with requiresGrad true.");
    }
    for (const [name, value] of Object.entries({ lr, weightDecay, maxGradNorm }))
      check(name, value, value >= 0 && Number.isFinite(value), "a number of at least 0");
    for (const beta of betas) check("betas", beta, beta >= 0 && beta < 1, "numbers in [0, 1)");
    check("eps", eps, eps > 0 && Number.isFinite(eps), "a number above 0");
    this.parameters = parameters;
    this.#launcher = launcher;
    this.#lr = lr;
    this.#betas = betas;
    this.#eps = eps;
    this.#weightDecay = weightDecay;
    this.#maxGradNorm = maxGradNorm;
    const { runtime } = launcher;
    this.#moments = parameters.buckets.map(
      ({ elements, gradient }, index) =>
        gradient && {
          first: Tensor.kept(runtime, [elements], `first moments ${index}`, moments),
          second: Tensor.kept(runtime, [elements], `second moments ${index}`, moments),
        },
    );
    this.#scales = options.lossScale !== undefined;
    this.#lossScale = this.#scales ? new LossScale(launcher, options.lossScale) : LossScale.off(launcher);
    this.#counter = Tensor.from(runtime, new Uint32Array(ADAMW_STATE_WORDS), undefined, { label: "adamw" });
    const sizes = parameters.buckets.filter(({ gradient }) => gradient).map(({ elements }) => elements);
    this.#sums = Tensor.zeros(runtime, [adamwSumWords(sizes, launcher.facts)], "gradient norm", "u32");
  }

  /** f32 [1], what seeds of backward have to be multiplied with; absent without loss scaling. */
  get lossScale(): Tensor | undefined {
    return this.#scales ? this.#lossScale.factor : undefined;
  }

  /** Appends one step from the gradients as they are then. @param lr learning rate of this step, default the one given at the start */
  step(lr = this.#lr): void {
    check("lr", lr, lr >= 0 && Number.isFinite(lr), "a number of at least 0");
    adamwInto(this.#launcher, this.#launcher.facts, {
      buckets: this.parameters.buckets.flatMap((bucket, index) => {
        const { value, master, gradient } = bucket;
        const moments = this.#moments[index];
        if (!moments || !gradient) return [];
        return {
          value: master as Tensor,
          half: value.dtype === "f16" ? value : undefined,
          gradient,
          firstMoment: moments.first,
          secondMoment: moments.second,
          decay: this.#decay(bucket, lr),
        };
      }),
      state: this.#counter,
      lossScale: this.#lossScale.state,
      growthInterval: this.#lossScale.growthInterval,
      maxScale: this.#lossScale.largest,
      sums: this.#sums,
      lr,
      beta1: this.#betas[0],
      beta2: this.#betas[1],
      eps: this.#eps,
      maxNorm: this.#maxGradNorm,
    });
    this.parameters.changed();
  }

  /** What the last step did; waits for the GPU. */
  async stats(): Promise<AdamWStats> {
    const ranges = [this.#counter.range, this.#lossScale.factor.range];
    const [counter, scale] = await this.#launcher.runtime.read(ranges);
    const words = new Uint32Array(counter);
    const floats = new Float32Array(counter);
    return {
      gradNorm: floats[2] as number,
      clipScale: floats[3] as number,
      skipped: words[1] !== 0,
      steps: words[0] as number,
      skippedSteps: words[6] as number,
      lossScale: new Float32Array(scale)[0] as number,
    };
  }

  /**
   * Everything a checkpoint must hold to go on bit-equal: `exp_avg.<parameter>` and `exp_avg_sq.<parameter>` (first and
   * second moments, as torch calls them) by the names and in the shapes of the model's checkpoints, `counter` (u32), and
   * `loss_scale` with loss scaling. How the adapter packs or fuses parameters does not show.
   */
  state(): OptimizerTensor[] {
    const { parameters } = this;
    const whole = (name: string, tensor: Tensor, dtype: "f32" | "u32"): OptimizerTensor => ({
      name,
      shape: tensor.shape,
      dtype,
      read: () => tensor.read() as Promise<Float32Array | Uint32Array>,
      load: (values) => tensor.upload(values),
    });
    const isHalf = this.#moments.some((one) => one?.first.dtype === "f16");
    const trained = parameters.named.filter(({ name }) => parameters.isTrainable(name));
    const moments = (prefix: string, flat: readonly (Tensor | undefined)[], half: MomentForm) =>
      trained.map(
        ({ name, shape }): OptimizerTensor => ({
          name: `${prefix}.${name}`,
          shape,
          dtype: "f32",
          read: async () => {
            const values = await parameters.readLike(flat, name);
            return isHalf ? values.map(half.shown) : values;
          },
          load: (values) =>
            parameters.loadLike(
              flat,
              name,
              isHalf ? (values as Float32Array).map(half.stored) : (values as Float32Array),
            ),
        }),
      );
    return [
      whole("counter", this.#counter, "u32"),
      ...(this.#scales ? [whole("loss_scale", this.#lossScale.state, "f32")] : []),
      ...moments(
        "exp_avg",
        this.#moments.map((moments) => moments?.first),
        HALF_FIRST,
      ),
      ...moments(
        "exp_avg_sq",
        this.#moments.map((moments) => moments?.second),
        HALF_SECOND,
      ),
    ];
  }

  /**
   * Restores what `state` gave.
   * @throws DataError when a tensor is missing or has another size; nothing is changed then
   */
  load(saved: ReadonlyMap<string, Float32Array | Uint32Array>): void {
    const tensors = this.state().map((tensor) => ({ tensor, values: fitting(saved, tensor) }));
    for (const { tensor, values } of tensors) tensor.load(values);
  }

  /** Gives the moments back; the parameters stay with their owner. Idempotent. */
  release(): void {
    for (const moments of this.#moments) {
      moments?.first.release();
      moments?.second.release();
    }
    this.#lossScale.release();
    for (const tensor of [this.#counter, this.#sums]) tensor.release();
  }

  #decay(bucket: ParameterBucket, lr: number): number {
    return bucket.decayed ? lr * this.#weightDecay : 0;
  }
}

function fitting(
  saved: ReadonlyMap<string, Float32Array | Uint32Array>,
  { name, shape, dtype }: OptimizerTensor,
): Float32Array | Uint32Array {
  const data = saved.get(name);
  const size = shape.reduce((product, length) => product * length, 1);
  if (data?.length === size && data instanceof Uint32Array === (dtype === "u32")) return data;
  throw new DataError(
    `[adamw] optimiser state does not fit: got ${data?.length ?? "no"} values for ${name}, expected ${size} of ${dtype}. Resume from a checkpoint of the same model.`,
  );
}

function check(name: string, value: number, holds: boolean, rule: string): void {
  if (!holds)
    throw new ArgumentError(`[adamw] ${name} is out of range: got ${value}, expected ${rule}. Change it.`);
}
