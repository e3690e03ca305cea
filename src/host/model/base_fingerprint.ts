/** By which an adapter knows the model that it was trained on. */
import { createHash } from "node:crypto";
import { elementCount, parameterShapes } from "../../model/parameters.js";
import type { ModelFolder } from "./model_folder.js";

/** Stretches of each tensor that are read, evenly apart, and their elements. */
const STRETCHES = 4;
const STRETCH_ELEMENTS = 64;

/**
 * A fingerprint of a model's shapes and weights: 16 hexadecimal digits. Of each tensor a few stretches are read, so that it takes
 * no longer for large models; training any of its matrices changes it. Values count, and not their dtype or files: a copy with
 * wider elements or other shards has the same one.
 */
export async function baseFingerprint({
  config,
  tensors,
}: Pick<ModelFolder, "config" | "tensors">): Promise<string> {
  const hash = createHash("sha256");
  for (const { name, shape } of parameterShapes(config)) {
    hash.update(`${name} ${shape.join()}\n`);
    const total = elementCount(shape);
    const count = Math.min(STRETCH_ELEMENTS, total);
    for (let stretch = 0; stretch < STRETCHES; stretch++) {
      const first = Math.floor(((total - count) * stretch) / (STRETCHES - 1));
      hash.update(new Uint8Array((await tensors.readElements(name, first, count)).buffer));
    }
  }
  return hash.digest("hex").slice(0, 16);
}
