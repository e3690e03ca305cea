/** Model folders: round trips in one file and in shards, tied outputs, and what is said about folders that do not fit. */
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { ConfigError, DataError } from "../../src/core/errors.js";
import { Random } from "../../src/core/random.js";
import { openShards, openTensorFile } from "../../src/host/files/tensor_files.js";
import { openTokenizer, readModelFolder } from "../../src/host/model/model_folder.js";
import { writeModelFolder } from "../../src/host/model/model_folder_write.js";
import { parseQwen2Config, type Qwen2Config } from "../../src/model/config.js";
import { elementCount, parameterShapes } from "../../src/model/parameters.js";
import { encodeSafetensors, type TensorValues } from "../../src/model/safetensors_write.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { temporaryFolder } from "../support/folders.js";

let root: string;
beforeEach(() => {
  root = temporaryFolder();
});

const folder = () => join(root, "model");
const json = (name: string) => JSON.parse(readFileSync(join(folder(), name), "utf8"));

const config = parseQwen2Config(
  {
    model_type: "qwen2",
    hidden_size: 8,
    intermediate_size: 12,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    vocab_size: 40,
    tie_word_embeddings: true,
    eos_token_id: 2,
    my_note: "kept",
  },
  "test",
);
const tokenizer = buildWordTokenizer(["take mug 1 from shelf 2"]);

/** Random values that every dtype can hold exactly. */
function weights(of: Qwen2Config): TensorValues[] {
  const random = new Random(7);
  return parameterShapes(of).map(({ name, shape }) => ({
    name,
    shape,
    data: Float32Array.from({ length: elementCount(shape) }, () => (random.integer(65) - 32) / 16),
  }));
}

/** Writes a folder by hand, past all checks of the writer. */
async function layFolder(of: Qwen2Config, tensors: readonly TensorValues[]) {
  await mkdir(folder(), { recursive: true });
  await writeFile(join(folder(), "config.json"), JSON.stringify(of));
  await writeFile(join(folder(), "model.safetensors"), encodeSafetensors(tensors));
}

const embedding = (tensors: readonly TensorValues[]) => tensors[0].data;

test.each(["F32", "F16", "BF16"] as const)("a folder in %s comes back", async (dtype) => {
  const tensors = weights(config);
  await writeModelFolder(folder(), { config, tensors, tokenizer }, { dtype });
  expect(readdirSync(root)).toEqual(["model"]);
  expect(readdirSync(folder()).sort()).toEqual([
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
  ]);
  const torch = { F32: "float32", F16: "float16", BF16: "bfloat16" }[dtype];
  expect(json("config.json")).toMatchObject({
    architectures: ["Qwen2ForCausalLM"],
    model_type: "qwen2",
    torch_dtype: torch,
    my_note: "kept",
  });
  const read = await readModelFolder(folder());
  expect(read.config).toMatchObject({ ...config, torch_dtype: torch });
  expect(read.generationConfig).toMatchObject({ eos_token_id: 2 });
  for (const { name, shape, data } of tensors) {
    expect(read.tensors.tensors.get(name)).toMatchObject({ dtype, shape });
    expect(await read.tensors.read(name)).toEqual(data);
  }
  const words = openTokenizer(read);
  expect(words.decode(words.encode("take mug 1 from shelf 2"))).toBe("take mug 1 from shelf 2");
});

test("the dtype of the configuration is the default, and values may come late", async () => {
  const tensors = weights(config).map((tensor) => ({ ...tensor, data: async () => tensor.data }));
  await writeModelFolder(folder(), { config: { ...config, torch_dtype: "bfloat16" }, tensors });
  const { tensors: files, tokenizer: none } = await readModelFolder(folder());
  expect(files.tensors.get("model.norm.weight")?.dtype).toBe("BF16");
  expect(none).toBeNull();
});

test("shards with an index come back", async () => {
  const tensors = weights(config);
  await writeModelFolder(folder(), { config, tensors }, { maxShardBytes: 2000 });
  const shards = readdirSync(folder()).filter((name) => name.endsWith(".safetensors"));
  expect(shards.length).toBeGreaterThan(1);
  expect(shards[0]).toBe(`model-00001-of-0000${shards.length}.safetensors`);
  const bytes = tensors.reduce((sum, { data }) => sum + data.byteLength, 0);
  expect(json("model.safetensors.index.json").metadata.total_size).toBe(bytes);
  const read = await readModelFolder(folder());
  for (const { name, data } of tensors) expect(await read.tensors.read(name)).toEqual(data);
});

test("the same model gives the same bytes", async () => {
  const tensors = weights(config);
  await writeModelFolder(folder(), { config, tensors, tokenizer });
  const first = readdirSync(folder()).map((name) => readFileSync(join(folder(), name)));
  await writeModelFolder(folder(), { config, tensors: tensors.reverse(), tokenizer }, { replace: true });
  expect(readdirSync(folder()).map((name) => readFileSync(join(folder(), name)))).toEqual(first);
});

test("a part of a tensor is read", async () => {
  const tensors = weights(config);
  await writeModelFolder(folder(), { config, tensors }, { dtype: "F16" });
  const file = await openTensorFile(join(folder(), "model.safetensors"));
  const part = await file.readElements("model.embed_tokens.weight", 3, 5);
  expect(part).toEqual(embedding(tensors).slice(3, 8));
  expect(file.metadata).toEqual({ format: "pt" });
  await expect(file.read("nothing")).rejects.toThrow('tensor is missing: got no "nothing"');
});

test("a tied model may repeat its embedding as lm_head, but not differ", async () => {
  const tensors = weights(config);
  const head = { name: "lm_head.weight", shape: [40, 8], data: embedding(tensors).slice() };
  const frequencies = {
    name: "model.layers.0.self_attn.rotary_emb.inv_freq",
    shape: [2],
    data: Float32Array.of(1, 0.01),
  };
  await layFolder(config, [...tensors, head, frequencies]);
  expect((await readModelFolder(folder())).config.tie_word_embeddings).toBe(true);
  head.data[17] += 1;
  await layFolder(config, [...tensors, head]);
  await expect(readModelFolder(folder())).rejects.toThrow(/lm_head\.weight differs .* element 17/);
});

test("an untied model needs its own output", async () => {
  const untied = { ...config, tie_word_embeddings: false };
  await writeModelFolder(folder(), { config: untied, tensors: weights(untied) });
  expect((await readModelFolder(folder())).tensors.tensors.has("lm_head.weight")).toBe(true);
  await layFolder(untied, weights(config));
  await expect(readModelFolder(folder())).rejects.toThrow("missing lm_head.weight [40, 8]");
});

test("missing, misshapen and unexpected tensors come in one message", async () => {
  const tensors = weights(config).filter(({ name }) => name !== "model.norm.weight");
  tensors[1] = { ...tensors[1], shape: [2, 4] };
  tensors.push({ name: "model.layers.2.extra", shape: [1], data: Float32Array.of(0) });
  await layFolder(config, tensors);
  const problem =
    /missing model\.norm\.weight \[8\].*misshapen model\.layers\.0\.input_layernorm\.weight \[2, 4\] where \[8\].*unexpected model\.layers\.2\.extra/;
  await expect(readModelFolder(folder())).rejects.toThrow(DataError);
  const read = await readModelFolder(folder()).catch((error: Error) => error.message);
  const written = await writeModelFolder(join(root, "other"), { config, tensors }).catch(
    (error: Error) => error.message,
  );
  for (const message of [read, written]) {
    for (const part of problem.source.split(".*")) expect(message).toMatch(new RegExp(part));
  }
  expect(readdirSync(root)).toEqual(["model"]);
});

test("a folder is replaced only when asked to, and only if it holds a model", async () => {
  const content = { config, tensors: weights(config) };
  await writeModelFolder(folder(), content);
  await expect(writeModelFolder(folder(), content)).rejects.toThrow(ConfigError);
  await writeModelFolder(folder(), content, { replace: true });
  await rm(join(folder(), "config.json"));
  await expect(writeModelFolder(folder(), content, { replace: true })).rejects.toThrow("holds a model");
  await writeFile(join(root, "file"), "");
  await expect(writeModelFolder(join(root, "file"), content)).rejects.toThrow("a file of that name");
});

test("missing and broken files are named", async () => {
  await expect(readModelFolder(folder())).rejects.toThrow(/model folder cannot be read: got ENOENT/);
  await layFolder(config, weights(config));
  await rm(join(folder(), "model.safetensors"));
  await expect(readModelFolder(folder())).rejects.toThrow(/model\.safetensors\] file is missing: got ENOENT/);
  await writeFile(join(folder(), "model.safetensors"), "short");
  await expect(readModelFolder(folder())).rejects.toThrow(/model\.safetensors\] safetensors rule length/);
  await writeFile(join(folder(), "config.json"), "{");
  await expect(readModelFolder(folder())).rejects.toThrow(/config\.json\] file is not JSON/);
  await rm(join(folder(), "config.json"));
  await expect(readModelFolder(folder())).rejects.toThrow(/config\.json\] file cannot be read: got ENOENT/);
});

test.each([
  ["version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer"],
  ["<!DOCTYPE html>", "a web page"],
  ["PK\u0003\u0004", "a zip archive"],
  ["GGUF\u0003", "a GGUF file"],
  ["", "an empty file"],
  ["\0".repeat(64), "a file of zeros"],
])("weights that begin with %j are called %s", async (text, what) => {
  await layFolder(config, weights(config));
  await writeFile(join(folder(), "model.safetensors"), text, "latin1");
  await expect(readModelFolder(folder())).rejects.toThrow(`got ${what}`);
});

test("a byte order mark, other text and endless nesting in JSON are named", async () => {
  await layFolder(config, weights(config));
  for (const [text, what] of [
    [`\ufeff${JSON.stringify(config)}`, "a byte order mark"],
    ["<html>", "a web page"],
    ["[".repeat(1e6), "nested too deep"],
    ["", "an empty file"],
  ]) {
    await writeFile(join(folder(), "config.json"), text);
    await expect(readModelFolder(folder())).rejects.toThrow(what);
  }
  await writeFile(join(folder(), "config.json"), Uint8Array.of(0x7b, 0xff, 0x7d));
  await expect(readModelFolder(folder())).rejects.toThrow("is not UTF-8");
});

test("what a folder holds in place of its weights is named", async () => {
  await layFolder(config, weights(config));
  await rm(join(folder(), "model.safetensors"));
  for (const [name, cure] of [
    ["adapter_model.safetensors", "adapter"],
    ["pytorch_model.bin", "Convert them to safetensors"],
    ["model.gguf", "GGUF|safetensors that it was made from"],
    ["model-00001-of-00002.safetensors", "parts of a set"],
    ["policy.safetensors", "Give the file the name"],
  ]) {
    await writeFile(join(folder(), name), "");
    const error = await readModelFolder(folder()).catch((reason: Error) => reason.message);
    expect(error).toContain(`got ${name}`);
    expect(error).toMatch(new RegExp(cure));
    await rm(join(folder(), name));
  }
});

test("a folder in the place of weights, and weights that are no floats, are named before they are read", async () => {
  await layFolder(config, weights(config));
  const file = join(folder(), "model.safetensors");
  const bytes = readFileSync(file);
  const name = '"model.norm.weight":{"dtype":"F32"';
  const at = bytes.indexOf(name);
  expect(at).toBeGreaterThan(0);
  bytes.write(name.replace("F32", "I32"), at);
  await writeFile(file, bytes);
  await expect(readModelFolder(folder())).rejects.toThrow(
    'tensor "model.norm.weight" cannot be read as numbers of a policy: got dtype I32, expected F32, F16 or BF16.',
  );
  await rm(file);
  await mkdir(file);
  await expect(readModelFolder(folder())).rejects.toThrow(
    `[${file}] file is something else: got a folder or device, expected a safetensors file.`,
  );
});

test.each([
  ["AutoModel", (name: string) => name.replace(/^model\./, "")],
  ["torch.compile", (name: string) => `_orig_mod.${name}`],
  ["DataParallel", (name: string) => `module.${name}`],
  ["PEFT", (name: string) => `base_model.model.${name}`],
  ["larger model", (name: string) => name.replace(/^model\./, "model.language_model.")],
])("names as of %s are recognised", async (who, rename) => {
  await layFolder(
    config,
    weights(config).map((tensor) => ({ ...tensor, name: rename(tensor.name) })),
  );
  const error = await readModelFolder(folder()).catch((reason: Error) => reason.message);
  expect(error).toMatch(/tensors have other names: got 26 tensors/);
  expect(error).toContain(who);
});

test("of two sets of weights the single file is read, as transformers does, and that is said", async () => {
  const tensors = weights(config);
  await writeModelFolder(folder(), { config, tensors }, { maxShardBytes: 2000 });
  expect((await readModelFolder(folder())).notes).toEqual([]);
  const others = tensors.map((tensor) => ({ ...tensor, data: tensor.data.map((value) => value + 1) }));
  await writeFile(join(folder(), "model.safetensors"), encodeSafetensors(others));
  const read = await readModelFolder(folder());
  expect(await read.tensors.read("model.norm.weight")).toEqual(
    others.find(({ name }) => name === "model.norm.weight")?.data,
  );
  expect(read.notes).toEqual([expect.stringContaining("model.safetensors was read")]);
});

test("generation_config.json decides what ends an answer, and an export keeps it", async () => {
  const tensors = weights(config);
  const small = { ...buildWordTokenizer(["go"], { specialTokens: ["<|stop|>"] }) };
  const generationConfig = { eos_token_id: [6, 4], temperature: 0.7, do_sample: true };
  await writeModelFolder(folder(), { config, tensors, tokenizer: small, generationConfig });
  const read = await readModelFolder(folder());
  const words = openTokenizer(read);
  // the end token of the tokenizer is the one that training writes
  expect(words.endTokenIds).toEqual([2, 6, 4]);
  const { generationConfig: kept } = read;
  const content = {
    config,
    tensors,
    tokenizer: small,
    generationConfig: kept,
    endTokenIds: words.endTokenIds,
  };
  await writeModelFolder(folder(), content, { replace: true });
  expect(json("generation_config.json")).toEqual({ ...generationConfig, eos_token_id: [2, 6, 4] });
  expect(json("config.json").eos_token_id).toEqual([2, 6, 4]);
  for (const eos_token_id of [99, -1, "<|end|>", [2, null]]) {
    await writeFile(join(folder(), "generation_config.json"), JSON.stringify({ eos_token_id }));
    await expect(readModelFolder(folder())).rejects.toThrow("end token is wrong");
  }
  await writeFile(join(folder(), "generation_config.json"), "[]");
  await expect(readModelFolder(folder())).rejects.toThrow("no JSON object");
});

test("older tokenizer files and named templates come back", async () => {
  const { added_tokens_decoder: _none, ...older } = tokenizer.tokenizerConfig;
  const files = {
    ...tokenizer,
    tokenizerConfig: { ...older, eos_token: "<|unk|>" },
    specialTokensMap: { eos_token: { content: "<|end|>" } },
    namedChatTemplates: { default: "d", tool_use: "t" },
  };
  await writeModelFolder(folder(), { config, tensors: weights(config), tokenizer: files });
  const words = openTokenizer(await readModelFolder(folder()));
  expect(words.eosTokenId).toBe(2);
  expect(words.applyChatTemplate([])).toBe("d");
  expect(words.applyChatTemplate([], { tools: [] })).toBe("t");
});

test("without tokenizer.json the files that it can be made from are named", async () => {
  await layFolder(config, weights(config));
  await writeFile(join(folder(), "vocab.json"), "{}");
  const read = await readModelFolder(folder());
  expect(() => openTokenizer(read)).toThrow(/got vocab\.json, .*save_pretrained/);
});

test("an index that disagrees with its files is named", async () => {
  await writeModelFolder(folder(), { config, tensors: weights(config) }, { maxShardBytes: 2000 });
  const path = join(folder(), "model.safetensors.index.json");
  const index = json("model.safetensors.index.json");
  const { "model.norm.weight": place, ...others } = index.weight_map;
  await writeFile(path, JSON.stringify({ weight_map: others }));
  await expect(openShards(path)).rejects.toThrow(/disagree about "model\.norm\.weight".*expected none/);
  await writeFile(path, JSON.stringify({ weight_map: { ...index.weight_map, ghost: place } }));
  await expect(openShards(path)).rejects.toThrow(/disagree about "ghost": got no file/);
});

test("a tokenizer that is missing or too large is named", async () => {
  const tensors = weights(config);
  await writeModelFolder(folder(), { config, tensors });
  const without = await readModelFolder(folder());
  expect(() => openTokenizer(without)).toThrow("tokenizer is missing");
  const large = buildWordTokenizer([], { numbersUpTo: 50 });
  await writeModelFolder(folder(), { config, tensors, tokenizer: large }, { replace: true });
  await expect(readModelFolder(folder())).rejects.toThrow("got 57 tokens, expected at most vocab_size 40");
});

test("a chat template in a file of its own comes back", async () => {
  const files = { ...tokenizer, chatTemplate: "{{ messages[0].content }}" };
  await writeModelFolder(folder(), { config, tensors: weights(config), tokenizer: files });
  expect(
    openTokenizer(await readModelFolder(folder())).applyChatTemplate([{ role: "user", content: "hi" }]),
  ).toBe("hi");
});
