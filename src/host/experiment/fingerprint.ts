/** SHA-256 of weights and of settings: what must be equal is compared by these. */
import { createHash, type Hash } from "node:crypto";
import { isSection } from "../../config/fields.js";
import { parameterShapes } from "../../model/parameters.js";
import type { TensorFiles } from "../files/tensor_files.js";
import { readAdapterFolder } from "../model/adapter_folder.js";
import { readModelFolder } from "../model/model_folder.js";

/**
 * SHA-256 of a policy's weights: names, shapes and float32 values of all tensors, whatever the files' layout and dtype.
 * @returns 64 hexadecimal digits
 * @throws DataError when the folder holds no model
 */
export async function weightsSha256(modelFolder: string): Promise<string> {
  const { config, tensors } = await readModelFolder(modelFolder);
  const hash = createHash("sha256");
  for (const { name, shape } of parameterShapes(config)) await addTensor(hash, name, shape, tensors);
  return hash.digest("hex");
}

/** SHA-256 of an adapter: its settings, and names, shapes and float32 values of its factors. @throws DataError when it is none */
export async function adapterSha256(adapterFolder: string): Promise<string> {
  const { lora, tensors } = await readAdapterFolder(adapterFolder);
  const hash = createHash("sha256").update(JSON.stringify(sorted(lora)));
  for (const [name, { shape }] of [...tensors.tensors].sort(([a], [b]) => (a < b ? -1 : 1)))
    await addTensor(hash, name, shape, tensors);
  return hash.digest("hex");
}

async function addTensor(
  hash: Hash,
  name: string,
  shape: readonly number[],
  from: TensorFiles,
): Promise<void> {
  const values = await from.read(name);
  hash.update(`${name} ${shape.join("x")}\n`);
  hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
}

/** Settings that say where things lie and what computes them: they differ between machines, results do not depend on them. */
const PLACES: readonly (readonly string[])[] = [
  ["name"],
  ["out"],
  ["device"],
  ["model", "path"],
  ["world", "path"],
  ["world", "domain"],
  ["world", "grammar"],
];

/** SHA-256 of the settings that decide a result, in any order of keys. Defaults are not among them. */
export function settingsSha256(settings: unknown): string {
  const kept = PLACES.reduce(without, settings);
  return createHash("sha256")
    .update(JSON.stringify(sorted(kept)))
    .digest("hex");
}

function without(settings: unknown, [key, ...rest]: readonly string[]): unknown {
  if (!isSection(settings) || !Object.hasOwn(settings, key)) return settings;
  const { [key]: value, ...others } = settings;
  return rest.length === 0 ? others : { ...others, [key]: without(value, rest) };
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isSection(value)) return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, sorted(value[key])]),
  );
}
