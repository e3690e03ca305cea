/**
 * 200,000 damaged files: whatever a reader is given, it reads it or refuses it with an error of its own that names the file, within
 * a second; what it accepts means what an independent reading of the same bytes says.
 */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { textLayer } from "../../src/config/layers.js";
import { resolveLayers } from "../../src/config/load.js";
import { trainConfigSchema } from "../../src/config/schema.js";
import { UncoupleError } from "../../src/core/errors.js";
import { parseDomain, parseProblem } from "../../src/env/pddl/pddl.js";
import { parseGrammar } from "../../src/env/textworld/grammar.js";
import { parseJson } from "../../src/host/files/json_file.js";
import { readJsonLines } from "../../src/host/files/json_lines.js";
import { configJson, parseQwen2Config, presetConfig } from "../../src/model/config.js";
import { dtypeBytes, readSafetensors } from "../../src/model/safetensors.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { smallDomain, smallGrammar, smallProblem } from "../support/alfworld_small_game.js";

const SEED = 20_261_130;
const MOST_MS = 1000;

const JUNK = [
  ..."()[]{}\"'\\#?-:|&,;\u0000\ufeff\ud800\n\t %*!<>=@".split(""),
  "null",
  "1e999",
  "-1",
  "9007199254740993",
  ".nan",
  "__proto__",
  "constructor",
  "true",
  "[[[[[[[[",
  "&a *a",
  "<<: *a",
  "ſ",
  "🜁",
];

/** Some cuts, doublings, exchanges and insertions of pieces. */
const damages = fc.array(
  fc.record({
    kind: fc.constantFrom("cut", "double", "junk", "move", "end"),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    to: fc.double({ min: 0, max: 1, noNaN: true }),
    length: fc.nat(24),
    junk: fc.constantFrom(...JUNK),
  }),
  { minLength: 1, maxLength: 4 },
);
type Damage = (typeof damages extends fc.Arbitrary<infer T> ? T : never)[number];

function damaged(text: string, list: readonly Damage[]): string {
  return list.reduce((result, { kind, at, to, length, junk }) => {
    const start = Math.floor(at * result.length);
    const piece = result.slice(start, start + length);
    const rest = result.slice(start + length);
    if (kind === "cut") return result.slice(0, start) + rest;
    if (kind === "double") return result.slice(0, start) + piece + piece + rest;
    if (kind === "junk") return result.slice(0, start) + junk + rest;
    if (kind === "end") return result.slice(0, Math.max(1, start));
    const without = result.slice(0, start) + rest;
    const place = Math.floor(to * without.length);
    return without.slice(0, place) + piece + without.slice(place);
  }, text);
}

/**
 * Reads damaged forms of a text.
 * @param check looks at what was accepted
 */
function fuzz<T>(
  count: number,
  text: string,
  read: (text: string) => T,
  check: (value: T, text: string) => void,
) {
  const told = { accepted: 0, refused: 0, slowest: 0 };
  fc.assert(
    fc.property(damages, (list) => {
      const input = damaged(text, list);
      const started = process.cpuUsage();
      let value: T | undefined;
      try {
        value = read(input);
        told.accepted++;
      } catch (error) {
        if (!(error instanceof UncoupleError)) throw error;
        expect(error.message).toContain("the_file");
        told.refused++;
      }
      // of the processor: a machine that others keep busy says nothing of the reader
      const { user, system } = process.cpuUsage(started);
      const elapsed = (user + system) / 1000;
      told.slowest = Math.max(told.slowest, elapsed);
      if (elapsed > MOST_MS) throw new Error(`took ${elapsed} ms`);
      if (value !== undefined) check(value, input);
    }),
    { numRuns: count, seed: SEED },
  );
  expect(told.accepted).toBeGreaterThan(0);
  expect(told.refused).toBeGreaterThan(count / 20);
  console.log(
    `${count} inputs: ${told.accepted} read, ${told.refused} refused, slowest ${told.slowest.toFixed(0)} ms`,
  );
}

const latin = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

test("safetensors: 60,000 files", () => {
  const header = JSON.stringify({
    __metadata__: { format: "pt" },
    a: { dtype: "F32", shape: [2, 3], data_offsets: [0, 24] },
    b: { dtype: "F16", shape: [4], data_offsets: [24, 32] },
    c: { dtype: "BF16", shape: [], data_offsets: [32, 34] },
  });
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const whole = Buffer.concat([length, Buffer.from(header), Buffer.alloc(34, 0x3c)]);
  fuzz(
    60_000,
    latin(whole),
    (text) => {
      const bytes = Buffer.from(text, "latin1");
      const content = readSafetensors(bytes, "the_file");
      return { bytes, content };
    },
    ({ bytes, content }) => {
      const size = 8 + Number(bytes.readBigUInt64LE(0));
      let covered = size;
      for (const { begin, end, shape, dtype } of [...content.tensors.values()].sort(
        (x, y) => x.begin - y.begin || x.end - y.end,
      )) {
        expect(begin).toBe(covered);
        expect(end - begin).toBe(shape.reduce((product, axis) => product * axis, 1) * dtypeBytes(dtype));
        covered = end;
      }
      expect(covered).toBe(bytes.length);
    },
  );
});

test("config.json: 50,000 files", () => {
  const text = JSON.stringify(configJson(presetConfig("nano", 100)));
  fuzz(
    50_000,
    text,
    (input) => parseQwen2Config(parseJson(input, "the_file"), "the_file"),
    (config) => {
      // the type of the model says what it is; the list of architectures is written anew
      const again = parseQwen2Config(configJson(config), "the_file");
      expect({ ...again, architectures: null }).toEqual({ ...config, architectures: null });
      expect(config.num_attention_heads % config.num_key_value_heads).toBe(0);
    },
  );
});

test("settings in YAML: 25,000 files", () => {
  const text =
    "seed: 3\nname: x\nworld: &w { id: household, max_steps: 5 }\nimitation:\n  episodes: 4\n  learning_rate: 1e-3\n" +
    "grpo:\n  beta: 0.1 # comment\n  algo: gigpo\n  task_types: [a, b]\neval:\n  modes:\n    - greedy\n";
  fuzz(
    25_000,
    text,
    (input) => resolveLayers([textLayer(input, "the_file")]).config,
    (config) => expect(trainConfigSchema.parse(config)).toEqual(config),
  );
});

test("PDDL: 30,000 files", () => {
  const domain = parseDomain(smallDomain, "the_file");
  fuzz(
    15_000,
    smallDomain,
    (text) => parseDomain(text, "the_file"),
    ({ actions }) => expect(actions).toBeInstanceOf(Map),
  );
  fuzz(
    15_000,
    smallProblem,
    (text) => parseProblem(text, domain, "the_file"),
    ({ objects, init }) => {
      for (const { args } of init) for (const arg of args) expect(objects.has(arg)).toBe(true);
    },
  );
});

test("grammars: 20,000 files", () => {
  fuzz(
    20_000,
    smallGrammar,
    (text) => parseGrammar(text, "the_file"),
    ({ rules, actions }) => {
      for (const alternatives of rules.values()) expect(alternatives.length).toBeGreaterThan(0);
      for (const { template, feedback } of actions.values())
        expect([template, feedback]).not.toContain(undefined);
    },
  );
});

test("tokenizer.json: 5,000 files", () => {
  const { tokenizerJson, tokenizerConfig } = buildWordTokenizer(["take the cup", "go to shelf 1"], {
    numbersUpTo: 5,
  });
  fuzz(
    5000,
    JSON.stringify(tokenizerJson),
    (text) =>
      new Tokenizer(
        { tokenizerJson: parseJson(text, "the_file") as Record<string, unknown>, tokenizerConfig },
        "the_file",
      ),
    (tokenizer) => {
      for (const id of tokenizer.encode("take the cup")) expect(id).toBeLessThan(tokenizer.vocabularySize);
    },
  );
});

test("rows as JSON lines: 10,000 files", async () => {
  const path = join(mkdtempSync(join(tmpdir(), "fuzz-")), "the_file.jsonl");
  const whole = Array.from(
    { length: 4 },
    (_, step) => `${JSON.stringify({ step, loss: 0.5, text: "a\u2028b" })}\n`,
  ).join("");
  let [read, refused] = [0, 0];
  await fc.assert(
    fc.asyncProperty(damages, async (list) => {
      const text = damaged(whole, list);
      writeFileSync(path, text);
      try {
        const rows = await readJsonLines(path);
        read++;
        const lines = Buffer.from(text).toString("utf8").split("\n").slice(0, -1);
        expect(rows).toEqual(lines.map((line) => JSON.parse(line)));
      } catch (error) {
        if (!(error instanceof UncoupleError)) throw error;
        expect(error.message).toContain("the_file.jsonl:");
        refused++;
      }
    }),
    { numRuns: 10_000, seed: SEED },
  );
  console.log(`10000 inputs: ${read} read, ${refused} refused`);
  expect(Math.min(read, refused)).toBeGreaterThan(0);
});
