/** Arrays of drawn numbers. */
import { fillRepeated } from "../src/core/fill_repeated.js";
import { Random } from "../src/core/random.js";

/** Standard normal numbers; long arrays repeat themselves. */
export function normals(label: string, count: number): Float64Array {
  const random = Random.of(7, label);
  return fillRepeated(new Float64Array(count), () => random.normal());
}
