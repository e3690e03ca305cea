/**
 * Matrix product for GPUs: one workgroup computes a tile of `tileM` x `tileN` of one product, or of one part of its K range;
 * one invocation owns `ownM` x `ownN` elements, its rows and columns each contiguous.
 *
 * Shared memory: 4 * tileK * (tileM + tileN + 1) bytes, both tiles with k as the slow axis; reading A down a column costs
 * bank conflicts, so its rows are padded by one. Shared reads are scalar: measured faster than vec4 on NVIDIA.
 * Sums have names instead of indices, so that the k loop needs no unrolling to keep them in registers; `unroll` k at a time
 * are unrolled in the text. Two barriers a tile: one before the products read what the
 * loaders wrote, one before the loaders overwrite it. Each element of y adds its products in ascending k.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { addRowSum, eachLoad, kScale, type Loader, place, rowSumElements, rowSums } from "./matmul_loader.js";
import { belowDiagonal, finish, type MatmulText, partStart, pitchOfA, read, scaled } from "./matmul_text.js";

export interface SharedTile {
  readonly tileM: number;
  readonly tileN: number;
  /** A multiple of 4. */
  readonly tileK: number;
  readonly ownM: number;
  /** A multiple of 4. */
  readonly ownN: number;
  /** k that the text of the inner loop has in a row; divides tileK. */
  readonly unroll: number;
}

/** Invocations of a workgroup. */
export const sharedInvocations = ({ tileM, tileN, ownM, ownN }: SharedTile): number =>
  (tileM / ownM) * (tileN / ownN);

/** How one operand lies in memory and in shared memory. */
interface Operand extends Loader {
  /** Distance of neighbouring k in shared memory. */
  readonly stride: number;
  readonly first: string;
  readonly limit: string;
  /** Elements from one row to the next as it lies in memory. */
  readonly pitch: string;
  /** Factors of k are applied to it. */
  readonly scaled: boolean;
}

/** Opens the kernel of a workgroup: which tile of which product, and which part of its K range, is its own. */
export function tileStart(
  { tileM, tileN }: Pick<SharedTile, "tileM" | "tileN">,
  invocations: number,
  text: MatmulText,
): string {
  return `@compute @workgroup_size(${invocations})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let column_tiles = (params.N + ${tileN - 1}u) / ${tileN}u;
  let tiles = column_tiles * ((params.M + ${tileM - 1}u) / ${tileM}u);
  let index = workgroup_index(group, groups);
  let tile = index % tiles;
  let part = index / tiles;
  if (part >= params.B * params.P) { return; }
${partStart(text, "part")}
  let row = tile / column_tiles * ${tileM}u;
  let column = tile % column_tiles * ${tileN}u;${belowDiagonal(text, `column + ${tileN}u`)}`;
}

export function matmulTiles(tile: SharedTile, text: MatmulText): string {
  const { tileM, tileN, tileK, ownM, ownN } = tile;
  const invocations = sharedInvocations(tile);
  const ofRows = text.rowSum === "squares";
  const a: Operand = {
    name: "a",
    size: tileM,
    tileK,
    invocations,
    stride: tileM + 1,
    first: "row",
    limit: "params.M",
    pitch: pitchOfA(text),
    alongK: !text.transposeA,
    width: text.vectorA ? 4 : 1,
    scaled: text.kScale && ofRows,
    rowSum: text.rowSum,
  };
  const b: Operand = {
    name: "b",
    size: tileN,
    tileK,
    invocations,
    stride: tileN,
    first: "column",
    limit: "params.N",
    pitch: text.transposeB ? "params.K" : "params.N",
    alongK: text.transposeB,
    width: text.vectorB ? 4 : 1,
    scaled: text.kScale && !ofRows,
  };
  const sums = rowSums(a, text, "tile_a");
  return wgsl`
var<workgroup> tile_a: array<f32, ${Math.max(tileK * a.stride, rowSumElements(a))}>;
var<workgroup> tile_b: array<f32, ${tileK * b.stride}>;
${sums.declaration}
${finish(text)}
${tileStart({ tileM, tileN }, invocations, text)}
  let own_row = local / ${tileN / ownN}u * ${ownM}u;
  let own_column = local % ${tileN / ownN}u * ${ownN}u;
${each(ownM, (m) => each(ownN / 4, (c) => `  var sum${m}_${c} = vec4<f32>();`))}
${sums.start}
  for (var k = k_start; k < k_end; k += ${tileK}u) {
${loader(a, text)}
${loader(b, text)}
    workgroupBarrier(); // the tiles are complete
    for (var step = 0u; step < ${tileK}u; step += ${tile.unroll}u) {
${each(tile.unroll, (k) => products(k, tile, a, b))}
    }
    workgroupBarrier(); // everybody has read the tiles
  }
${sums.end}
${stores(tile, text)}
}`;
}

const each = (count: number, line: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => line(index)).join("\n");

/** Copies one operand's tile to shared memory; what lies past an edge becomes 0. */
function loader(operand: Operand, { tail }: MatmulText): string {
  const { name, stride, first, limit, pitch, alongK, width } = operand;
  const offset = alongK ? `at * ${pitch} + at_k` : `at_k * ${pitch} + at`;
  const target = (i: number) =>
    alongK ? `(in_k + ${i}u) * ${stride}u + in_size` : `in_k * ${stride}u + in_size + ${i}u`;
  return eachLoad(
    operand,
    (i) => `{ ${place(operand)}
      let at_k = k + in_k;
      let at = ${first} + in_size;
      var value = ${width === 4 ? "vec4<f32>" : "f32"}();
      if (at_k < k_end && at < ${limit}) {
        value = ${read(name, `(${name}_start + ${offset})${width === 4 ? " / 4u" : ""}`)};
        ${addRowSum(operand, i, "value")}
        ${operand.scaled ? `value *= ${kScale(operand, tail, "at_k")};` : ""}
      }
${each(width, (w) => `      tile_${name}[${target(w)}] = value${width === 4 ? `[${w}]` : ""};`)}
    }`,
  );
}

function products(k: number, { ownM, ownN }: SharedTile, a: Operand, b: Operand): string {
  const left = (m: number) => `tile_a[(step + ${k}u) * ${a.stride}u + own_row + ${m}u]`;
  const right = (n: number) => `tile_b[(step + ${k}u) * ${b.stride}u + own_column + ${n}u]`;
  const rights = each(
    ownN / 4,
    (c) => `let right${c} = vec4<f32>(${[0, 1, 2, 3].map((n) => right(c * 4 + n)).join(", ")});`,
  );
  const sums = each(ownM, (m) =>
    [`let left${m} = ${left(m)};`, each(ownN / 4, (c) => `sum${m}_${c} += left${m} * right${c};`)].join(" "),
  );
  return `      { ${rights}\n${sums} }`;
}

function stores({ ownM, ownN }: SharedTile, text: MatmulText): string {
  return each(ownM, (m) => {
    const row = `own_row + ${m}u`;
    return each(ownN / 4, (c) => {
      const value = scaled(text, `sum${m}_${c}`, `row_values[${row}]`);
      return `  finish(part, row + ${row}, column + own_column + ${c * 4}u, ${value});`;
    });
  });
}
