/** `uncouple score`: per-token log-probabilities and entropies of given token sequences. */
import { z } from "zod";
import { ConfigError } from "../core/errors.js";
import { beforeWork } from "../host/files/before_work.js";
import { readJsonFile } from "../host/files/json_file.js";
import { loadPolicy, openPolicyFiles } from "../host/model/policy_folder.js";
import { Launcher } from "../kernels/index.js";
import { checkSequences, scoreSequences } from "../rl/update/score.js";
import { gpuCommand, loraOption, type Register, storageOption } from "./kit/options.js";
import { withGpu } from "./kit/session.js";
import { noTuneOption } from "./kit/tuning.js";

const fileSchema = z.array(z.array(z.int().nonnegative()));

async function readTokens(file: string): Promise<number[][]> {
  const parsed = fileSchema.safeParse(await readJsonFile(file));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new ConfigError(
    `[${file}] token file is malformed at ${issue.path.join(".") || "the top"}: ${issue.message}. Expected an array of arrays of token ids.`,
  );
}

export const register: Register = (program, context) => {
  gpuCommand(program, "score", "print log-probabilities and entropies of token sequences under a model")
    .requiredOption("--model <folder>", "model in Hugging Face layout")
    .addOption(loraOption())
    .requiredOption("--tokens <file>", "JSON file: array of arrays of token ids")
    .addOption(storageOption())
    .addOption(noTuneOption())
    .option("--json", "print one JSON object")
    .action(async (options) => {
      const sequences = await beforeWork(() => readTokens(options.tokens));
      const files = await beforeWork(async () => {
        const opened = await openPolicyFiles(options.model, options.lora);
        checkSequences(sequences, opened.folder.config);
        return opened;
      });
      await withGpu(options, context, async ({ runtime }) => {
        const { model, folder } = await loadPolicy(new Launcher(runtime), files, {
          requiresGrad: false,
          storage: options.storage,
        });
        for (const note of folder.notes) context.terminal.warn(note);
        const scores = await scoreSequences(model, sequences);
        if (options.json) {
          context.terminal.print(JSON.stringify({ sequences: scores }));
          return;
        }
        scores.forEach(({ logProbs, entropy }, index) => {
          context.terminal.print(
            `sequence ${index}: ${sequences[index].length} tokens, sum of log-probabilities ${logProbs.reduce((a, b) => a + b, 0).toFixed(4)}`,
          );
          logProbs.forEach((value, t) => {
            context.terminal.print(
              `  ${t + 1}\ttoken ${sequences[index][t + 1]}\t${value.toFixed(5)}\tentropy ${entropy[t].toFixed(5)}`,
            );
          });
        });
      });
    });
};
