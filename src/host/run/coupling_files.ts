/** Files of a coupling analysis: JSON, pairs as Parquet, the Gram as NPZ, the report as HTML, pictures as SVG. */
import { join } from "node:path";
import { parquetWriteBuffer } from "hyparquet-writer";
import { cosine } from "../../coupling/analysis/influence.js";
import type { CouplingDocument } from "../../report/coupling_document.js";
import { couplingPictures } from "../../report/coupling_pictures.js";
import { couplingReportHtml } from "../../report/coupling_report.js";
import { writeFilesAtomic } from "../files/files.js";
import { jsonText } from "../files/json_file.js";
import { npzBytes } from "../files/npz.js";

/** Grams in full precision, row-major [S, S]. */
export interface FullGrams {
  readonly gram: Float64Array;
  readonly layers: Readonly<Record<string, Float64Array>>;
}

/**
 * Writes `coupling.json`, `coupling_pairs.parquet`, `coupling_gram.npz`, `coupling.html` and its pictures as SVG, and with a second
 * analysis `coupling_compare.json` and a report of both.
 * @param folder made when it is not there
 * @returns paths written
 */
export async function writeCouplingFiles(
  folder: string,
  document: CouplingDocument,
  grams: FullGrams,
  compared?: CouplingDocument,
): Promise<string[]> {
  const contents: [string, string | Uint8Array][] = [
    ["coupling.json", jsonText(document)],
    ...(compared ? [["coupling_compare.json", jsonText(compared)] as [string, string]] : []),
    ["coupling_pairs.parquet", pairsParquet(document, grams.gram)],
    ["coupling_gram.npz", gramNpz(document, grams)],
    ["coupling.html", couplingReportHtml(compared ? [document, compared] : [document])],
    ...couplingPictures(document),
  ];
  const files = contents.map(([name, content]) => [join(folder, name), content] as const);
  await writeFilesAtomic(files);
  return files.map(([path]) => path);
}

/** One row for each ordered pair of samples, i = j included: what `from` does to `to`. */
export function pairsParquet({ samples }: CouplingDocument, gram: ArrayLike<number>): Uint8Array {
  const count = samples.length;
  const pairs = samples.flatMap((_, i) => samples.map((_other, j) => [i, j] as const));
  const text = (name: string, of: (i: number, j: number) => string) =>
    ({ name, data: pairs.map(([i, j]) => of(i, j)), type: "STRING" }) as const;
  const number = (name: string, of: (i: number, j: number) => number) =>
    ({ name, data: pairs.map(([i, j]) => of(i, j)), type: "DOUBLE" }) as const;
  const k = (i: number, j: number) => gram[i * count + j];
  const columnData = [
    text("from", (i) => samples[i].id),
    text("to", (_, j) => samples[j].id),
    text("from_action", (i) => samples[i].action),
    text("to_action", (_, j) => samples[j].action),
    number("from_advantage", (i) => samples[i].advantage),
    number("to_advantage", (_, j) => samples[j].advantage),
    number("from_weight", (i) => samples[i].weight),
    {
      name: "same_state",
      data: pairs.map(([i, j]) => samples[i].state === samples[j].state),
      type: "BOOLEAN",
    } as const,
    number("gram", k),
    number("cosine", (i, j) => cosine(gram, count, i, j)),
    number("change", (i, j) => samples[i].weight * samples[i].advantage * k(i, j)),
  ];
  return new Uint8Array(parquetWriteBuffer({ columnData }));
}

/** `gram` [S, S], `layer_grams` [layers, S, S], `layer_names`, `ids`, `advantages`, `weights`, `order`. */
export function gramNpz({ samples, order }: CouplingDocument, { gram, layers }: FullGrams): Uint8Array {
  const count = samples.length;
  const names = Object.keys(layers);
  const stacked = new Float64Array(names.length * count * count);
  names.forEach((name, at) => {
    stacked.set(layers[name], at * count * count);
  });
  const perSample = (of: (sample: (typeof samples)[number]) => number) => ({
    shape: [count],
    data: Float64Array.from(samples, of),
  });
  return npzBytes({
    gram: { shape: [count, count], data: gram },
    layer_grams: { shape: [names.length, count, count], data: stacked },
    layer_names: { shape: [names.length], data: names },
    ids: { shape: [count], data: samples.map(({ id }) => id) },
    advantages: perSample(({ advantage }) => advantage),
    weights: perSample(({ weight }) => weight),
    order: { shape: [count], data: Int32Array.from(order) },
  });
}
