/** Texts of tokens, by the tokenizer that a run keeps. */
import { DataError } from "../core/errors.js";
import { parseJson } from "../host/files/json_file.js";
import { RUN_FILES } from "../host/run/run_info.js";
import { Tokenizer } from "../model/tokenizer.js";
import type { JsonObject } from "../model/tokenizer_files.js";
import type { RunTree } from "./run_tree.js";

export type Decode = (tokens: readonly number[]) => readonly string[];

/** @returns undefined where the run keeps no tokenizer, or one that cannot be read: token ids are shown then */
export async function openDecoder(tree: RunTree, run: string): Promise<Decode | undefined> {
  for (const folder of [RUN_FILES.model, RUN_FILES.export]) {
    const [tokenizer, config] = await Promise.all([
      tree.read(run, folder, "tokenizer.json"),
      tree.read(run, folder, "tokenizer_config.json"),
    ]);
    if (tokenizer === undefined || config === undefined) continue;
    try {
      const opened = new Tokenizer({
        tokenizerJson: parseJson(tokenizer, "tokenizer.json") as JsonObject,
        tokenizerConfig: parseJson(config, "tokenizer_config.json") as JsonObject,
      });
      return (tokens) => tokens.map((token) => opened.decode([token]));
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
    }
  }
  return undefined;
}
