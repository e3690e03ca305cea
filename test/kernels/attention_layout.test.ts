/** Layouts of attention on GPUs that an autotuner may choose: which there are, and that they compute the same. */
import { expect, test } from "vitest";
import { Tape } from "../../src/autograd/tape.js";
import { Tensor } from "../../src/autograd/tensor.js";
import { Random } from "../../src/core/random.js";
import type { KernelFacts } from "../../src/gpu/runtime.js";
import {
  attentionChoice,
  attentionVariants,
  sharedLayout,
} from "../../src/kernels/attention/attention_layout.js";
import { attention, Launcher, ropeTable } from "../../src/kernels/index.js";
import { withChoice } from "../../src/kernels/tuning/tuning_search.js";
import { packSequences } from "../../src/model/packing.js";
import { factsOf, LARGE_GPU as gpu } from "../support/facts.js";
import { gpuFamilyRuntime } from "../support/runtime.js";

const runtime = await gpuFamilyRuntime();

const HEADS = 4;
const KV_HEADS = 2;
const LENGTHS = [1, 37, 2, 30];
const DIRECTIONS = ["forward", "backward"] as const;

/** Output and gradient of packed sequences under a choice of layout. */
async function attend(D: number, variant: string): Promise<Float32Array[]> {
  let facts: KernelFacts = runtime.facts;
  for (const direction of DIRECTIONS)
    facts = withChoice(facts, attentionChoice(direction, D, facts) as string, variant);
  const packed = packSequences(LENGTHS.map((length) => new Uint32Array(length)));
  const N = packed.tokens.length;
  const random = Random.of(9, "layouts", D);
  const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
  const tape = new Tape(new Launcher(runtime, facts));
  const qkv = Tensor.from(runtime, normals(N * (HEADS + 2 * KV_HEADS) * D), [N, (HEADS + 2 * KV_HEADS) * D], {
    requiresGrad: true,
  });
  const { y } = tape.apply(
    attention,
    {
      qkv,
      position: tape.input(packed.position),
      table: tape.input(ropeTable(64, D, 100), [64, D]),
      sequence_start: tape.input(packed.sequenceStart),
      sequence_end: tape.input(packed.sequenceEnd),
    },
    { heads: HEADS, kv_heads: KV_HEADS },
  );
  const output = (await y.read()) as Float32Array;
  tape.backward([[y, tape.input(normals(y.size), y.shape)]]);
  const gradient = (await qkv.grad?.read()) as Float32Array;
  tape.release();
  qkv.grad?.release();
  qkv.release();
  return [output, gradient];
}

const shipped = "64x32 2";
// every count of rows an invocation owns, heads of vec4 and of floats; 32x32 2 is what the tuner's own test runs
const CASES: [number, string][] = [
  [40, "32x32 1"],
  [40, "32x64 1"],
  [12, "128x32 4"],
];

test.each(CASES)("heads of %i by %s are what the shipped layout computes", async (D, variant) => {
  // an unknown name would run as shipped
  expect(attentionVariants(runtime.facts)).toContain(variant);
  const [expected, got] = [await attend(D, shipped), await attend(D, variant)];
  expected.forEach((values, part) => {
    values.forEach((value, i) => {
      if (!(Math.abs(got[part][i] - value) <= 2e-5 * (1 + Math.abs(value))))
        expect.fail(`${part === 0 ? "y" : "d_qkv"}[${i}]: got ${got[part][i]}, expected ${value}`);
    });
  });
});

test("layouts are those that the adapter can run, and unknown names run as shipped", () => {
  expect(attentionVariants(factsOf(gpu))).toHaveLength(6);
  expect(attentionVariants(factsOf({ ...gpu, maxWorkgroupBytes: 16_384 }))).not.toContain("64x64 2");
  const shape = { heads: 4, kvHeads: 2, headDim: 64, rotate: true };
  const rows = (side: "forward" | "query" | "key_value", tuning: Record<string, string>) =>
    sharedLayout(side, shape, factsOf(gpu, tuning)).rows;
  expect(rows("forward", { "attention forward 64": "128x32 4" })).toBe(128);
  expect(rows("query", { "attention forward 64": "128x32 4" })).toBe(64);
  expect(rows("query", { "attention backward 64": "32x32 2" })).toBe(32);
  expect(rows("key_value", { "attention backward 64": "32x32 2" })).toBe(32);
  expect(rows("forward", { "attention forward 128": "128x32 4" })).toBe(64);
  expect(rows("forward", { "attention forward 64": "constructor" })).toBe(64);
  expect(attentionChoice("forward", 64, factsOf({ isSoftware: true }))).toBeUndefined();
});
