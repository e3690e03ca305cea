/** `--lora` on every command that reads a model. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { register as coupling } from "../../src/cli/coupling/coupling.js";
import { register as evaluate } from "../../src/cli/eval/eval.js";
import { register as merge } from "../../src/cli/merge.js";
import { register as play } from "../../src/cli/play/play.js";
import { runCli } from "../../src/cli/program.js";
import { register as score } from "../../src/cli/score.js";
import { register as train } from "../../src/cli/train/train.js";
import { Random } from "../../src/core/random.js";
import { perSampleGram } from "../../src/coupling/gram.js";
import { readAdapterFolder, writeAdapterFolder } from "../../src/host/model/adapter_folder.js";
import { baseFingerprint } from "../../src/host/model/base_fingerprint.js";
import { readModelFolder } from "../../src/host/model/model_folder.js";
import { writeModelFolder } from "../../src/host/model/model_folder_write.js";
import { loadPolicy } from "../../src/host/model/policy_folder.js";
import { Launcher } from "../../src/kernels/index.js";
import { LoraAdapter } from "../../src/model/lora.js";
import { elementCount } from "../../src/model/parameters.js";
import { scoreSequences } from "../../src/rl/update/score.js";
import { temporaryFolder } from "../support/folders.js";
import { halfPrecision, needing } from "../support/needs.js";
import { writeTinyPolicy } from "../support/policy.js";
import { testRuntime } from "../support/runtime.js";
import { TextStream } from "../support/streams.js";

const launcher = new Launcher(await testRuntime());
const root = temporaryFolder();
const [model, lora, foreign] = ["model", "adapter", "foreign"].map((name) => join(root, name));

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
  const fingerprint = await baseFingerprint(await readModelFolder(model));
  await writeAdapterFolder(lora, adapter, { path: null, fingerprint });
  await writeAdapterFolder(foreign, adapter, { path: null });
});

async function both(...args: string[]) {
  const [stdout, stderr] = [new TextStream(), new TextStream()];
  const commands = [coupling, evaluate, merge, play, score, train];
  const code = await runCli(args, { stdout, stderr, env: process.env }, commands);
  if (code !== 0) throw new Error(stderr.text);
  return { stdout: stdout.text, stderr: stderr.text };
}
const cli = async (...args: string[]) => (await both(...args)).stdout;

let written = 0;
function file(content: unknown): string {
  const path = join(root, `input${written++}.json`);
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
  // of weights as bf16, which are rounded to 8 bits, the changes are beside
  const rounded = ["--tokens", file(tokens), "--storage", "bf16", "--json"];
  const read = async (...given: string[]): Promise<number[]> =>
    JSON.parse(await cli("score", "--model", model, ...given, ...rounded)).sequences[0].logProbs;
  const off = (values: number[]) =>
    Math.max(...values.map((value, t) => Math.abs(value - expected.logProbs[t])));
  expect(off(await read("--lora", lora))).toBeLessThan(off(await read()) / 2);
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

describe("merge", () => {
  const read = async (path: string) => {
    const { tensors, config } = await readModelFolder(path);
    const values = await Promise.all([...tensors.tensors.keys()].map((name) => tensors.read(name)));
    return { values: new Map([...tensors.tensors.keys()].map((name, at) => [name, values[at]])), config };
  };
  const relative = (a: ArrayLike<number>, b: ArrayLike<number>) => {
    const largest = Array.from(b).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    return Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0) / largest;
  };

  test.each([
    ["f32", 1e-6],
    ["f16", 1e-3],
    ["bf16", 1e-2],
  ])("writes the model that the adapter makes, as %s", async (dtype, tolerance) => {
    const out = join(root, `merged ${dtype}`);
    const given = ["--model", model, "--lora", lora, "--out", out, "--dtype", dtype];
    expect(await both("merge", ...given)).toEqual({ stdout: `${out}\n`, stderr: "" });
    const { model: changed } = await loadPolicy(launcher, model, { requiresGrad: false, lora });
    const [plain, merged] = [await read(model), await read(out)];
    expect(merged.config.torch_dtype).toBe({ f32: "float32", f16: "float16", bf16: "bfloat16" }[dtype]);
    for (const [name, values] of merged.values) {
      expect(relative(values, await changed.read(name)), name).toBeLessThan(tolerance);
      const isTarget = /(v_proj|down_proj)\.weight$/.test(name);
      // far beyond any rounding
      expect(relative(values, plain.values.get(name) ?? []) > 0.1, name).toBe(isTarget);
    }
    const tokens = [[5, 6, 7, 8]];
    const { model: loaded } = await loadPolicy(launcher, out, { requiresGrad: false });
    const [[expected], [found]] = [
      await scoreSequences(changed, tokens),
      await scoreSequences(loaded, tokens),
    ];
    for (const [t, value] of found.logProbs.entries())
      expect(Math.abs(value - expected.logProbs[t])).toBeLessThan(30 * tolerance);
    await expect(both("merge", ...given)).rejects.toThrow(
      `[${out}] folder is not empty: got 5 entries, expected a new or empty folder. Choose another name.`,
    );
  });

  test("without a type takes the model's, and looks at all that it is given before it writes", async () => {
    const out = join(root, "merged");
    const given = ["--model", model, "--out", out];
    await expect(both("merge", ...given, "--lora", join(root, "none"))).rejects.toThrow(
      /adapter_config.json/,
    );
    await expect(both("merge", ...given)).rejects.toThrow(/required option '--lora/);
    await expect(
      both("merge", "--model", model, "--lora", lora, "--out", join(model, "config.json")),
    ).rejects.toThrow(/got a file of that name/);
    expect(existsSync(out)).toBe(false);
    await both("merge", ...given, "--lora", lora);
    expect((await read(out)).config.torch_dtype).toBe("float32");
  });
});

describe("the model below an adapter", () => {
  const tokens = () => file([[5, 6, 7, 8]]);

  test("must be the one that it was trained on; where it does not say, a line says so", async () => {
    const other = join(root, "other");
    await writeTinyPolicy(other, { seed: 2 });
    const scored = (...more: string[]) => both("score", "--tokens", tokens(), ...more);
    expect((await scored("--model", model, "--lora", lora)).stderr).not.toContain("not checked");
    for (const command of [
      ["score", "--tokens", tokens()],
      ["play", "--env", "household", "--max-steps", "1"],
      ["eval"],
      ["merge", "--out", join(root, "wrong")],
      ["coupling", "--samples", file([{ tokens: [5, 6, 7], responseStart: 2 }])],
    ]) {
      await expect(both(...command, "--model", other, "--lora", lora), command[0]).rejects.toThrow(
        /\[.*adapter\] adapter was trained on another model: got one with the fingerprint [0-9a-f]{16} in .*other, expected [0-9a-f]{16}\./,
      );
    }
    const told = await scored("--model", other, "--lora", foreign);
    expect(told.stderr).toContain(`whether ${other} is its model is not checked`);
  });

  test("is recorded by a run and its adapter: the run goes on with no other", async () => {
    const other = join(root, "other model");
    await writeTinyPolicy(other, { seed: 3 });
    const settings = [
      "world.household.train=2",
      "imitation.episodes=1",
      "grpo.max_steps=0",
      "eval.at_start=false",
      "eval.splits=[]",
      `out=${join(root, "runs")}`,
      "name=adapted",
    ];
    await cli("train", ...settings, `model.path=${model}`, "lora.rank=2", "imitation.max_steps=1");
    const run = join(root, "runs", "adapted");
    const fingerprint = await baseFingerprint(await readModelFolder(model));
    expect((await readAdapterFolder(join(run, "adapter"))).baseFingerprint).toBe(fingerprint);
    const resumed = (path: string) =>
      cli("train", "--resume", run, "imitation.max_steps=2", `model.path=${path}`);
    await expect(resumed(other)).rejects.toThrow(
      new RegExp(
        `model below the adapter is another one: got one with .* in ${other}, expected ${fingerprint}, which the run began with`,
      ),
    );
    await resumed(model);
    const further = (path: string) =>
      cli(
        "train",
        "--dry-run",
        ...settings.slice(0, -1),
        `model.path=${path}`,
        `lora.path=${join(run, "adapter")}`,
      );
    await expect(further(other)).rejects.toThrow(/adapter was trained on another model/);
    await further(model);
  });

  test("is known by its values, not by its files", async () => {
    const folder = await readModelFolder(model);
    const fingerprint = await baseFingerprint(folder);
    const copy = async (name: string, changed: string, dtype: "F32" | "BF16" = "F32") => {
      const tensors = [...folder.tensors.tensors].map(([name, { shape }]) => ({
        name,
        shape,
        data: async () => {
          const values = await folder.tensors.read(name);
          if (name === changed) values[values.length - 1] += 0.01;
          return values;
        },
      }));
      await writeModelFolder(join(root, name), { ...folder, tensors }, { dtype, maxShardBytes: 50_000 });
      return baseFingerprint(await readModelFolder(join(root, name)));
    };
    expect(await copy("shards", "")).toBe(fingerprint);
    expect(await copy("trained", "model.layers.1.mlp.up_proj.weight")).not.toBe(fingerprint);
    const halves = await copy("halves", "", "BF16");
    expect(halves).not.toBe(fingerprint);
  });
});

describe("--storage", () => {
  const twoSamples = () =>
    file([
      { tokens: [5, 6, 7, 8], responseStart: 2, advantage: 1 },
      { tokens: [5, 6, 4], responseStart: 2, advantage: -1 },
    ]);

  needing(halfPrecision(launcher.facts.features)).test(
    "stores matrices as f16 on play, eval and coupling",
    async () => {
      const samples = twoSamples();
      // a weight that f16 cannot hold shows that the option reaches the weights
      const loud = join(root, "loud");
      const folder = await readModelFolder(model);
      const tensors = [...folder.tensors.tensors].map(([name, { shape }]) => ({
        name,
        shape,
        data: async () => {
          const values = await folder.tensors.read(name);
          return name.endsWith("1.mlp.up_proj.weight") ? values.fill(1e5, 0, 1) : values;
        },
      }));
      await writeModelFolder(loud, { ...folder, tensors });
      for (const command of [
        ["play", "--env", "household", "--max-steps", "1"],
        ["eval", "--episodes", "1", "--split", "in_domain", "world.max_steps=1"],
        ["coupling", "--samples", samples],
        ["coupling", "--samples", samples, "--last-layer"],
      ]) {
        const refused = both(...command, "--model", loud, "--storage", "f16");
        await expect(refused, command.join(" ")).rejects.toThrow(/does not fit f16: got 100000/);
      }
    },
  );

  test("stores matrices as bf16, and is refused where gradients need more", async () => {
    const samples = twoSamples();
    const given = ["coupling", "--model", model, "--samples", samples];
    await expect(both(...given, "--storage", "bf16")).rejects.toThrow(
      "[--storage] gradients of weights stored as bf16 are not computed: got bf16, expected f32 or f16.",
    );
    await expect(both(...given, "--storage", "f16", "--precision", "f32")).rejects.toThrow(
      /cannot be used with/,
    );
    await expect(both("coupling", "--run", root, "--storage", "f16")).rejects.toThrow(
      "[coupling] --storage cannot go with --run",
    );
    // rounding shows that it was done
    const scores = async (storage: string) => {
      const text = await cli(...given, "--last-layer", "--storage", storage, "--json");
      return text;
    };
    const [exact, halves] = [await scores("f32"), await scores("bf16")];
    expect(exact).toBe(await cli(...given, "--last-layer", "--json"));
    expect(halves).not.toBe(exact);
    const steps = (storage: string) =>
      cli("play", "--env", "household", "--model", model, "--max-steps", "2", "--json", "--storage", storage);
    expect((await steps("bf16")).split("\n").length).toBe((await steps("f32")).split("\n").length);
    const episodes = async (...more: string[]) => {
      const out = join(root, `storage${more.join("")}.jsonl`);
      const few = ["--greedy", "--episodes", "1", "--split", "in_domain", "world.max_steps=1"];
      await cli("eval", "--model", model, "--out", out, ...few, ...more);
      return JSON.parse(readFileSync(out, "utf8").split("\n")[0]);
    };
    // episodes of one storage are not those of another
    expect((await episodes("--storage", "bf16")).evaluation).not.toBe((await episodes()).evaluation);
  });
});
