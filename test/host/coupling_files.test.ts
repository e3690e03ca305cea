/** Files of an analysis, read back by other programs. */
import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parquetReadObjects } from "hyparquet";
import { describe, expect, test } from "vitest";
import { npzBytes } from "../../src/host/files/npz.js";
import { gramNpz, pairsParquet, writeCouplingFiles } from "../../src/host/run/coupling_files.js";
import { drawnDocument } from "../support/coupling_document.js";
import { temporaryFolder } from "../support/folders.js";

const document = drawnDocument(9);
const gram = Float64Array.from(document.gram);
const layers = { first: gram.map((value) => value / 3), second: gram.map((value) => (2 * value) / 3) };

test("pairs as Parquet, read by another library", async () => {
  const bytes = pairsParquet(document, gram);
  const rows = await parquetReadObjects({ file: bytes.slice().buffer });
  expect(rows).toHaveLength(81);
  const [from, to] = [document.samples[2], document.samples[4]];
  expect(rows[2 * 9 + 4]).toEqual({
    from: from.id,
    to: to.id,
    from_action: from.action,
    to_action: to.action,
    from_advantage: from.advantage,
    to_advantage: to.advantage,
    from_weight: from.weight,
    same_state: from.state === to.state,
    gram: gram[22],
    cosine: gram[22] / Math.sqrt(gram[20] * gram[40]),
    change: from.weight * from.advantage * gram[22],
  });
});

const hasNumpy = spawnSync("python3", ["-c", "import numpy"]).status === 0;

describe("the Gram as NPZ", () => {
  test("the bytes are a ZIP of NPY files, the same every time", () => {
    const bytes = gramNpz(document, { gram, layers });
    expect(Buffer.from(bytes.subarray(0, 2)).toString()).toBe("PK");
    expect(gramNpz(document, { gram, layers })).toEqual(bytes);
    expect(() => npzBytes({ a: { shape: [2, 2], data: new Float64Array(3) } })).toThrow(
      /a does not fit its shape: got 3 values, expected 4 for \[2,2\]/,
    );
  });

  // it says in its name why it is skipped
  test.skipIf(!hasNumpy)(
    `numpy reads it${hasNumpy ? "" : " (SKIPPED: python3 with numpy is not installed)"}`,
    () => {
      const file = join(temporaryFolder(), "gram.npz");
      const arrays = { more: { shape: [2, 1], data: Float32Array.of(0.5, -2) } };
      writeFileSync(file, gramNpz(document, { gram, layers }));
      writeFileSync(`${file}.more.npz`, npzBytes(arrays));
      const script = `
import json, numpy, sys
a = numpy.load(sys.argv[1])
b = numpy.load(sys.argv[1] + ".more.npz")
print(json.dumps({
  **{name: a[name].tolist() for name in a.files},
  "dtypes": [str(a[name].dtype) for name in ("gram", "order")] + [str(b["more"].dtype)],
  "symmetric": bool((a["gram"] == a["gram"].T).all()),
  "more": b["more"].tolist(),
}))`;
      const read = JSON.parse(execFileSync("python3", ["-c", script, file], { encoding: "utf8" }));
      expect(read.gram.flat()).toEqual([...gram]);
      expect(read.layer_grams.flat(2)).toEqual([...layers.first, ...layers.second]);
      expect(read).toMatchObject({
        layer_names: ["first", "second"],
        ids: document.samples.map(({ id }) => id),
        advantages: document.samples.map(({ advantage }) => advantage),
        weights: document.samples.map(({ weight }) => weight),
        order: document.order,
        dtypes: ["float64", "int32", "float32"],
        symmetric: true,
        more: [[0.5], [-2]],
      });
    },
  );
});

test("all files of an analysis, and those of a comparison", async () => {
  const folder = join(temporaryFolder(), "new", "place");
  await writeCouplingFiles(folder, document, { gram, layers });
  const files = [
    "coupling.html",
    "coupling.json",
    "coupling_danger_zone.svg",
    "coupling_gram.npz",
    "coupling_heat_map.svg",
    "coupling_layers.svg",
    "coupling_pairs.parquet",
    "coupling_parts.svg",
  ];
  expect(readdirSync(folder).sort()).toEqual(files);
  expect(JSON.parse(readFileSync(join(folder, "coupling.json"), "utf8"))).toEqual(document);
  const other = drawnDocument(4, "other", 3);
  const written = await writeCouplingFiles(folder, document, { gram, layers }, other);
  expect(written).toContain(join(folder, "coupling_compare.json"));
  expect(readFileSync(join(folder, "coupling.html"), "utf8")).toContain("drawn and other");
});
