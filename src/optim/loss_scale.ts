/** The factor of the loss that keeps small f16 gradients from vanishing; it lives on the GPU and finds its size itself. */
import { Tensor } from "../autograd/tensor.js";
import { ArgumentError } from "../core/errors.js";
import type { Launcher } from "../kernels/engine/launch.js";
import { LOSS_SCALE_FLOATS } from "../kernels/steps/adamw.js";

export interface LossScaleOptions {
  /** First scale; a power of two from 1 to `largest`. Default 4096. */
  readonly initial?: number;
  /** The scale never grows beyond it; a power of two. Default 65,536. */
  readonly largest?: number;
  /** Steps in a row with finite gradients after which the scale doubles; 0 = it never changes. Default 200. */
  readonly growthInterval?: number;
}

/**
 * Seeds of backward are multiplied by `factor`, and the optimiser takes it out of the gradients of the parameters. Both are
 * exact, because scales are powers of two: as long as nothing over- or underflows, the scale changes no bit of a training.
 * The optimiser halves it after a gradient that is not finite (the step is skipped), and doubles it after
 * `growthInterval` good steps. Between two steps it is constant, so micro-batches add up.
 * @source Micikevicius et al. 2018, section 3.2
 */
export class LossScale {
  /** f32 [LOSS_SCALE_FLOATS], see shaders/adamw.ts. */
  readonly state: Tensor;
  /** f32 [1]: the scale, a view of `state`. */
  readonly factor: Tensor;
  readonly growthInterval: number;
  readonly largest: number;

  /** @throws ArgumentError for values out of range */
  constructor({ runtime }: Launcher, options: LossScaleOptions = {}) {
    const { initial = 2 ** 12, largest = 2 ** 16, growthInterval = 200 } = options;
    check("largest", largest, isPowerOfTwo(largest), "a power of two of at least 1");
    check(
      "initial",
      initial,
      isPowerOfTwo(initial) && initial <= largest,
      `a power of two from 1 to ${largest}`,
    );
    check(
      "growthInterval",
      growthInterval,
      Number.isInteger(growthInterval) && growthInterval >= 0,
      "an integer of at least 0",
    );
    this.growthInterval = growthInterval;
    this.largest = largest;
    const values = new Float32Array(LOSS_SCALE_FLOATS);
    values.set([initial, 1 / initial]);
    this.state = Tensor.from(runtime, values, undefined, { label: "loss scale" });
    this.factor = this.state.view([1]);
  }

  /** A scale of 1 that stays 1. */
  static off(launcher: Launcher): LossScale {
    return new LossScale(launcher, { initial: 1, largest: 1, growthInterval: 0 });
  }

  /** Gives the memory back; idempotent. */
  release(): void {
    this.factor.release();
    this.state.release();
  }
}

function isPowerOfTwo(value: number): boolean {
  return value >= 1 && Number.isInteger(Math.log2(value));
}

function check(name: string, value: number, holds: boolean, rule: string): void {
  if (!holds)
    throw new ArgumentError(
      `[loss_scale] ${name} is out of range: got ${value}, expected ${rule}. Change it.`,
    );
}
