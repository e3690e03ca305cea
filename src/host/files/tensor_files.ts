/** Tensors of safetensors files on disk: headers are read at once, data when it is asked for. */
import type { Stats } from "node:fs";
import { stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DataError } from "../../core/errors.js";
import { elementCount } from "../../model/parameters.js";
import {
  decodeTensor,
  dtypeBytes,
  LENGTH_FIELD_BYTES,
  missingTensor,
  parseSafetensorsHeader,
  type SafetensorsHeader,
  safetensorsHeaderBytes,
  type TensorEntry,
} from "../../model/safetensors.js";
import { parseShardIndex } from "../../model/safetensors_shards.js";
import { kindOf } from "./file_kind.js";
import { readRange } from "./files.js";
import { readJsonFile } from "./json_file.js";

/** Tensors by name, wherever they lie. No file stays open between calls. */
export interface TensorFiles {
  /** Every tensor's header entry, by name. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** `__metadata__` of the first file. */
  readonly metadata: Readonly<Record<string, string>>;
  /** One tensor as float32, fresh: the caller owns it. @throws DataError when it is missing or not a float */
  read(name: string): Promise<Float32Array>;
  /** `count` elements from element `first` on, in row-major order. Same errors. */
  readElements(name: string, first: number, count: number): Promise<Float32Array>;
  /** The same elements as bits, of a tensor that is stored as BF16. */
  readBits(name: string, first: number, count: number): Promise<Uint16Array>;
}

async function readHeader(path: string): Promise<SafetensorsHeader> {
  const size = await fileBytes(path);
  const start = await readRange(path, 0, Math.min(64, size));
  const kind = kindOf(start);
  if (kind !== undefined) {
    throw new DataError(
      `[${path}] file is something else: got ${kind.what}, expected a safetensors file. ${kind.cure}`,
    );
  }
  const lengthField = start.subarray(0, LENGTH_FIELD_BYTES);
  const end = LENGTH_FIELD_BYTES + safetensorsHeaderBytes(lengthField, path, size);
  return parseSafetensorsHeader(await readRange(path, 0, end), path, size);
}

async function fileBytes(path: string): Promise<number> {
  let found: Stats;
  try {
    found = await stat(path);
  } catch (error) {
    throw new DataError(
      `[${path}] file is missing: got ${(error as NodeJS.ErrnoException).code}, expected a safetensors file. Check ` +
        "the path, or download the file again.",
      { cause: error },
    );
  }
  if (found.isFile()) return found.size;
  throw new DataError(
    `[${path}] file is something else: got a folder or device, expected a safetensors file. Remove it, and download the file again.`,
  );
}

/** @param located header entry and file of each tensor */
function tensorFiles(
  located: ReadonlyMap<string, { entry: TensorEntry; path: string }>,
  metadata: Readonly<Record<string, string>>,
  where: string,
): TensorFiles {
  const readBytes = async (name: string, first: number, count: number) => {
    const found = located.get(name);
    if (found === undefined) throw missingTensor(where, name);
    const { entry, path } = found;
    const begin = entry.begin + first * dtypeBytes(entry.dtype);
    return { entry, path, bytes: await readRange(path, begin, begin + count * dtypeBytes(entry.dtype)) };
  };
  const readElements = async (name: string, first: number, count: number) => {
    const { entry, path, bytes } = await readBytes(name, first, count);
    return decodeTensor(entry, bytes, path);
  };
  return {
    tensors: new Map([...located].map(([name, { entry }]) => [name, entry])),
    metadata,
    readElements,
    readBits: async (name, first, count) => {
      const { bytes } = await readBytes(name, first, count);
      return new Uint16Array(bytes.buffer);
    },
    async read(name) {
      const found = located.get(name);
      if (found === undefined) throw missingTensor(where, name);
      return readElements(name, 0, elementCount(found.entry.shape));
    },
  };
}

/** Opens one safetensors file. @throws DataError when it is missing or malformed */
export async function openTensorFile(path: string): Promise<TensorFiles> {
  const header = await readHeader(path);
  const located = [...header.tensors].map(([name, entry]) => [name, { entry, path }] as const);
  return tensorFiles(new Map(located), header.metadata, path);
}

/**
 * Opens the files that an index names.
 * @throws DataError when the index or a file is missing or malformed, or they disagree about a tensor's place
 */
export async function openShards(indexPath: string): Promise<TensorFiles> {
  const index = parseShardIndex(await readJsonFile(indexPath), indexPath);
  const located = new Map<string, { entry: TensorEntry; path: string }>();
  let metadata: Readonly<Record<string, string>> | undefined;
  for (const file of new Set(index.files.values())) {
    const path = join(dirname(indexPath), file);
    const header = await readHeader(path);
    metadata ??= header.metadata;
    for (const [name, entry] of header.tensors) {
      if (index.files.get(name) !== file) throw disagreement(indexPath, name, index.files.get(name), file);
      located.set(name, { entry, path });
    }
  }
  for (const [name, file] of index.files) {
    if (!located.has(name)) throw disagreement(indexPath, name, file, undefined);
  }
  return tensorFiles(located, metadata ?? {}, indexPath);
}

function disagreement(index: string, name: string, said: string | undefined, found: string | undefined) {
  return new DataError(
    `[${index}] index and files disagree about "${name}": got ${found ?? "no file"} holding it, expected ` +
      `${said ?? "none"} as the index says. Download the model again.`,
  );
}
