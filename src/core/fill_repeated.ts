/** Drawn numbers that take no time, however many there are. */

/** Length of the drawn stretch that longer arrays repeat: a prime, so that no two rows are alike. */
const STRETCH = 65_521;

/** Fills an array with draws, the first of them again and again: drawing a hundred million would take longer than all else. */
export function fillRepeated<A extends Float32Array | Float64Array>(values: A, draw: () => number): A {
  const count = values.length;
  const drawn = Math.min(count, STRETCH);
  for (let i = 0; i < drawn; i++) values[i] = draw();
  for (let filled = drawn; filled < count; filled += STRETCH)
    values.set(values.subarray(0, Math.min(STRETCH, count - filled)), filled);
  return values;
}
