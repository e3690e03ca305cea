/** The Gram from separate gradients, in float64: the slow reference of the engine. */
import type { SampleGradient } from "./passes.js";

/** Grams of all parameters together and of each, row-major [S, S]. */
export interface LayeredGram {
  readonly gram: Float64Array;
  readonly layers: Readonly<Record<string, Float64Array>>;
}

export function referenceGram(gradients: readonly SampleGradient[]): LayeredGram {
  const count = gradients.length;
  const gram = new Float64Array(count * count);
  const layers: Record<string, Float64Array> = {};
  for (const name of gradients[0]?.keys() ?? []) {
    const layer = new Float64Array(count * count);
    for (let i = 0; i < count; i++) {
      for (let j = i; j < count; j++) {
        const value = dot(gradients[i].get(name) as Float32Array, gradients[j].get(name) as Float32Array);
        layer[i * count + j] = value;
        layer[j * count + i] = value;
      }
    }
    layers[name] = layer;
    layer.forEach((value, at) => {
      gram[at] += value;
    });
  }
  return { gram, layers };
}

/** <g_j, V> of each sample, for a direction given by parameter name. */
export function referencePushes(
  gradients: readonly SampleGradient[],
  direction: ReadonlyMap<string, ArrayLike<number>>,
): Float64Array {
  return Float64Array.from(gradients, (gradient) =>
    [...gradient].reduce(
      (sum, [name, values]) => sum + dot(values, direction.get(name) as ArrayLike<number>),
      0,
    ),
  );
}

/** Worst error of a Gram, as a share of the geometric mean of the two samples' squared norms in the reference. */
export function gramError(measured: ArrayLike<number>, reference: ArrayLike<number>, count: number): number {
  let worst = 0;
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < count; j++) {
      const scale = Math.sqrt(reference[i * count + i] * reference[j * count + j]);
      const error = Math.abs(measured[i * count + j] - reference[i * count + j]);
      if (error > 0) worst = Math.max(worst, scale > 0 ? error / scale : Number.POSITIVE_INFINITY);
    }
  }
  return worst;
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += a[k] * b[k];
  return sum;
}
