/** The safetensors reader against bytes laid by hand, one broken rule at a time. */
import { expect, test } from "vitest";
import { DataError } from "../../src/core/errors.js";
import { decodeTensor, parseSafetensorsHeader, readSafetensors } from "../../src/model/safetensors.js";

/** A file from the text of a header and data bytes: 8-byte little-endian length, header, data. */
function fileOf(header: string | Uint8Array, data: ArrayLike<number> = []): Uint8Array {
  const text = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const length = [text.length & 255, (text.length >> 8) & 255, (text.length >> 16) & 255, 0, 0, 0, 0, 0];
  return Uint8Array.from([...length, ...text, ...Array.from(data)]);
}

test("bytes written by hand are read", () => {
  const header =
    '{"__metadata__":{"format":"pt"},' +
    '"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},' +
    '"half":{"dtype":"F16","shape":[1,2],"data_offsets":[8,12]},' +
    '"brain":{"dtype":"BF16","shape":[2],"data_offsets":[12,16]},' +
    '"empty":{"dtype":"F32","shape":[0,3],"data_offsets":[16,16]},' +
    '"scalar":{"dtype":"F16","shape":[],"data_offsets":[16,18]},' +
    '"flags":{"dtype":"U8","shape":[2],"data_offsets":[18,20]}}   ';
  const data = [
    ...[0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0], // 1, -2.5
    ...[0x00, 0x3c, 0x01, 0x00], // 1, 2^-24
    ...[0x80, 0x3f, 0x49, 0xc0], // 1, -3.140625
    ...[0xff, 0x7b], // 65504
    ...[1, 0],
  ];
  const file = readSafetensors(fileOf(header, data), "hand.safetensors");
  expect(file.metadata).toEqual({ format: "pt" });
  expect([...file.read("a")]).toEqual([1, -2.5]);
  expect([...file.read("half")]).toEqual([1, 2 ** -24]);
  expect([...file.read("brain")]).toEqual([1, -3.140625]);
  expect([...file.read("empty")]).toEqual([]);
  expect([...file.read("scalar")]).toEqual([65504]);
  expect(file.tensors.get("half")?.shape).toEqual([1, 2]);
  expect(() => file.read("flags")).toThrow('tensor "flags" cannot be read');
  expect(() => file.read("b")).toThrow('[hand.safetensors] tensor is missing: got no "b"');
});

test("a read tensor is the caller's own", () => {
  const bytes = fileOf('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', [0, 0, 0x80, 0x3f]);
  const file = readSafetensors(bytes, "f");
  file.read("a")[0] = 7;
  expect(file.read("a")[0]).toBe(1);
});

test("the header alone is enough, and data at an odd address is decoded", () => {
  const bytes = fileOf('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', [0, 0, 0x80, 0x3f]);
  const header = parseSafetensorsHeader(bytes.subarray(0, bytes.length - 4), "f", bytes.length);
  const entry = header.tensors.get("a");
  expect(entry).toMatchObject({ begin: bytes.length - 4, end: bytes.length });
  const shifted = new Uint8Array(5);
  shifted.set(bytes.subarray(entry?.begin, entry?.end), 1);
  if (entry) expect([...decodeTensor(entry, shifted.subarray(1), "f")]).toEqual([1]);
});

test("a name that JavaScript treats specially is a name like any other", () => {
  const file = readSafetensors(fileOf('{"__proto__":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'), "f");
  expect([...file.tensors.keys()]).toEqual(["__proto__"]);
  expect(file.metadata).toEqual({});
});

const entry = (dtype: string, shape: string, offsets: string) =>
  `{"dtype":${dtype},"shape":${shape},"data_offsets":${offsets}}`;
const ok = (begin: number, end: number) => entry('"F32"', `[${(end - begin) / 4}]`, `[${begin},${end}]`);
const zeros = (count: number) => new Uint8Array(count);
const withLength = (...bytes: number[]) => Uint8Array.from([...bytes, 0x7b, 0x7d]);

const malformed: [what: string, bytes: Uint8Array, rule: string, tensor?: string][] = [
  ["too short a file", zeros(7), "length"],
  ["an empty file", zeros(0), "length"],
  ["a header of more than 100 MB", withLength(0x01, 0xe1, 0xf5, 0x05, 0, 0, 0, 0), "header_length"],
  ["a header of 2^56 bytes", withLength(0, 0, 0, 0, 0, 0, 0, 1), "header_length"],
  ["a header past the file", withLength(3, 0, 0, 0, 0, 0, 0, 0), "header_length"],
  ["bytes that are not UTF-8", fileOf(Uint8Array.of(0x7b, 0xff, 0x7d)), "utf8"],
  ["text that is not JSON", fileOf("{'a':1}"), "json"],
  ["an empty header", fileOf(""), "json"],
  ["a list", fileOf("[]"), "object"],
  ["null", fileOf("null"), "object"],
  ["a space in front", fileOf(" {}"), "object"],
  ["a tensor twice", fileOf(`{"a":${ok(0, 4)},"a":${ok(0, 4)}}`, zeros(4)), "duplicate_key", "a"],
  [
    "a tensor twice, escaped",
    fileOf(`{"a":${ok(0, 4)},"\\u0061":${ok(0, 4)}}`, zeros(4)),
    "duplicate_key",
    "a",
  ],
  ["a field twice", fileOf('{"a":{"dtype":"F32","dtype":"F16"}}'), "duplicate_key", "dtype"],
  ["metadata that is no object", fileOf('{"__metadata__":[]}'), "metadata"],
  ["metadata with a number", fileOf('{"__metadata__":{"format":1}}'), "metadata"],
  ["an entry that is no object", fileOf('{"a":[]}'), "fields", "a"],
  ["a missing dtype", fileOf('{"a":{"shape":[1],"data_offsets":[0,4]}}', zeros(4)), "fields", "a"],
  ["a missing shape", fileOf('{"a":{"dtype":"F32","data_offsets":[0,4]}}', zeros(4)), "fields", "a"],
  ["missing offsets", fileOf('{"a":{"dtype":"F32","shape":[1]}}', zeros(4)), "fields", "a"],
  ["an unknown dtype", fileOf(`{"a":${entry('"F33"', "[1]", "[0,4]")}}`, zeros(4)), "dtype", "a"],
  [
    "a dtype of an object's own",
    fileOf(`{"a":${entry('"toString"', "[1]", "[0,4]")}}`, zeros(4)),
    "dtype",
    "a",
  ],
  ["a dtype that is no text", fileOf(`{"a":${entry("32", "[1]", "[0,4]")}}`, zeros(4)), "dtype", "a"],
  ["a shape that is no list", fileOf(`{"a":${entry('"F32"', "1", "[0,4]")}}`, zeros(4)), "shape", "a"],
  ["a negative size", fileOf(`{"a":${entry('"F32"', "[-1]", "[0,4]")}}`, zeros(4)), "shape", "a"],
  ["a fractional size", fileOf(`{"a":${entry('"F32"', "[1.5]", "[0,6]")}}`, zeros(6)), "shape", "a"],
  [
    "an unsafe size",
    fileOf(`{"a":${entry('"F32"', "[9007199254740993]", "[0,4]")}}`, zeros(4)),
    "shape",
    "a",
  ],
  [
    "a product beyond 2^53",
    fileOf(`{"a":${entry('"F32"', "[4294967296,4294967296]", "[0,4]")}}`, zeros(4)),
    "shape",
    "a",
  ],
  ["reversed offsets", fileOf(`{"a":${entry('"F32"', "[1]", "[4,0]")}}`, zeros(4)), "data_offsets", "a"],
  ["one offset", fileOf(`{"a":${entry('"F32"', "[1]", "[4]")}}`, zeros(4)), "data_offsets", "a"],
  ["a negative offset", fileOf(`{"a":${entry('"F32"', "[1]", "[-4,0]")}}`, zeros(4)), "data_offsets", "a"],
  ["too long for its shape", fileOf(`{"a":${entry('"F32"', "[1]", "[0,8]")}}`, zeros(8)), "size", "a"],
  ["too short for its dtype", fileOf(`{"a":${entry('"F16"', "[4]", "[0,4]")}}`, zeros(4)), "size", "a"],
  ["an overlap", fileOf(`{"a":${ok(0, 8)},"b":${ok(4, 12)}}`, zeros(12)), "overlap", "b"],
  ["a hole", fileOf(`{"a":${ok(0, 4)},"b":${ok(8, 12)}}`, zeros(12)), "hole", "b"],
  ["a hole at the start", fileOf(`{"a":${ok(4, 8)}}`, zeros(8)), "hole", "a"],
  ["data past the file", fileOf(`{"a":${ok(0, 4)},"b":${ok(4, 12)}}`, zeros(8)), "overrun", "b"],
  ["bytes after the data", fileOf(`{"a":${ok(0, 4)}}`, zeros(5)), "trailing"],
];

test.each(malformed)("%s is refused", (_what, bytes, rule, tensor) => {
  const read = () => readSafetensors(bytes, "broken.safetensors");
  expect(read).toThrow(DataError);
  expect(read).toThrow(`[broken.safetensors] safetensors rule ${rule} broken`);
  if (tensor !== undefined) expect(read).toThrow(`at tensor "${tensor}"`);
});

test("a hostile header of many megabytes gets an answer", () => {
  const header = `{"a":"${'\\"'.repeat(2_000_000)}"}`;
  const bytes = new Uint8Array(8 + header.length);
  new DataView(bytes.buffer).setUint32(0, header.length, true);
  bytes.set(new TextEncoder().encode(header), 8);
  expect(() => readSafetensors(bytes, "f")).toThrow(DataError);
});
