/** Checkpoints in several safetensors files: which tensor goes where, and the index that says so. */
import { z } from "zod";
import { ArgumentError, DataError } from "../core/errors.js";
import { elementCount, type ParameterShape } from "./parameters.js";
import { dtypeBytes, type FloatDtype } from "./safetensors.js";

/** Name of a checkpoint's only file. */
export const SINGLE_FILE = "model.safetensors";
/** Name of the index of a checkpoint in several files. */
export const INDEX_FILE = "model.safetensors.index.json";
/** Bytes of data above which Hugging Face's writers begin another file (5 GB). */
const DEFAULT_SHARD_BYTES = 5_000_000_000;

/** One file of a checkpoint to write. */
export interface Shard<T extends ParameterShape> {
  readonly file: string;
  readonly tensors: readonly T[];
}

/** What an index says. */
export interface ShardIndex {
  /** File of each tensor. */
  readonly files: ReadonlyMap<string, string>;
  /** Bytes of data of all tensors together, where the index tells. */
  readonly totalBytes: number | undefined;
}

/**
 * Fills files in the given order, each up to `maxBytes` of data; a tensor that is larger gets a file of its own. One
 * file is named `model.safetensors`, several `model-00001-of-0000N.safetensors`.
 */
export function planShards<T extends ParameterShape>(
  tensors: readonly T[],
  dtype: FloatDtype,
  maxBytes = DEFAULT_SHARD_BYTES,
): Shard<T>[] {
  if (!(maxBytes > 0)) {
    throw new ArgumentError(
      `[safetensors] shard size is wrong: got ${maxBytes}, expected a number of bytes above 0. Pass a larger one.`,
    );
  }
  const groups: T[][] = [[]];
  let filled = 0;
  for (const tensor of tensors) {
    const bytes = elementCount(tensor.shape) * dtypeBytes(dtype);
    if (filled > 0 && filled + bytes > maxBytes) {
      groups.push([]);
      filled = 0;
    }
    groups[groups.length - 1].push(tensor);
    filled += bytes;
  }
  const number = (n: number) => String(n).padStart(5, "0");
  return groups.map((group, i) => ({
    file:
      groups.length === 1 ? SINGLE_FILE : `model-${number(i + 1)}-of-${number(groups.length)}.safetensors`,
    tensors: group,
  }));
}

/** The object to write as `model.safetensors.index.json`. */
export function shardIndexJson(shards: readonly Shard<ParameterShape>[], dtype: FloatDtype) {
  const tensors = shards.flatMap((shard) => shard.tensors.map((tensor) => ({ ...tensor, file: shard.file })));
  const total = tensors.reduce((sum, { shape }) => sum + elementCount(shape) * dtypeBytes(dtype), 0);
  return {
    metadata: { total_size: total },
    weight_map: Object.fromEntries(
      tensors.sort((a, b) => (a.name < b.name ? -1 : 1)).map(({ name, file }) => [name, file]),
    ),
  };
}

const plainName = z
  .string("a file name")
  .regex(/^[^/\\]+\.safetensors$/, "a .safetensors name without a folder");

const indexSchema = z.object({
  metadata: z.looseObject({ total_size: z.number("a number of bytes").optional() }, "an object").optional(),
  weight_map: z.record(z.string(), plainName, "an object of tensor names and file names"),
});

/**
 * Reads the parsed text of an index.
 * @throws DataError naming the first wrong field; file names may not leave the folder
 */
export function parseShardIndex(json: unknown, file: string): ShardIndex {
  const result = indexSchema.safeParse(json, { error: () => "an object with weight_map" });
  if (!result.success) {
    const { path, message } = result.error.issues[0];
    throw new DataError(
      `[${file}] index is malformed at ${path.join(".") || "its root"}: expected ${message}. Download the index again.`,
    );
  }
  const { weight_map, metadata } = result.data;
  return { files: new Map(Object.entries(weight_map)), totalBytes: metadata?.total_size };
}
