/** Reads safetensors: header checks first, then one tensor at a time. Bytes in, float32 out. */
import { DataError } from "../core/errors.js";
import { fromBfloat16Bits, fromFloat16Bits } from "../core/half_floats.js";
import { cut, printable, shown } from "../core/shown.js";
import { findDuplicateKey, isTooDeep } from "./json_keys.js";
import { elementCount } from "./parameters.js";

/** Bytes of one element of every dtype that a header may name. */
const DTYPE_BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
} as const;

export type SafetensorsDtype = keyof typeof DTYPE_BYTES;

/** The dtypes that can be decoded and written. */
export type FloatDtype = "F32" | "F16" | "BF16";

/** One tensor as the header describes it. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** First byte of the data, counted from the start of the file. */
  readonly begin: number;
  /** One past the last byte of the data, counted from the start of the file. */
  readonly end: number;
}

export interface SafetensorsHeader {
  /** By name, in the order of the data. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
  /** Where the data starts, in bytes from the start of the file. */
  readonly dataStart: number;
}

/** Bytes of the length field in front of the header. */
export const LENGTH_FIELD_BYTES = 8;

/** The format's own cap against hostile files. */
const MAX_HEADER_BYTES = 100_000_000;

/** Bytes of one element. */
export function dtypeBytes(dtype: SafetensorsDtype): number {
  return DTYPE_BYTES[dtype];
}

/** The error for a file that breaks a rule of the format. `rule` is a stable word, `tensor` the tensor concerned. */
function broken(file: string, rule: string, got: unknown, expected: string, tensor?: string): DataError {
  const where = tensor === undefined ? "" : ` at tensor "${printable(cut(tensor))}"`;
  const value = typeof got === "string" ? printable(cut(got, 160)) : shown(got);
  return new DataError(
    `[${file}] safetensors rule ${rule} broken${where}: got ${value}, expected ${expected}. ` +
      "Download the file or export the model again.",
  );
}

/**
 * Length in bytes of the header's JSON, from the first 8 bytes of a file: how much to read before
 * `parseSafetensorsHeader`.
 * @param fileBytes size of the whole file
 * @throws DataError when the length cannot be
 */
export function safetensorsHeaderBytes(bytes: Uint8Array, file: string, fileBytes = bytes.length): number {
  if (fileBytes < LENGTH_FIELD_BYTES || bytes.length < LENGTH_FIELD_BYTES) {
    throw broken(file, "length", `${fileBytes} bytes`, "at least 8 bytes of header length");
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, LENGTH_FIELD_BYTES);
  const length = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
  if (length > MAX_HEADER_BYTES) {
    throw broken(file, "header_length", `${length} bytes`, `at most ${MAX_HEADER_BYTES} bytes`);
  }
  if (LENGTH_FIELD_BYTES + length > fileBytes) {
    throw broken(
      file,
      "header_length",
      `${length} bytes`,
      `at most the ${fileBytes - LENGTH_FIELD_BYTES} that follow in the file`,
    );
  }
  return length;
}

function parseHeaderJson(bytes: Uint8Array, file: string): Record<string, unknown> {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw broken(file, "utf8", "bytes that are not UTF-8", "a header in UTF-8");
  }
  if (isTooDeep(text)) throw broken(file, "depth", "lists in lists in lists", "entries of three levels");
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw broken(file, "json", (error as Error).message, "a header in JSON");
  }
  if (typeof json !== "object" || json === null || Array.isArray(json) || !text.startsWith("{")) {
    throw broken(file, "object", text.slice(0, 20), 'a JSON object that starts with "{"');
  }
  const duplicate = findDuplicateKey(text);
  if (duplicate !== undefined) throw broken(file, "duplicate_key", "two values", "each key once", duplicate);
  return json as Record<string, unknown>;
}

function parseMetadata(json: unknown, file: string): Record<string, string> {
  if (json === undefined) return {};
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw broken(file, "metadata", json, "an object of strings under __metadata__");
  }
  for (const [key, value] of Object.entries(json)) {
    if (typeof value !== "string")
      throw broken(file, "metadata", value, `a string under __metadata__.${key}`);
  }
  return json as Record<string, string>;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** One entry of the header on its own: fields, dtype, shape, and offsets that span the shape. */
function parseEntry(name: string, json: unknown, dataStart: number, file: string): TensorEntry {
  const fail = (rule: string, got: unknown, expected: string) => broken(file, rule, got, expected, name);
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw fail("fields", json, "an object with dtype, shape and data_offsets");
  }
  const fields = json as Record<string, unknown>;
  for (const field of ["dtype", "shape", "data_offsets"]) {
    if (!Object.hasOwn(fields, field)) throw fail("fields", `no ${field}`, "dtype, shape and data_offsets");
  }
  const { dtype, shape, data_offsets: offsets } = fields;
  if (typeof dtype !== "string" || !Object.hasOwn(DTYPE_BYTES, dtype)) {
    throw fail("dtype", dtype, `one of ${Object.keys(DTYPE_BYTES).join(", ")}`);
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw fail("shape", shape, "a list of integers from 0 to 2^53 - 1");
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw fail("data_offsets", offsets, "two integers from 0 to 2^53 - 1");
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end) throw fail("data_offsets", offsets, "a begin that is not after the end");
  const bytes = elementCount(shape) * DTYPE_BYTES[dtype as SafetensorsDtype];
  if (!Number.isSafeInteger(bytes)) throw fail("shape", shape, "fewer than 2^53 bytes in all");
  if (end - begin !== bytes) {
    throw fail("size", `${end - begin} bytes`, `${bytes} bytes for ${dtype} [${shape.join(", ")}]`);
  }
  return {
    name,
    dtype: dtype as SafetensorsDtype,
    shape,
    begin: dataStart + begin,
    end: dataStart + end,
  };
}

/** The tensors together must cover the data exactly once. Entries come in the order of the data. */
function checkCoverage(entries: readonly TensorEntry[], dataStart: number, fileBytes: number, file: string) {
  let covered = dataStart;
  for (const { name, begin, end } of entries) {
    const from = `data from byte ${begin - dataStart}`;
    const rule = `data from byte ${covered - dataStart}, where the tensor before it ends`;
    if (begin < covered) throw broken(file, "overlap", from, rule, name);
    if (begin > covered) throw broken(file, "hole", from, rule, name);
    if (end > fileBytes) {
      throw broken(
        file,
        "overrun",
        `data to byte ${end - dataStart}`,
        `at most the ${fileBytes - dataStart} bytes of data in the file`,
        name,
      );
    }
    covered = end;
  }
  if (covered < fileBytes) {
    throw broken(file, "trailing", `${fileBytes - covered} bytes after the last tensor`, "none");
  }
}

/**
 * Reads and checks the header of a safetensors file. No tensor data is touched, so the first bytes of a big file are
 * enough: the 8-byte length and as many bytes as `safetensorsHeaderBytes` says.
 * @param bytes the file, or its beginning
 * @param file name for messages
 * @param fileBytes size of the whole file
 * @throws DataError naming the file, the tensor and the rule that is broken
 */
export function parseSafetensorsHeader(
  bytes: Uint8Array,
  file: string,
  fileBytes = bytes.length,
): SafetensorsHeader {
  const dataStart = LENGTH_FIELD_BYTES + safetensorsHeaderBytes(bytes, file, fileBytes);
  if (bytes.length < dataStart) {
    throw broken(file, "length", `${bytes.length} bytes of the file`, `the first ${dataStart}`);
  }
  const json = parseHeaderJson(bytes.subarray(LENGTH_FIELD_BYTES, dataStart), file);
  const entries = Object.entries(json)
    .filter(([name]) => name !== "__metadata__")
    .map(([name, value]) => parseEntry(name, value, dataStart, file))
    .sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkCoverage(entries, dataStart, fileBytes, file);
  return {
    tensors: new Map(entries.map((entry) => [entry.name, entry])),
    metadata: parseMetadata(Object.hasOwn(json, "__metadata__") ? json.__metadata__ : undefined, file),
    dataStart,
  };
}

/** @throws DataError for a tensor whose numbers are not floats that can be read */
export function checkFloats(
  entry: TensorEntry,
  file: string,
): asserts entry is TensorEntry & { readonly dtype: FloatDtype } {
  const { name, dtype } = entry;
  if (dtype === "F32" || dtype === "F16" || dtype === "BF16") return;
  throw new DataError(
    `[${file}] tensor "${printable(cut(name))}" cannot be read as numbers of a policy: got dtype ${dtype}, ` +
      "expected F32, F16 or BF16. Convert the checkpoint to one of them.",
  );
}

/**
 * Values of a tensor, or of a run of its elements, as float32. F16 and BF16 widen exactly.
 * @param bytes the data alone, little-endian. F32 data that starts on a multiple of 4 is not copied: the result is a
 *   view, and whoever keeps it owns the bytes from then on
 * @throws DataError for a dtype other than F32, F16 and BF16
 */
export function decodeTensor(entry: TensorEntry, bytes: Uint8Array, file: string): Float32Array {
  checkFloats(entry, file);
  const width = DTYPE_BYTES[entry.dtype];
  const aligned = bytes.byteOffset % width === 0 ? bytes : bytes.slice();
  const count = bytes.length / width;
  if (entry.dtype === "F32") return new Float32Array(aligned.buffer, aligned.byteOffset, count);
  const bits = new Uint16Array(aligned.buffer, aligned.byteOffset, count);
  return entry.dtype === "BF16" ? fromBfloat16Bits(bits) : fromFloat16Bits(bits);
}

/** A safetensors file held in memory. */
export interface SafetensorsContent extends SafetensorsHeader {
  /** A fresh float32 copy of one tensor. @throws DataError when the file has no such tensor */
  read(name: string): Float32Array<ArrayBufferLike>;
}

/**
 * Opens a whole file in memory; tensors are decoded when asked for.
 * @throws DataError as `parseSafetensorsHeader`
 */
export function readSafetensors(bytes: Uint8Array, file: string): SafetensorsContent {
  const header = parseSafetensorsHeader(bytes, file);
  return {
    ...header,
    read(name) {
      const entry = header.tensors.get(name);
      if (entry === undefined) throw missingTensor(file, name);
      return decodeTensor(entry, bytes.slice(entry.begin, entry.end), file);
    },
  };
}

/** The error for a tensor that a file was expected to have. */
export function missingTensor(file: string, name: string): DataError {
  return new DataError(
    `[${file}] tensor is missing: got no "${name}", expected it in the file. Use a checkpoint of the same model.`,
  );
}
