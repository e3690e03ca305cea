/** Weights of folders, a block of rows at a time, into every storage. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { FlatParameters } from "../../src/autograd/flat_parameters.js";
import { fromBfloat16Bits, toBfloat16Bits } from "../../src/core/half_floats.js";
import { loadWeights } from "../../src/host/model/load_weights.js";
import { readModelFolder } from "../../src/host/model/model_folder.js";
import { writeModelFolder } from "../../src/host/model/model_folder_write.js";
import { presetConfig } from "../../src/model/config.js";
import { elementCount, parameterShapes, storedShapes } from "../../src/model/parameters.js";
import type { FloatDtype } from "../../src/model/safetensors.js";
import { temporaryFolder } from "../support/folders.js";
import { halfPrecision, needing } from "../support/needs.js";
import { testRuntime } from "../support/runtime.js";

const runtime = await testRuntime();
const scratch = temporaryFolder();
const config = presetConfig("nano", 131, { num_hidden_layers: 1 });
/** Every value differs from all others of its tensor, and is one of bf16. */
const tensors = parameterShapes(config).map(({ name, shape }) => ({
  name,
  shape,
  data: fromBfloat16Bits(
    toBfloat16Bits(
      Float32Array.from({ length: elementCount(shape) }, (_, i) => (i % 251) - 125 + (i % 7) / 8),
    ),
  ),
}));
let folders = 0;

async function folderOf(
  dtype: FloatDtype,
  change: (name: string, data: Float32Array) => Float32Array = (_, data) => data,
) {
  const path = join(scratch, `${folders++}`);
  const changed = tensors.map((tensor) => ({ ...tensor, data: change(tensor.name, tensor.data) }));
  await writeModelFolder(path, { config, tensors: changed }, { dtype, maxShardBytes: 20_000 });
  return readModelFolder(path);
}

needing(halfPrecision(runtime.facts.features)).test("every stored type goes into every storage", async () => {
  for (const dtype of ["BF16", "F32"] as const) {
    const folder = await folderOf(dtype);
    for (const storage of ["f32", "f16", "bf16"] as const) {
      const parameters = new FlatParameters(runtime, storedShapes(config), { storage, requiresGrad: false });
      await loadWeights(parameters, folder);
      for (const { name, data } of tensors)
        expect(await parameters.read(name), `${dtype} ${storage} ${name}`).toEqual(data);
      parameters.release();
    }
  }
});

test("blocks of a few rows are put together, whatever lies in the same tensor or file", async () => {
  const folder = await folderOf("BF16");
  for (const blockElements of [1, 700, 3000]) {
    const parameters = new FlatParameters(runtime, storedShapes(config), {
      storage: "bf16",
      requiresGrad: false,
    });
    await loadWeights(parameters, folder, blockElements);
    for (const { name, data } of tensors)
      expect(await parameters.read(name), `${blockElements} ${name}`).toEqual(data);
    parameters.release();
  }
});

const DOWN = "model.layers.0.mlp.down_proj.weight";
const spoilt = (value: number) => (name: string, data: Float32Array) =>
  name === DOWN ? data.map((one, i) => (i === 130 ? value : one)) : data;

needing(halfPrecision(runtime.facts.features)).test(
  "values that a storage cannot hold are told by tensor and place",
  async () => {
    const load = async (value: number, dtype: FloatDtype, storage: "f32" | "f16" | "bf16") => {
      const folder = await folderOf(dtype, spoilt(value));
      const parameters = new FlatParameters(runtime, storedShapes(config), { storage, requiresGrad: false });
      await loadWeights(parameters, folder).finally(() => parameters.release());
    };
    await load(65536, "BF16", "bf16");
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY])
      for (const storage of ["bf16", "f32"] as const)
        await expect(load(value, "BF16", storage)).rejects.toThrow(`got ${value} at element 130`);
    await expect(load(65536, "BF16", "f16")).rejects.toThrow(
      `tensor ${DOWN} does not fit f16: got 65536 at element 130, expected at most 65504`,
    );
  },
);

test("rows that do not fit are refused", () => {
  const parameters = new FlatParameters(runtime, storedShapes(config), { requiresGrad: false });
  const name = "model.embed_tokens.weight";
  for (const [first, values] of [
    [0, new Float32Array(63)],
    [131, new Float32Array(64)],
    [0, new Uint16Array(64)],
  ] as const)
    expect(() => parameters.loadRows(name, first, values)).toThrow(`rows of ${name} do not fit`);
  parameters.release();
});
