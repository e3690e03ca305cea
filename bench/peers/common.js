/** Tables that every peer's model needs, computed alike. */

/** Added to scores: 0 up to a row's own place, far below everything after it. `groups` copies of [T, T]. */
export function causalMask(groups, T) {
  const mask = new Float32Array(groups * T * T);
  for (let row = 0; row < groups * T; row++)
    for (let column = 0; column < T; column++) mask[row * T + column] = column > row % T ? -1e9 : 0;
  return mask;
}

/** Cosines and sines of the rotary angles, [T, D / 2]. */
export function angles(T, D, theta) {
  const cos = new Float32Array((T * D) / 2);
  const sin = new Float32Array((T * D) / 2);
  for (let t = 0; t < T; t++) {
    for (let d = 0; d < D / 2; d++) {
      const angle = t * theta ** ((-2 * d) / D);
      cos[(t * D) / 2 + d] = Math.cos(angle);
      sin[(t * D) / 2 + d] = Math.sin(angle);
    }
  }
  return { cos, sin };
}

/** 1 at each row's target, [N, V]. */
export function oneHot(targets, V) {
  const rows = new Float32Array(targets.length * V);
  targets.forEach((target, n) => {
    rows[n * V + target] = 1;
  });
  return rows;
}

/** The results of several steps, one after the other. */
export async function stepScalars(steps, step) {
  const values = [];
  for (let i = 0; i < steps; i++) values.push(await step());
  return values;
}
