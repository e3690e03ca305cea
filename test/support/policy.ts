/** Model folders for tests. */
import { Random } from "../../src/core/random.js";
import { householdWorld } from "../../src/env/household/world.js";
import { writeModelFolder } from "../../src/host/model/model_folder_write.js";
import { presetConfig } from "../../src/model/config.js";
import { elementCount, parameterShapes } from "../../src/model/parameters.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";

/** Writes an untrained policy of some 100,000 parameters with the vocabulary of the household world. */
export async function writeTinyPolicy(path: string, { seed = 1 } = {}): Promise<void> {
  const texts = await householdWorld().sampleTexts?.();
  const files = buildWordTokenizer(texts ?? [], { numbersUpTo: 30 });
  const tokenizer = new Tokenizer(files);
  const { vocabularySize, eosTokenId: eos_token_id, padTokenId: pad_token_id } = tokenizer;
  const config = { ...presetConfig("nano", vocabularySize), eos_token_id, pad_token_id };
  const random = Random.of(seed, "weights");
  const tensors = parameterShapes(config).map(({ name, shape }) => ({
    name,
    shape,
    data: () => Float32Array.from({ length: elementCount(shape) }, () => 0.2 * random.normal()),
  }));
  await writeModelFolder(path, { config, tensors, tokenizer: files }, { dtype: "F32" });
}
