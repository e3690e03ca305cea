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
import { type MatmulText, storeText } from "./matmul_lanes.js";
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
interface Operand {
  readonly name: "a" | "b";
  /** Rows of A or columns of B in a tile. */
  readonly size: number;
  readonly first: string;
  readonly limit: string;
  /** Memory is contiguous along k. */
  readonly alongK: boolean;
  /** Elements that one load fetches. */
  readonly width: 1 | 4;
  /** f16 from one row of the shared tile to the next. */
  readonly stride: number;
  /** f16 of the shared tile. */
  readonly elements: number;
}

type Layout = Pick<MatmulText, "transposeA" | "transposeB" | "vectorA" | "vectorB">;

export const matrixInvocations = ({ subgroupsM, subgroupsN, subgroupSize }: MatrixTile): number =>
  subgroupsM * subgroupsN * subgroupSize;

/** Bytes of shared memory. */
export function matrixSharedBytes(tile: MatrixTile, layout: Layout): number {
  const operands = operandsOf(tile, layout);
  const staged = operands.reduce((sum, { elements }) => sum + 2 * elements, 0);
  const parts = tile.split ? 2 : 1;
  return parts * (staged + 4 * tile.subgroupsM * tile.subgroupsN * resultElements(tile));
}

const resultElements = ({ matrix }: MatrixTile): number => matrix.M * (matrix.N + RESULT_PADDING);

function operandsOf({ tileM, tileN, tileK }: MatrixTile, layout: Layout): [Operand, Operand] {
  const operand = (
    name: "a" | "b",
    size: number,
    first: string,
    limit: string,
    alongK: boolean,
    vector: boolean,
  ): Operand => {
    const stride = (alongK ? tileK : size) + STAGED_PADDING;
    const elements = (alongK ? size : tileK) * stride;
    return { name, size, first, limit, alongK, width: vector ? 4 : 1, stride, elements };
  };
  return [
    operand("a", tileM, "row", "params.M", !layout.transposeA, layout.vectorA),
    operand("b", tileN, "column", "params.N", layout.transposeB, layout.vectorB),
  ];
}

export function matmulMatrix(tile: MatrixTile, text: MatmulText): string {
  const { tileM, tileN, tileK, subgroupsM, subgroupsN, subgroupSize, matrix, split } = tile;
  const invocations = matrixInvocations(tile);
  const operands = operandsOf(tile, text);
  const parts = split ? 2 : 1;
  const load = operands.map((operand) => loads(operand, tileK, invocations)).join("\n");
  return wgsl`
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
${operands.map(({ name, elements }) => `var<workgroup> tile_${name}: array<f16, ${parts * elements}>;`).join("\n")}
var<workgroup> results: array<f32, ${parts * subgroupsM * subgroupsN * resultElements(tile)}>;

${tileStart(tile, invocations)}
  let subgroup = local / ${subgroupSize}u;
  let lane = local % ${subgroupSize}u;
  let own_row = subgroup / ${subgroupsN}u * ${tileM / subgroupsM}u;
  let own_column = subgroup % ${subgroupsN}u * ${tileN / subgroupsN}u;
${sums(tile)}
${operands.map((operand) => registers(operand, tileK, invocations)).join("\n")}
  var next_k = k_start;
${load}
  for (var k = k_start; k < k_end; k += ${tileK}u) {
${operands.map((operand) => staging(operand, tileK, invocations, split)).join("\n")}
    workgroupBarrier(); // the tiles are complete
    next_k = k + ${tileK}u;
${load}
${each(tileK / matrix.K, (step) => products(step, tile, operands))}
    workgroupBarrier(); // everybody has read the tiles
  }
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

/** Loads of one operand's tile that each invocation does. */
const loadCount = ({ size, width }: Operand, tileK: number, invocations: number): number =>
  (size * tileK) / width / invocations;

const elementOf = ({ width }: Operand): string => (width === 4 ? "vec4<f32>" : "f32");

function registers(operand: Operand, tileK: number, invocations: number): string {
  return each(
    loadCount(operand, tileK, invocations),
    (i) => `  var ${operand.name}${i} = ${elementOf(operand)}();`,
  );
}

/** Where load `i` lies in the tile: declares in_k and in_size. */
function place({ size, alongK, width }: Operand, tileK: number, invocations: number, i: number): string {
  const fast = (alongK ? tileK : size) / width;
  const along = `slot % ${fast}u * ${width}u`;
  const across = `slot / ${fast}u`;
  return `let slot = local + ${i * invocations}u; let in_k = ${alongK ? along : across}; let in_size = ${alongK ? across : along};`;
}

/** Fetches the tile at next_k into registers; what lies past an edge becomes 0. */
function loads(operand: Operand, tileK: number, invocations: number): string {
  const { name, first, limit, alongK, width } = operand;
  const offset = alongK ? `at * params.K + at_k` : `at_k * ${limit} + at`;
  return each(
    loadCount(operand, tileK, invocations),
    (i) => `    { ${place(operand, tileK, invocations, i)}
      let at_k = next_k + in_k;
      let at = ${first} + in_size;
      ${name}${i} = ${elementOf(operand)}();
      if (at_k < k_end && at < ${limit}) { ${name}${i} = ${name}[(${name}_start + ${offset})${width === 4 ? " / 4u" : ""}]; } }`,
  );
}

/** Rounds the registers to f16 and puts them into the shared tile: high parts, then low parts. */
function staging(operand: Operand, tileK: number, invocations: number, split: boolean): string {
  const { name, alongK, width, stride, elements } = operand;
  const half = width === 4 ? "vec4<f16>" : "f16";
  const part = (i: number) => (width === 4 ? `[${i}]` : "");
  return each(loadCount(operand, tileK, invocations), (i) => {
    const value = `${name}${i}`;
    const convert = split
      ? highAndLow(value, elementOf(operand), half)
      : `      let high = ${half}(${value});`;
    const writes = each(width, (w) => {
      const target = `tile_${name}[target_at + ${w}u`;
      const writeLow = split ? ` ${target} + ${elements}u] = low${part(w)};` : "";
      return `      ${target}] = high${part(w)};${writeLow}`;
    });
    return `    { ${place(operand, tileK, invocations, i)}
      let target_at = ${alongK ? `in_size * ${stride}u + in_k` : `in_k * ${stride}u + in_size`};
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

/** Brings one result matrix of each subgroup at a time through shared memory to y. */
function stores(tile: MatrixTile, text: MatmulText): string {
  const { matrix, split, subgroupsM, subgroupsN, subgroupSize } = tile;
  const [ownM, ownN] = ownOf(tile);
  const size = resultElements(tile);
  const stride = matrix.N + RESULT_PADDING;
  const cross = subgroupsM * subgroupsN * size;
  const put = (offset: string, name: string) =>
    `  subgroupMatrixStore<row_major>(&results, ${offset}, ${name}, ${stride}u);`;
  const rounds = each(ownM, (m) =>
    each(
      ownN,
      (n) => `${put("own", `sum${m}_${n}`)}
${split ? put(`own + ${cross}u`, `cross${m}_${n}`) : ""}
  workgroupBarrier(); // the results of all subgroups are there
  for (var slot = lane; slot < ${(matrix.M * matrix.N) / (text.vectorY ? 4 : 1)}u; slot += ${subgroupSize}u) {
${element(tile, text, cross, `own_row + ${m * matrix.M}u`, `own_column + ${n * matrix.N}u`)}
  }
  workgroupBarrier(); // the results have been read`,
    ),
  );
  return `  let own = subgroup * ${size}u;\n${rounds}`;
}

/** One element of y, or four neighbours. */
function element(
  { matrix, split }: MatrixTile,
  { vectorY, bias, output }: MatmulText,
  cross: number,
  row: string,
  column: string,
): string {
  const width = vectorY ? 4 : 1;
  const fast = matrix.N / width;
  const gather = (offset: string) =>
    vectorY
      ? `vec4<f32>(${[0, 1, 2, 3].map((i) => `results[${offset} + ${i}u]`).join(", ")})`
      : `results[${offset}]`;
  const low = split ? ` + ${gather(`at + ${cross}u`)} * ${1 / SPLIT_SCALE}` : "";
  const added = bias ? ` + bias[y_column${vectorY ? " / 4u" : ""}]` : "";
  const index = `((part * params.M + y_row) * params.N + y_column)${vectorY ? " / 4u" : ""}`;
  return `    let in_row = slot / ${fast}u;
    let in_column = slot % ${fast}u * ${width}u;
    let at = own + in_row * ${matrix.N + RESULT_PADDING}u + in_column;
    let y_row = row + ${row} + in_row;
    let y_column = column + ${column} + in_column;
    if (y_row < params.M && y_column < params.N) { ${storeText(output, index, `${gather("at")}${low}${added}`)} }`;
}
