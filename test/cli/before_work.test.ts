/** What commands are given is looked at before a GPU is opened: there is none of the name that these tests ask for. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test, vi } from "vitest";
import { runCli } from "../../src/cli/program.js";
import { writeModelFolder } from "../../src/host/model/model_folder_write.js";
import { presetConfig } from "../../src/model/config.js";
import { elementCount, parameterShapes } from "../../src/model/parameters.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { temporaryFolder } from "../support/folders.js";
import { readGolden } from "../support/golden.js";
import { writeRecordedRun } from "../support/recorded_run.js";
import { TextStream } from "../support/streams.js";

const { folder: model } = readGolden("qwen2-tied-gqa");
const root = temporaryFolder();
const at = (...names: string[]) => join(root, ...names);
const write = (name: string, text: string) => {
  writeFileSync(at(name), text);
  return at(name);
};
const file = write("file", "no benchmark, no episodes");
const tokens = write("tokens.json", "[[1, 2, 3]]");
const unknown = write("unknown.json", "[[1, 2], [1, 999]]");
const long = write("long.json", JSON.stringify([Array(5000).fill(1)]));
const samples = write("samples.json", '[{"tokens": [1, 2, 3], "responseStart": 1}]');
const odd = write("odd.json", '[{"tokens": [1, 999], "responseStart": 1}]');
const deep = write("deep.json", "[".repeat(100_000));
const rest =
  "base: { grpo: { max_steps: 1 } }\nstart: { train: { grpo: { max_steps: 1 } } }\naxes: { method: { plain: } }\n";
const experiment = write("experiment.yaml", `${rest}seeds: [0]\nsplits: { L0: { of: nosuch } }\n`);
const seeds = write("seeds.yaml", `${rest}seeds: [1e999]\nsplits: { L0: { of: in_domain } }\n`);
const words = at("words");
const page = write("page.md", "no marks");
const run = at("run");
mkdirSync(run);
writeRecordedRun(run, { updates: 2, rollouts: [] });
const none = at("none");
const inFile = join(file, "out");

/** A model with a tokenizer, for what is looked at after that. */
beforeAll(async () => {
  const tokenizer = buildWordTokenizer(["a b"], { numbersUpTo: 1, roles: ["user"] });
  const config = presetConfig("nano", new Tokenizer(tokenizer).vocabularySize);
  const tensors = parameterShapes(config).map((one) => ({
    ...one,
    data: new Float32Array(elementCount(one.shape)),
  }));
  await writeModelFolder(words, { config, tensors, tokenizer });
});

async function said(...args: string[]) {
  const [stdout, stderr] = [new TextStream(), new TextStream()];
  vi.stubEnv("UNCOUPLE_ADAPTER", "no such adapter");
  return {
    code: await runCli(args, { stdout, stderr, env: process.env }),
    out: stdout.text,
    err: stderr.text,
  };
}

test("with all in order the adapter is asked for, and found missing", async () => {
  expect((await said("score", "--model", model, "--tokens", tokens)).code).toBe(3);
  expect((await said("coupling", "--model", model, "--samples", samples)).code).toBe(3);
  expect((await said("bench", "rms_norm", "--save", at("new", "rows.json"))).code).toBe(3);
});

test.each([
  ["score: no model", /none\].*ENOENT/, ["score", "--model", none, "--tokens", tokens]],
  ["score: a file for a model", /file\].*ENOTDIR/, ["score", "--model", file, "--tokens", tokens]],
  ["score: no adapter", /none.*ENOENT/, ["score", "--model", model, "--lora", none, "--tokens", tokens]],
  [
    "score: an unknown token",
    /sequence 1\] .* id 999 at place 1/,
    ["score", "--model", model, "--tokens", unknown],
  ],
  ["score: too many tokens", /sequence 0\] too long/, ["score", "--model", model, "--tokens", long]],
  ["coupling: no model", /none\].*ENOENT/, ["coupling", "--model", none, "--samples", samples]],
  ["coupling: an unknown token", /sample 0: .*999/, ["coupling", "--model", model, "--samples", odd]],
  [
    "coupling: scores of it",
    /sample 0: .*999/,
    ["coupling", "--model", model, "--samples", odd, "--last-layer"],
  ],
  ["coupling: no run", /none.*ENOENT/, ["coupling", "--run", none]],
  ["coupling: a run without checkpoints", /no such checkpoint/, ["coupling", "--run", run]],
  ["score: no end of lists", /nested too deep/, ["score", "--model", model, "--tokens", deep]],
  [
    "generate: no such temperature",
    /temperature is wrong: got 1e-300/,
    ["generate", "--model", words, "--prompt", "a", "--temperature", "1e-300"],
  ],
  [
    "experiment: no such split",
    /nosuch/,
    ["experiment", "-c", experiment, "--dry-run", "--out", at("experiment")],
  ],
  [
    "experiment: a seed that is none",
    /seeds\[0\]: got Infinity/,
    ["experiment", "-c", seeds, "--dry-run", "--out", at("experiment")],
  ],
  ["generate: no model", /none\].*ENOENT/, ["generate", "--model", none, "--prompt", "a"]],
  ["generate: no tokenizer", /tokenizer is missing/, ["generate", "--model", model, "--prompt", "a"]],
  ["chat: no model", /none\].*ENOENT/, ["chat", "--model", none]],
  ["play: no model", /none\].*ENOENT/, ["play", "--model", none]],
  [
    "play: no such temperature",
    /temperature is wrong/,
    ["play", "--model", words, "--temperature", "1e-300"],
  ],
  [
    "play: longer than the model reads",
    /--max-tokens is more/,
    ["play", "--model", words, "--max-tokens", "100000"],
  ],
  ["eval: no model", /none\].*ENOENT/, ["eval", "--model", none]],
  ["eval: no tokenizer", /tokenizer is missing/, ["eval", "--model", model]],
  [
    "bench: rows into a file as a folder",
    /file.*ENOTDIR/,
    ["bench", "rms_norm", "--save", join(inFile, "a.json")],
  ],
  ["bench: a picture into one", /file.*ENOTDIR/, ["bench", "rms_norm", "--svg", inFile]],
  [
    "bench: a picture as a folder",
    /got a folder, expected a file/,
    ["bench", "rms_norm", "--roofline", root],
  ],
  ["bench: a picture over a device", /got a device/, ["bench", "rms_norm", "--curves", "/dev/null"]],
  ["bench: a page without marks", /marks of tables are wrong/, ["bench", "rms_norm", "--into", page]],
  ["bench: no page", /none.*ENOENT/, ["bench", "rms_norm", "--into", none]],
  ["bench: no baseline", /none.*ENOENT/, ["bench", "rms_norm", "--baseline", none]],
  ["report: into a file as a folder", /file.*ENOTDIR/, ["report", run, "--out", inFile]],
  ["run export: into one", /file.*ENOTDIR/, ["run", "export", run, "--out", inFile]],
  ["report: no name", /\[--out\] path is empty/, ["report", run, "--out", ""]],
  ["run show: no name", /\[run\] path is empty/, ["run", "show", ""]],
])("%s", async (_name, message, args) => {
  const { code, out, err } = await said(...args);
  expect({ code, out, lines: err.trim().split("\n").length }).toEqual({ code: 2, out: "", lines: 1 });
  expect(err).toMatch(message);
});
