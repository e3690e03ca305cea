/**
 * Folders of BF16 shards against float64: float64.json holds what `bench/peers/qwen2_float64.py`, which shares no line with the
 * engine, says of the folders of `writeFloat64Model` and the sequences beside.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { MatrixStorage } from "../../src/autograd/parameter_slots.js";
import { loadPolicy } from "../../src/host/model/policy_folder.js";
import { Launcher } from "../../src/kernels/index.js";
import { Generator } from "../../src/model/generate.js";
import { scoreSequences } from "../../src/rl/update/score.js";
import { writeFloat64Model } from "../support/float64_model.js";
import { temporaryFolder } from "../support/folders.js";
import { testRuntime } from "../support/runtime.js";

const launcher = new Launcher(await testRuntime());
const { sequences, tied, untied } = JSON.parse(
  readFileSync(new URL("./float64.json", import.meta.url), "utf8"),
) as { sequences: number[][]; tied: number[][]; untied: number[][] };
const scratch = temporaryFolder();
const storages: readonly MatrixStorage[] = launcher.facts.features.has("shader-f16")
  ? ["f32", "bf16", "f16"]
  : ["f32", "bf16"];

test.each([
  ["tied", true, tied],
  ["untied", false, untied],
] as const)(
  "%s: log-probabilities in every storage, and those that sampling reports",
  async (name, isTied, expected) => {
    const path = join(scratch, name);
    await writeFloat64Model(path, isTied);
    for (const storage of storages) {
      const { model } = await loadPolicy(launcher, path, { requiresGrad: false, storage });
      const scores = await scoreSequences(model, sequences);
      const most = storage === "f16" ? 2e-2 : 1e-4;
      expected.forEach((values, s) => {
        values.forEach((value, t) => {
          expect(Math.abs(scores[s].logProbs[t] - value), `${storage} ${s} ${t}`).toBeLessThan(most);
        });
      });
      const generator = new Generator(model);
      const sampling = { temperature: 1, maxNewTokens: 5, endTokens: [], seed: 2 };
      const prompts = sequences.map((prompt, stream) => ({ prompt, stream }));
      const answers = await generator.generate(prompts, sampling);
      const whole = answers.map(({ tokens }, s) => [...sequences[s], ...tokens]);
      const again = await scoreSequences(model, whole);
      answers.forEach(({ logProbs }, s) => {
        const read = again[s].logProbs.slice(sequences[s].length - 1);
        logProbs.forEach((value, t) => {
          expect(Math.abs(value - read[t]), `answer, ${storage} ${s} ${t}`).toBeLessThan(most);
        });
      });
      generator.release();
      model.release();
      model.parameters.release();
    }
  },
);
