/**
 * Matrix product by subgroup matrices: one workgroup computes a tile of `tileM` x `tileN` of one product, or of one part of
 * its K range; one subgroup owns a block of it as result matrices, which no invocation can look into.
 *
 * f32 sources are rounded to f16 on their way into shared memory; products are added in f32. With `split` a value x is kept
 * as hi + lo / 2048, both f16, and the product is hi hi + (hi lo + lo hi) / 2048: 22 bits of each factor. The two sums have
 * result matrices of their own, because a matrix can be scaled but not added to another. The high part is rounded by its bits:
 * compilers may take a conversion to f16 and back for nothing, which would leave no low part. Values beyond 65,504 become
 * infinite and make the product not finite, so that they are noticed. Values below 2^-14 have an error of up to 2^-25; with
 * `split` they have no high part and keep 11 bits down to 2^-25.
 *
 * Shared memory: both operands' tiles as f16 (twice with `split`), along the axis that is contiguous in memory, rows padded
 * by 8 f16 against bank conflicts and to keep them aligned to 16 bytes; and per subgroup one result matrix as f32 (two with
 * `split`), rows padded by 4. The next tile is loaded into registers while the present one is multiplied.
 * Barriers: two a tile, before the products read what the loaders wrote and before the loaders overwrite it; two for each
 * result matrix of a subgroup, around its way through shared memory, where bias, bounds and addition are done by element.
 * Each element of y adds matrices of K in ascending k; the order within one is the hardware's, and always the same.
 *
 * There are no other subgroup operations in this module: drivers have crashed on both together.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import {
  addRowSum,
  kScale,
  type Loader,
  loadCount,
  place,
  rowSumElements,
  rowSums,
  slotOf,
} from "./matmul_loader.js";
import { finish, type MatmulLayout, type MatmulText, pitchOfA, read, scaled } from "./matmul_text.js";
import { tileStart } from "./matmul_tiles.js";

export interface MatrixTile {
  readonly tileM: number;
  readonly tileN: number;
  /** A multiple of the matrix's K; four loads or a multiple, spread over all invocations, cover a tile's rows of it. */
  readonly tileK: number;
  /** Subgroups along M and N; each owns a block of whole matrices. */
  readonly subgroupsM: number;
  readonly subgroupsN: number;
  /** Invocations of every subgroup of the adapter. */
  readonly subgroupSize: number;
  /** The hardware's shape: f16 [M, K] x [K, N] -> f32 [M, N]. */
  readonly matrix: { readonly M: number; readonly N: number; readonly K: number };
  readonly split: boolean;
}

/** A value x is split into hi, x rounded to 11 bits, and lo = f16((x - hi) * SPLIT_SCALE). */
export const SPLIT_SCALE = 2048;
/** Below it f16 has fewer than 11 bits, or none where the hardware flushes: hi is 0 then. */
export const LEAST_HIGH = 2 ** -14;

const STAGED_PADDING = 8;
const RESULT_PADDING = 4;

/** How one operand lies in memory and in its shared tile. */
interface Operand extends Loader {
  readonly first: string;
  readonly limit: string;
  /** f16 from one row of the shared tile to the next. */
  readonly stride: number;
  /** f16 of the shared tile. */
  readonly elements: number;
  /** Factors of k are applied to it. */
  readonly scaled: boolean;
}

type Layout = Pick<MatmulLayout, "transposeA" | "transposeB" | "vectorA" | "vectorB"> &
  Partial<Pick<MatmulText, "kScale" | "rowSum">>;

export const matrixInvocations = ({ subgroupsM, subgroupsN, subgroupSize }: MatrixTile): number =>
  subgroupsM * subgroupsN * subgroupSize;

/** Bytes of shared memory, row values included. */
export function matrixSharedBytes(tile: MatrixTile, layout: Layout): number {
  const operands = operandsOf(tile, layout);
  const staged = operands.reduce((sum, { elements }) => sum + 2 * elements, 0);
  return (tile.split ? 2 : 1) * staged + 4 * (sharedResults(tile, operands[0]) + tile.tileM);
}

/** Floats of shared memory for result matrices, and for sums over rows before. */
const sharedResults = (tile: MatrixTile, a: Operand): number =>
  Math.max(
    (tile.split ? 2 : 1) * tile.subgroupsM * tile.subgroupsN * resultElements(tile),
    rowSumElements(a),
  );

const resultElements = ({ matrix }: MatrixTile): number => matrix.M * (matrix.N + RESULT_PADDING);

function operandsOf(tile: MatrixTile, layout: Layout): [Operand, Operand] {
  const { tileM, tileN, tileK } = tile;
  const invocations = matrixInvocations(tile);
  const ofRows = layout.rowSum === "squares";
  const operand = (name: "a" | "b", size: number, alongK: boolean, vector: boolean): Operand => {
    const stride = (alongK ? tileK : size) + STAGED_PADDING;
    return {
      name,
      size,
      tileK,
      invocations,
      alongK,
      width: vector ? 4 : 1,
      stride,
      elements: (alongK ? size : tileK) * stride,
      first: name === "a" ? "row" : "column",
      limit: name === "a" ? "params.M" : "params.N",
      scaled: layout.kScale === true && ofRows === (name === "a"),
      ...(name === "a" && { rowSum: layout.rowSum }),
    };
  };
  return [
    operand("a", tileM, !layout.transposeA, layout.vectorA),
    operand("b", tileN, layout.transposeB, layout.vectorB),
  ];
}

export function matmulSubgroupMatrix(tile: MatrixTile, text: MatmulText): string {
  const { tileM, tileN, tileK, subgroupsM, subgroupsN, subgroupSize, matrix, split } = tile;
  const invocations = matrixInvocations(tile);
  const operands = operandsOf(tile, text);
  const parts = split ? 2 : 1;
  const load = operands.map((operand) => loads(operand, text)).join("\n");
  const rows = rowSums(operands[0], text, "results");
  return wgsl`
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
${operands.map(({ name, elements }) => `var<workgroup> tile_${name}: array<f16, ${parts * elements}>;`).join("\n")}
var<workgroup> results: array<f32, ${sharedResults(tile, operands[0])}>;
${rows.declaration}
${finish(text)}
${tileStart(tile, invocations, text)}
  let subgroup = local / ${subgroupSize}u;
  let lane = local % ${subgroupSize}u;
  let own_row = subgroup / ${subgroupsN}u * ${tileM / subgroupsM}u;
  let own_column = subgroup % ${subgroupsN}u * ${tileN / subgroupsN}u;
${sums(tile)}
${rows.start}
${operands.map(registers).join("\n")}
  var next_k = k_start;
${load}
  for (var k = k_start; k < k_end; k += ${tileK}u) {
${operands.map((operand) => staging(operand, split)).join("\n")}
    workgroupBarrier(); // the tiles are complete
    next_k = k + ${tileK}u;
${load}
${each(tileK / matrix.K, (step) => products(step, tile, operands))}
    workgroupBarrier(); // everybody has read the tiles
  }
${rows.end}
${stores(tile, text)}
}`;
}

const each = (count: number, line: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => line(index)).join("\n");

/** Result matrices of one subgroup along M and N. */
const ownOf = ({ tileM, tileN, subgroupsM, subgroupsN, matrix }: MatrixTile): [number, number] => [
  tileM / subgroupsM / matrix.M,
  tileN / subgroupsN / matrix.N,
];

function sums(tile: MatrixTile): string {
  const [ownM, ownN] = ownOf(tile);
  const type = `subgroup_matrix_result<f32, ${tile.matrix.N}, ${tile.matrix.M}>`;
  return each(ownM, (m) =>
    each(ownN, (n) => {
      const cross = tile.split ? ` var cross${m}_${n}: ${type};` : "";
      return `  var sum${m}_${n}: ${type};${cross}`;
    }),
  );
}

const elementOf = ({ width }: Operand): string => (width === 4 ? "vec4<f32>" : "f32");

/** What one load of a tile leaves in registers: the elements, and the factors of their k. */
function registers(operand: Operand): string {
  const { name, alongK } = operand;
  return each(loadCount(operand), (i) => {
    const factors = `  var ${name}_scale${i} = ${alongK ? elementOf(operand) : "f32"}();`;
    return `  var ${name}${i} = ${elementOf(operand)}();${operand.scaled ? factors : ""}`;
  });
}

/** Fetches the tile at next_k into registers; what lies past an edge becomes 0. */
function loads(operand: Operand, text: MatmulText): string {
  const { tail } = text;
  const { name, first, limit, alongK, width } = operand;
  const pitch = name === "a" ? pitchOfA(text) : alongK ? "params.K" : "params.N";
  const offset = alongK ? `at * ${pitch} + at_k` : `at_k * ${pitch} + at`;
  return each(loadCount(operand), (i) => {
    const value = read(name, `(${name}_start + ${offset})${width === 4 ? " / 4u" : ""}`);
    const factors = operand.scaled ? ` ${name}_scale${i} = ${kScale(operand, tail, "at_k")};` : "";
    return `    { ${slotOf(operand, i)} ${place(operand)}
      let at_k = next_k + in_k;
      let at = ${first} + in_size;
      ${name}${i} = ${elementOf(operand)}();
      if (at_k < k_end && at < ${limit}) { ${name}${i} = ${value};${factors} } }`;
  });
}

/** Rounds the registers to f16 and puts them into the shared tile: high parts, then low parts. */
function staging(operand: Operand, split: boolean): string {
  const { name, alongK, width, stride, elements } = operand;
  const half = width === 4 ? "vec4<f16>" : "f16";
  const part = (i: number) => (width === 4 ? `[${i}]` : "");
  return each(loadCount(operand), (i) => {
    const convert = split
      ? highAndLow("value", elementOf(operand), half)
      : `      let high = ${half}(value);`;
    const writes = each(width, (w) => {
      const target = `tile_${name}[target_at + ${w}u`;
      const writeLow = split ? ` ${target} + ${elements}u] = low${part(w)};` : "";
      return `      ${target}] = high${part(w)};${writeLow}`;
    });
    return `    { ${slotOf(operand, i)} ${place(operand)}
      let target_at = ${alongK ? `in_size * ${stride}u + in_k` : `in_k * ${stride}u + in_size`};
      ${addRowSum(operand, i, `${name}${i}`)}
      let value = ${name}${i}${operand.scaled ? ` * ${name}_scale${i}` : ""};
${convert}
${writes} }`;
  });
}

/** Declares both parts of a value. */
function highAndLow(value: string, element: string, half: string): string {
  const bits = element.replace("f32", "u32");
  return `      let bits = bitcast<${bits}>(${value}) + ${bits}(0x1000u);
      let rounded = bitcast<${element}>(bits & ${bits}(0xffffe000u));
      let kept = select(${element}(), rounded, abs(rounded) >= ${element}(${LEAST_HIGH}));
      let high = ${half}(kept);
      let low = ${half}((${value} - kept) * ${SPLIT_SCALE}.0);`;
}

/** Adds the product of one matrix of K. */
function products(step: number, tile: MatrixTile, [a, b]: readonly [Operand, Operand]): string {
  const { matrix, split } = tile;
  const [ownM, ownN] = ownOf(tile);
  const load = (operand: Operand, side: string, at: string, low: boolean) => {
    const { name, alongK, stride, elements } = operand;
    const k = `${step * matrix.K}u`;
    const offset = `${low ? `${elements}u + ` : ""}${alongK ? `(${at}) * ${stride}u + ${k}` : `${k} * ${stride}u + ${at}`}`;
    // A is [M, K] in rows when contiguous along k, B is [K, N] in columns
    const order = (name === "a") === alongK ? "row_major" : "col_major";
    return `subgroupMatrixLoad<${side}, ${order}>(&tile_${name}, ${offset}, ${stride}u)`;
  };
  const lefts = (low: boolean) =>
    each(ownM, (m) => {
      const value = load(
        a,
        `subgroup_matrix_left<f16, ${matrix.K}, ${matrix.M}>`,
        `own_row + ${m * matrix.M}u`,
        low,
      );
      return `      let ${low ? "low_" : ""}left${m} = ${value};`;
    });
  const right = (n: number, low: boolean) =>
    load(b, `subgroup_matrix_right<f16, ${matrix.N}, ${matrix.K}>`, `own_column + ${n * matrix.N}u`, low);
  const columns = each(ownN, (n) => {
    const add = (sum: string, left: string, factor: string) =>
      each(
        ownM,
        (m) =>
          `        ${sum}${m}_${n} = subgroupMatrixMultiplyAccumulate(${left}${m}, ${factor}, ${sum}${m}_${n});`,
      );
    const high = `        let right = ${right(n, false)};\n${add("sum", "left", "right")}`;
    const cross = `        let low_right = ${right(n, true)};
${add("cross", "left", "low_right")}
${add("cross", "low_left", "right")}`;
    return `      {\n${high}${split ? `\n${cross}` : ""}\n      }`;
  });
  return `    {\n${lefts(false)}${split ? `\n${lefts(true)}` : ""}\n${columns}\n    }`;
}

/** Brings one result matrix of each subgroup at a time through shared memory to `finish`. */
function stores(tile: MatrixTile, text: MatmulText): string {
  const { matrix, split, subgroupsM, subgroupsN, subgroupSize } = tile;
  const [ownM, ownN] = ownOf(tile);
  const size = resultElements(tile);
  const stride = matrix.N + RESULT_PADDING;
  const cross = subgroupsM * subgroupsN * size;
  const put = (offset: string, name: string) =>
    `  subgroupMatrixStore<row_major>(&results, ${offset}, ${name}, ${stride}u);`;
  const gather = (offset: string) =>
    `vec4<f32>(${[0, 1, 2, 3].map((i) => `results[${offset} + ${i}u]`).join(", ")})`;
  const value = split ? `(${gather("at")} + ${gather(`at + ${cross}u`)} * ${1 / SPLIT_SCALE})` : gather("at");
  const quarter = matrix.N / 4;
  const rounds = each(ownM, (m) =>
    each(
      ownN,
      (n) => `${put("own", `sum${m}_${n}`)}
${split ? put(`own + ${cross}u`, `cross${m}_${n}`) : ""}
  workgroupBarrier(); // the results of all subgroups are there
  for (var slot = lane; slot < ${matrix.M * quarter}u; slot += ${subgroupSize}u) {
    let at = own + slot / ${quarter}u * ${stride}u + slot % ${quarter}u * 4u;
    let in_row = own_row + ${m * matrix.M}u + slot / ${quarter}u;
    let in_column = own_column + ${n * matrix.N}u + slot % ${quarter}u * 4u;
    finish(part, row + in_row, column + in_column, ${scaled(text, value, "row_values[in_row]")});
  }
  workgroupBarrier(); // the results have been read`,
    ),
  );
  return `  let own = subgroup * ${size}u;\n${rounds}`;
}
