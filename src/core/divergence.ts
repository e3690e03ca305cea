/** Ends a run that has diverged: updates that are skipped, numbers that are not finite. */
import { CheckError } from "./errors.js";

/** Skipped f32 updates in a row after which a run is stopped. In mixed precision the loss scale skips some on purpose. */
const MOST_SKIPPED = 5;

/** Looks at the metrics of every update. */
export class DivergenceGuard {
  #skipped = 0;

  /** @param hasLossScale mixed precision: skipped updates are a part of the loss scale's search */
  constructor(readonly hasLossScale: boolean) {}

  /**
   * @throws CheckError after several skipped updates in a row
   */
  look(row: { readonly step: number; readonly [name: string]: unknown }): void {
    if (this.hasLossScale) return;
    const isSkipped = typeof row.skipped === "number" && row.skipped > 0;
    this.#skipped = isSkipped ? this.#skipped + 1 : 0;
    if (this.#skipped < MOST_SKIPPED) return;
    throw new CheckError(
      `[update ${row.step}] training has diverged: got ${this.#skipped} updates in a row whose gradients are not finite, ` +
        "expected finite ones. Lower the learning rate, and go on from an older checkpoint.",
    );
  }
}

/** The first value that is not finite. @returns -1 when all are */
function firstNotFinite(values: Float32Array): number {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) return i;
  return -1;
}

/** @param name of the tensor @param purpose what the values were about to be used for @throws CheckError */
export function checkFinite(name: string, values: Float32Array, purpose: string): void {
  const index = firstNotFinite(values);
  if (index < 0) return;
  throw new CheckError(
    `[${name}] weights are not finite: got ${values[index]} at element ${index}, expected numbers to ${purpose}. Training ` +
      "has diverged: lower the learning rate, and go on from the last checkpoint.",
  );
}
