/** An adapter added to the weights of its model, on the host: one tensor at a time, without a GPU. */
import { adaptedWeights, factorName, loraScale } from "../../model/lora_config.js";
import { parameterShapes } from "../../model/parameters.js";
import type { FloatDtype } from "../../model/safetensors.js";
import type { TensorSource } from "../../model/safetensors_write.js";
import { type AdapterFolder, readFactor } from "./adapter_folder.js";
import { checkFinite } from "./finite.js";
import { writeModelFolder } from "./model_folder_write.js";
import type { PolicyFiles } from "./policy_folder.js";

/**
 * Writes the model W + s B A, sums in float64, rounded once to the dtype. Configuration, tokenizer and generation settings are the
 * model's.
 * @param path folder to make
 * @param dtype default: the model's own
 * @throws ConfigError when the folder is there and not empty
 * @throws DataError for values that are not finite, or do not fit the dtype: nothing is left behind then
 */
export async function writeMergedModel(
  path: string,
  { folder, adapter }: PolicyFiles & { readonly adapter: AdapterFolder },
  dtype?: FloatDtype,
): Promise<void> {
  const { config, tokenizer, generationConfig, endTokenIds } = folder;
  const adapted = new Set(
    adaptedWeights(config, adapter.lora).flatMap(({ parts }) =>
      parts.filter(({ isAdapted }) => isAdapted).map(({ name }) => name),
    ),
  );
  const tensors = parameterShapes(config).map(({ name, shape }): TensorSource => {
    const data = async () => {
      const weight = await folder.tensors.read(name);
      if (adapted.has(name)) await addChange(weight, name, adapter);
      checkFinite(weight, folder.path, name, "Use another checkpoint");
      return weight;
    };
    return { name, shape, data };
  });
  await writeModelFolder(path, { config, tensors, tokenizer, generationConfig, endTokenIds }, { dtype });
}

/** weight += s B A. @param weight [O, I] */
async function addChange(weight: Float32Array, name: string, adapter: AdapterFolder): Promise<void> {
  const { rank } = adapter.lora;
  const scale = loraScale(adapter.lora);
  const A = await readFactor(adapter, factorName(name, "A"));
  const B = await readFactor(adapter, factorName(name, "B"));
  const I = A.length / rank;
  const sum = new Float64Array(I);
  for (let o = 0; o < weight.length / I; o++) {
    const row = weight.subarray(o * I, (o + 1) * I);
    sum.set(row);
    for (let r = 0; r < rank; r++) {
      const factor = scale * B[o * rank + r];
      const first = r * I;
      for (let i = 0; i < I; i++) sum[i] += factor * A[first + i];
    }
    row.set(sum);
  }
}
