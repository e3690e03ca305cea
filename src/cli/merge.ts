/** `uncouple merge`: a model with an adapter added to its weights, as a folder of its own. */
import { resolve } from "node:path";
import { Option } from "@commander-js/extra-typings";
import { beforeWork } from "../host/files/before_work.js";
import { checkWritable } from "../host/files/writable.js";
import { writeMergedModel } from "../host/model/merge_adapter.js";
import { checkModelTarget } from "../host/model/model_folder_write.js";
import { openPolicyFiles } from "../host/model/policy_folder.js";
import { loraOption, plainCommand, type Register } from "./kit/options.js";

const DTYPES = { f32: "F32", f16: "F16", bf16: "BF16" } as const;

export const register: Register = (program, context) => {
  plainCommand(program, "merge", "write a model with a low-rank adapter added to its weights; needs no GPU")
    .requiredOption("--model <folder>", "model in Hugging Face layout")
    .addOption(loraOption().makeOptionMandatory())
    .requiredOption("--out <folder>", "new or empty folder for the merged model")
    .addOption(
      new Option("--dtype <type>", "type of the weights on disk (default: the model's)").choices(
        Object.keys(DTYPES) as (keyof typeof DTYPES)[],
      ),
    )
    .action(async ({ model, lora, out, dtype }) => {
      const { terminal } = context;
      const { folder, adapter } = await beforeWork(async () => {
        await checkModelTarget(out, false);
        await checkWritable(out);
        return openPolicyFiles(model, lora);
      });
      for (const note of folder.notes) terminal.warn(note);
      if (!adapter) return;
      await writeMergedModel(out, { folder, adapter }, dtype && DTYPES[dtype]);
      terminal.print(resolve(out));
    });
};
