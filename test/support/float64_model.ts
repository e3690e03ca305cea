/** Model folders whose log-probabilities numpy has worked out in float64, see test/model/float64.test.ts. */
import { randomWeights } from "../../bench/make_model.js";
import { writeModelFolder } from "../../src/host/model/model_folder_write.js";
import { presetConfig } from "../../src/model/config.js";

/** BF16, in shards, with an angle base, a width of the MLP and a spread that are not the preset's. */
export async function writeFloat64Model(path: string, isTied: boolean): Promise<void> {
  const config = presetConfig("nano", 300, {
    rope_theta: 1e6,
    intermediate_size: 96,
    tie_word_embeddings: isTied,
    initializer_range: 0.2,
    rms_norm_eps: 1e-3,
    torch_dtype: "bfloat16",
  });
  await writeModelFolder(path, { config, tensors: randomWeights(config, 9) }, { maxShardBytes: 20_000 });
}
