/** The safetensors writer against bytes laid by hand, round trips, and shards. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { ArgumentError, DataError } from "../../src/core/errors.js";
import { fromBfloat16Bits, fromFloat16Bits } from "../../src/core/half_floats.js";
import type { FloatDtype } from "../../src/model/safetensors.js";
import { readSafetensors } from "../../src/model/safetensors.js";
import { parseShardIndex, planShards, shardIndexJson } from "../../src/model/safetensors_shards.js";
import {
  encodeSafetensors,
  safetensorsChunks,
  type TensorSource,
  type TensorValues,
} from "../../src/model/safetensors_write.js";

async function joined(tensors: readonly TensorSource[], dtype: FloatDtype): Promise<number[]> {
  const bytes: number[] = [];
  for await (const chunk of safetensorsChunks(tensors, { dtype })) bytes.push(...chunk);
  return bytes;
}

test("the bytes are exactly the format's", () => {
  const header =
    '{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},' +
    '"b":{"dtype":"F32","shape":[],"data_offsets":[8,12]}}';
  const padded = header.padEnd(Math.ceil(header.length / 8) * 8, " ");
  const expected = [
    ...[padded.length, 0, 0, 0, 0, 0, 0, 0],
    ...new TextEncoder().encode(padded),
    ...[0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0],
    ...[0, 0, 0, 0x40],
  ];
  const a = { name: "a", shape: [2], data: Float32Array.of(1, -2.5) };
  const b = { name: "b", shape: [], data: Float32Array.of(2) };
  expect([...encodeSafetensors([b, a])]).toEqual(expected);
});

test("16-bit data is little-endian and starts at a multiple of 8", () => {
  const tensor = { name: "weight", shape: [2], data: Float32Array.of(1, -3.140625) };
  for (const [dtype, tail] of [
    ["BF16", [0x80, 0x3f, 0x49, 0xc0]],
    ["F16", [0x00, 0x3c, 0x48, 0xc2]],
  ] as const) {
    const bytes = encodeSafetensors([tensor], { dtype, metadata: { step: "3" } });
    expect([...bytes.slice(-4)]).toEqual(tail);
    expect((bytes.length - 4) % 8).toBe(0);
    expect(readSafetensors(bytes, "f").metadata).toEqual({ format: "pt", step: "3" });
  }
});

const shape = fc.array(fc.nat(4), { maxLength: 3 });
const tensors = (value: fc.Arbitrary<number>) =>
  fc.uniqueArray(
    fc
      .tuple(fc.string({ unit: "binary", maxLength: 8 }), shape)
      .filter(([name]) => name !== "__metadata__")
      .chain(([name, shape]) => {
        const count = shape.reduce((product, size) => product * size, 1);
        return fc
          .array(value, { minLength: count, maxLength: count })
          .map((data): TensorValues => ({ name, shape, data: Float32Array.from(data) }));
      }),
    { selector: ({ name }) => name, maxLength: 6 },
  );
const pattern = fc.nat(0xffff);
const values: Record<FloatDtype, fc.Arbitrary<number>> = {
  F32: fc.float(),
  F16: pattern.map((bits) => fromFloat16Bits(Uint16Array.of(bits))[0]),
  BF16: pattern.map((bits) => fromBfloat16Bits(Uint16Array.of(bits))[0]),
};

test.each(["F32", "F16", "BF16"] as const)("what is written as %s is read again", async (dtype) => {
  await fc.assert(
    fc.asyncProperty(tensors(values[dtype]), async (list) => {
      const bytes = encodeSafetensors(list, { dtype });
      const file = readSafetensors(bytes, "f");
      expect(file.tensors.size).toBe(list.length);
      for (const { name, shape, data } of list) {
        expect(file.tensors.get(name)).toMatchObject({ dtype, shape });
        expect(file.read(name)).toEqual(data);
      }
      const lazy = list.map((tensor) => ({ ...tensor, data: () => Promise.resolve(tensor.data) }));
      expect(await joined(lazy.reverse(), dtype)).toEqual([...bytes]);
    }),
  );
});

test("a tensor is asked for once, in name order", async () => {
  const asked: string[] = [];
  const source = (name: string) => ({
    name,
    shape: [1],
    data: () => {
      asked.push(name);
      return Float32Array.of(1);
    },
  });
  await joined([source("c"), source("a"), source("b")], "F32");
  expect(asked).toEqual(["a", "b", "c"]);
});

test("what cannot be written is named", () => {
  const one = { name: "a", shape: [1], data: Float32Array.of(1) };
  expect(() => encodeSafetensors([one, one])).toThrow(ArgumentError);
  expect(() => encodeSafetensors([{ ...one, name: "__metadata__" }])).toThrow("__metadata__");
  expect(() => encodeSafetensors([{ ...one, shape: [2] }])).toThrow("got 1 values, expected 2 for [2]");
  expect(() => encodeSafetensors([{ ...one, shape: [-1] }])).toThrow('shape of "a"');
  const large = { ...one, data: Float32Array.of(70000) };
  expect(() => encodeSafetensors([large], { dtype: "F16" })).toThrow(DataError);
  expect(() => encodeSafetensors([large], { dtype: "F16" })).toThrow("BF16 or F32");
  expect(() => encodeSafetensors([large], { dtype: "BF16" })).not.toThrow();
  const infinite = { ...one, data: Float32Array.of(Infinity) };
  expect(() => encodeSafetensors([infinite], { dtype: "F16" })).not.toThrow();
});

const sized = (name: string, count: number) => ({ name, shape: [count] });

test("shards are filled in order, and the index says where each tensor is", () => {
  const list = [sized("a", 2), sized("b", 2), sized("huge", 9), sized("c", 1), sized("d", 2)];
  const shards = planShards(list, "F32", 16);
  expect(shards.map(({ file, tensors }) => [file, tensors.map(({ name }) => name)])).toEqual([
    ["model-00001-of-00003.safetensors", ["a", "b"]],
    ["model-00002-of-00003.safetensors", ["huge"]],
    ["model-00003-of-00003.safetensors", ["c", "d"]],
  ]);
  const json = shardIndexJson(shards, "F32");
  expect(json.metadata.total_size).toBe(64);
  const index = parseShardIndex(JSON.parse(JSON.stringify(json)), "i");
  expect(index.totalBytes).toBe(64);
  expect(index.files.get("huge")).toBe("model-00002-of-00003.safetensors");
  expect(planShards(list, "F32").map(({ file }) => file)).toEqual(["model.safetensors"]);
  expect(planShards(list, "BF16", 1000)).toHaveLength(1);
  expect(() => planShards(list, "F32", 0)).toThrow(ArgumentError);
});

test.each([
  ["a list", []],
  ["no weight_map", { metadata: {} }],
  ["a number for a file", { weight_map: { a: 1 } }],
  ["a path out of the folder", { weight_map: { a: "../a.safetensors" } }],
  ["another kind of file", { weight_map: { a: "a.bin" } }],
])("an index with %s is refused", (_what, json) => {
  expect(() => parseShardIndex(json, "x.index.json")).toThrow(/^\[x\.index\.json\] index is malformed/);
  expect(() => parseShardIndex(json, "x.index.json")).toThrow(DataError);
});
