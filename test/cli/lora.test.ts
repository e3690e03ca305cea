/** `--lora` on every command that reads a model. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { register as coupling } from "../../src/cli/coupling/coupling.js";
import { register as evaluate } from "../../src/cli/eval/eval.js";
import { register as play } from "../../src/cli/play/play.js";
import { runCli } from "../../src/cli/program.js";
import { register as score } from "../../src/cli/score.js";
import { Random } from "../../src/core/random.js";
import { perSampleGram } from "../../src/coupling/gram.js";
import { writeAdapterFolder } from "../../src/host/model/adapter_folder.js";
import { loadPolicy } from "../../src/host/model/policy_folder.js";
import { Launcher } from "../../src/kernels/index.js";
import { LoraAdapter } from "../../src/model/lora.js";
import { elementCount } from "../../src/model/parameters.js";
import { scoreSequences } from "../../src/rl/update/score.js";
import { temporaryFolder } from "../support/folders.js";
import { writeTinyPolicy } from "../support/policy.js";
import { testRuntime } from "../support/runtime.js";
import { TextStream } from "../support/streams.js";

const launcher = new Launcher(await testRuntime());
const root = temporaryFolder();
const [model, lora] = [join(root, "model"), join(root, "adapter")];

beforeAll(async () => {
  await writeTinyPolicy(model);
  const { model: base } = await loadPolicy(launcher, model, { requiresGrad: false });
  const settings = { rank: 2, alpha: 4, dropout: 0, targets: ["v_proj", "down_proj"] } as const;
  const adapter = new LoraAdapter(launcher, base.parameters, base.config, settings);
  const random = Random.of(3, "factors");
  for (const { name, shape } of adapter.parameters.named)
    adapter.parameters.load(
      name,
      Float32Array.from({ length: elementCount(shape) }, () => 0.3 * random.normal()),
    );
  await writeAdapterFolder(lora, adapter, null);
});

async function cli(...args: string[]) {
  const [stdout, stderr] = [new TextStream(), new TextStream()];
  const code = await runCli(args, { stdout, stderr, env: process.env }, [coupling, evaluate, play, score]);
  if (code !== 0) throw new Error(stderr.text);
  return stdout.text;
}

function file(content: unknown): string {
  const path = join(root, "input.json");
  writeFileSync(path, JSON.stringify(content));
  return path;
}

test("score and coupling read the changed model, coupling by its factors", async () => {
  const { model: adapted } = await loadPolicy(launcher, model, { requiresGrad: true, lora });
  const tokens = [[5, 6, 7, 8]];
  const { sequences } = JSON.parse(
    await cli("score", "--model", model, "--lora", lora, "--tokens", file(tokens), "--json"),
  );
  const [expected] = await scoreSequences(adapted, tokens);
  expect(sequences[0].logProbs).toEqual([...expected.logProbs]);
  const samples = [
    { tokens: [5, 6, 7, 8], responseStart: 2 },
    { tokens: [9, 3, 4], responseStart: 1 },
  ];
  const given = ["--model", model, "--lora", lora, "--samples", file(samples)];
  const { gram, layers } = JSON.parse(await cli("coupling", ...given, "--json"));
  const { gram: whole } = await perSampleGram(adapted, samples);
  expect(gram.flat()).toEqual([...whole]);
  expect(Object.keys(layers)).toEqual(adapted.trained.named.map(({ name }) => name));
});

test("eval and play let the changed model act", async () => {
  const steps = (...more: string[]) =>
    cli("play", "--env", "household", "--model", model, "--max-steps", "3", "--json", ...more);
  expect(await steps("--lora", lora)).not.toBe(await steps());
  const given = [
    "--sampled",
    "--temperature",
    "9",
    "--episodes",
    "1",
    "--split",
    "in_domain",
    "world.max_steps=2",
  ];
  const actions = async (out: string, ...more: string[]) => {
    await cli("eval", "--model", model, "--out", join(root, out), ...given, ...more);
    return [...readFileSync(join(root, out), "utf8").matchAll(/"action":"([^"]*)"/g)].map(([, text]) => text);
  };
  const changed = await actions("a.jsonl", "--lora", lora);
  expect(changed).toHaveLength(2);
  expect(changed).not.toEqual(await actions("b.jsonl"));
  await expect(actions("a.jsonl")).rejects.toThrow("episode belongs to another evaluation");
});
