/** `uncouple coupling --last-layer`: scores of groups from hidden states and token probabilities, without a backward pass. */

import { join } from "node:path";
import { storageOf } from "../../config/sections.js";
import { type LastLayerScores, lastLayerScores } from "../../coupling/analysis/last_layer_groups.js";
import { responseStates } from "../../coupling/ground_truth/response_states.js";
import { beforeWork } from "../../host/files/before_work.js";
import { writeFileAtomic } from "../../host/files/files.js";
import { jsonText } from "../../host/files/json_file.js";
import { checkWritable } from "../../host/files/writable.js";
import { loadPolicy } from "../../host/model/policy_folder.js";
import { stepName } from "../../host/run/checkpoints.js";
import { couplingBatch } from "../../host/run/coupling_batch.js";
import { RUN_FILES } from "../../host/run/run_info.js";
import { openRunPolicy, releasePolicy } from "../../host/run/run_policy.js";
import { Launcher } from "../../kernels/index.js";
import type { Qwen2Model } from "../../model/qwen2.js";
import type { CliContext } from "../kit/options.js";
import { type GpuOptions, withGpu } from "../kit/session.js";
import { type CalculatorOptions, openSamples } from "./calculator.js";
import { type RunAnalysisOptions, readRun } from "./run_analysis.js";
import type { FileSample } from "./sample_file.js";

/** All probabilities of a vocabulary, or the largest so many. */
type LastLayerChoice = { readonly lastLayer: true | number };

/** Scores of given samples under a given model, printed. */
export async function scoreFile(
  options: LastLayerChoice &
    GpuOptions &
    Pick<CalculatorOptions, "model" | "lora" | "samples" | "precision" | "storage" | "json">,
  context: CliContext,
): Promise<void> {
  const { samples, files } = await openSamples(options);
  for (const note of files.folder.notes) context.terminal.warn(note);
  await withGpu(options, context, async ({ runtime }) => {
    const storage = options.storage ?? storageOf(options.precision);
    const { model } = await loadPolicy(new Launcher(runtime), files, { requiresGrad: false, storage });
    show(await scoresOf(model, samples, options), samples.length, options, context);
  });
}

/** Scores of an update's samples under a run's policy: printed, and `coupling_last_layer.json`. */
export async function scoreRun(
  options: LastLayerChoice & RunAnalysisOptions,
  context: CliContext,
): Promise<void> {
  const read = await readRun(options.run, options, context);
  const folder = options.out ?? join(options.run, RUN_FILES.coupling, stepName(read.checkpoint.step));
  await beforeWork(() => checkWritable(folder));
  await withGpu(options, context, async ({ runtime }) => {
    const policy = await openRunPolicy(read, new Launcher(runtime));
    const { samples } = await couplingBatch(policy, options, context.terminal);
    const grouped = samples.map((sample) => ({ ...sample, group: sample.state }));
    const scores = await scoresOf(policy.model, grouped, options);
    releasePolicy(policy);
    const file = join(folder, "coupling_last_layer.json");
    const actions = samples.map(({ id, state, action, advantage }) => ({ id, state, action, advantage }));
    await writeFileAtomic(file, jsonText({ samples: actions, ...plain(scores, samples.length) }));
    show(scores, samples.length, options, context);
    context.terminal.info(`wrote ${file}`);
  });
}

async function scoresOf(
  model: Qwen2Model,
  samples: readonly (FileSample & { readonly rows?: number })[],
  { lastLayer }: LastLayerChoice,
): Promise<LastLayerScores> {
  const likeliest = lastLayer === true ? model.config.vocab_size : lastLayer;
  const states = await responseStates(model, samples, { likeliest });
  return lastLayerScores(
    samples.map(({ tokens, responseStart, advantage = 0, group, rows }, s) => ({
      rows,
      group: group ?? tokens.slice(0, responseStart).join(" "),
      advantage,
      states: states[s],
    })),
  );
}

function plain({ gram, groups }: LastLayerScores, S: number) {
  return { gram: Array.from({ length: S }, (_, i) => [...gram.subarray(i * S, (i + 1) * S)]), groups };
}

function show(
  scores: LastLayerScores,
  S: number,
  { json }: { readonly json?: true },
  { terminal }: CliContext,
): void {
  if (json) {
    terminal.printJson(plain(scores, S));
    return;
  }
  const { groups } = scores;
  if (groups.length === 0) terminal.info("no group holds samples with advantages of both signs: no scores");
  for (const { group, positives, negatives, gwhes, threshold, tokens } of groups) {
    const counts = `${positives.length} positive, ${negatives.length} negative`;
    terminal.print(
      `group ${group}: ${counts}, GWHES ${gwhes.toPrecision(4)}, NTHR threshold ${threshold.toPrecision(4)}`,
    );
    negatives.forEach((sample, at) => {
      const { scores: values, selected } = tokens[at];
      const list = values.map((value) => value.toPrecision(3)).join(" ");
      terminal.print(
        `  sample ${sample}: tokens that pull positives down: ${selected.join(", ") || "none"}; scores ${list}`,
      );
    });
  }
}
