/**
 * Matrix product for CPU adapters: one workgroup computes a tile of `rows` x (lanes * 4 * groups) of one product, or of one
 * part of its K range. One invocation owns `rows` x 4 columns of each of its `groups` (groups lie lanes * 4 columns apart).
 *
 * Loads are the cost on these adapters, each lane's being a branch of its own, so A is loaded once per subgroup: a step of
 * four k has rows * 4 elements of A, spread as vec4 over the lanes and handed round by broadcasts with constant lane; or,
 * where subgroups are quads, by swaps, each lane adding to another row: there a swap costs far less than a broadcast.
 * No shared memory, no barrier. Each element of y adds its products in ascending k, four to a step.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import {
  belowDiagonal,
  finish,
  finishRow,
  lines,
  type MatmulText,
  PART,
  partStart,
  pitchOfA,
  read,
  rowValue,
  STEP,
  scaled,
} from "./matmul_text.js";

export interface LaneTile {
  /** Invocations of a workgroup. */
  readonly lanes: number;
  /** Rows of the tile: 1 or a multiple of 4; a multiple of 4 for quads. */
  readonly rows: number;
  /** vec4 columns that each invocation owns. */
  readonly groups: number;
  /**
   * How the elements of A reach the lanes. `broadcast`: lane by lane. `swap`: subgroups are quads; sum r of a lane belongs
   * to row r ^ lane of the tile. `none`: each lane loads all of them, for adapters of unknown subgroup size.
   */
  readonly exchange: "broadcast" | "swap" | "none";
}

export function matmulLanes(tile: LaneTile, text: MatmulText): string {
  const { lanes, rows, groups, exchange } = tile;
  const lane = exchange === "none" ? "local_invocation_index" : "subgroup_invocation_id";
  return wgsl`
#if ${exchange !== "none"}
enable subgroups;
#endif
${text.vectorA ? "" : guardedLoad("a")}
${text.vectorB ? "" : guardedLoad("b")}
${text.kScale && text.tail ? guardedLoad("k_scale") : ""}
${finish(text)}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(${lane}) lane: u32) {
  let row_tiles = (params.M + ${rows - 1}u) / ${rows}u;
  let tiles = row_tiles * ((params.N + ${lanes * groups * 4 - 1}u) / ${lanes * groups * 4}u);
  let index = workgroup_index(group, groups);
  // neighbours differ in the row: the panel of B that they share is the larger one
  let tile = index % tiles;
  let part = index / tiles;
  if (part >= params.B * params.P) { return; }
${partStart(text, "part")}
  let row = (tile % row_tiles) * ${rows}u;${belowDiagonal(text, `(tile / row_tiles + 1u) * ${lanes * groups * 4}u`)}
  let column = (tile / row_tiles) * ${lanes * groups * 4}u + lane * 4u;
${addressesOfA(tile, text)}
${addressesOfB(tile, text)}
${accumulators(tile)}
${rowSumStart(tile, text)}
  for (var k = k_start; k < k_end; k += 4u) {
${text.kScale ? `    let scale = ${text.tail ? "load_k_scale(k, k_end - k)" : "k_scale[k >> 2u]"};` : ""}
${loadsOfA(tile, text)}
${loadsOfB(tile, text, text.kScale && text.rowSum !== "squares")}
${products(tile, text)}
  }
${stores(tile, text)}
}`;
}

/** vec4 from unaligned memory; elements from `count` (at least 1) on read as 0. */
export function guardedLoad(name: string): string {
  const element = (i: number) =>
    `select(0.0, ${read(name, `offset + min(${i}u, count - 1u)`)}, count > ${i}u)`;
  return `fn load_${name}(offset: u32, count: u32) -> vec4<f32> {
  return vec4<f32>(${read(name, "offset")}, ${element(1)}, ${element(2)}, ${element(3)});
}`;
}

/** vec4 loads of A in a step of four k. */
const loadCount = ({ exchange, rows, lanes }: LaneTile): number =>
  exchange === "none" ? rows : Math.ceil(rows / lanes);

/** Vector number of A in a step that load `i` of this lane fetches. */
const vectorOf = ({ exchange, rows, lanes }: LaneTile, i: number): string => {
  if (exchange === "none") return `${i}u`;
  return rows % lanes === 0 ? `lane + ${i * lanes}u` : `min(lane + ${i * lanes}u, ${rows - 1}u)`;
};

/** Plain A: vector v is row v, four k; for swaps transposed A too. Else transposed A: vector v is k = v / (rows / 4), four rows. */
function addressesOfA(tile: LaneTile, text: MatmulText): string {
  const { transposeA, vectorA } = text;
  const quarter = tile.rows / 4;
  return lines(loadCount(tile), (i) => {
    const vector = vectorOf(tile, i);
    if (!transposeA)
      return `  let a_row${i} = a_start + min(row + ${vector}, params.M - 1u) * ${pitchOfA(text)};`;
    if (tile.exchange === "swap") return `  let a_row${i} = a_start + min(row + ${vector}, params.M - 1u);`;
    const first = `row + ((${vector}) % ${quarter}u) * 4u`;
    return `  let a_step${i} = (${vector}) / ${quarter}u;
  let a_row${i} = a_start + min(${first}, params.M - ${vectorA ? 4 : 1}u);`;
  });
}

function loadsOfA(tile: LaneTile, text: MatmulText): string {
  const { rowSum, kScale } = text;
  return lines(loadCount(tile), (i) => {
    if (rowSum === "squares") {
      const whole = `    let whole${i} = ${loadOfA(tile, text, i)};\n    row_sum${i} += dot(whole${i}, whole${i});`;
      return `${whole}\n    let a${i} = whole${i}${kScale ? " * scale" : ""};`;
    }
    const load = `    let a${i} = ${loadOfA(tile, text, i)};`;
    return rowSum ? `${load}\n    row_sum${i} += a${i};` : load;
  });
}

function loadOfA(tile: LaneTile, text: MatmulText, i: number): string {
  const { transposeA, vectorA, tail } = text;
  const pitch = pitchOfA(text);
  if (!transposeA) return vectorA ? read("a", `(a_row${i} + k) >> 2u`) : `load_a(a_row${i} + k, k_end - k)`;
  if (tile.exchange === "swap") {
    const elements = STEP.map((j) =>
      tail
        ? `select(0.0, ${read("a", `a_row${i} + min(k + ${j}u, params.K - 1u) * ${pitch}`)}, k + ${j}u < k_end)`
        : read("a", `a_row${i} + (k + ${j}u) * ${pitch}`),
    );
    return `vec4<f32>(${elements.join(", ")})`;
  }
  const k = tail ? `min(k + a_step${i}, params.K - 1u)` : `(k + a_step${i})`;
  const offset = `a_row${i} + ${k} * ${pitch}`;
  const load = vectorA
    ? read("a", `(${offset}) >> 2u`)
    : `load_a(${offset}, params.M - (a_row${i} - a_start))`;
  return tail ? `select(vec4<f32>(), ${load}, k + a_step${i} < k_end)` : load;
}

/** Plain B: one vec4 of columns for each k. Transposed B: four columns, one vec4 of k each. */
export function addressesOfB(
  { groups, lanes }: Pick<LaneTile, "groups" | "lanes">,
  { transposeB, vectorB }: MatmulText,
): string {
  return lines(groups, (c) => {
    const first = `column + ${c * lanes * 4}u`;
    if (!transposeB) return `  let b_column${c} = b_start + min(${first}, params.N - ${vectorB ? 4 : 1}u);`;
    return STEP.map(
      (j) => `  let b_row${c}_${j} = b_start + min(${first} + ${j}u, params.N - 1u) * params.K;`,
    ).join("\n");
  });
}

/** Declares b<group>_0 to b<group>_3: the group's columns at four k. @param scales whether the factors of k, in `scale`, are applied */
export function loadsOfB({ groups }: Pick<LaneTile, "groups">, text: MatmulText, scales: boolean): string {
  const { transposeB, vectorB, tail } = text;
  return lines(groups, (c) => {
    if (!transposeB) {
      return STEP.map((j) => {
        const k = tail ? `min(k + ${j}u, params.K - 1u)` : `(k + ${j}u)`;
        const offset = `b_column${c} + ${k} * params.N`;
        const load = vectorB
          ? read("b", `(${offset}) >> 2u`)
          : `load_b(${offset}, params.N - (b_column${c} - b_start))`;
        return `    let b${c}_${j} = ${load}${scales ? ` * scale.${PART[j]}` : ""};`;
      }).join("\n");
    }
    const rows = STEP.map((j) => {
      const load = vectorB
        ? read("b", `(b_row${c}_${j} + k) >> 2u`)
        : `load_b(b_row${c}_${j} + k, k_end - k)`;
      return `    let c${c}_${j} = ${load}${scales ? " * scale" : ""};`;
    });
    const columns = PART.map(
      (part, j) => `    let b${c}_${j} = vec4<f32>(${STEP.map((i) => `c${c}_${i}.${part}`).join(", ")});`,
    );
    return [...rows, ...columns].join("\n");
  });
}

/** Declares x0 .. x3: the elements of A at the four k of a step for sum `row` of each lane. */
function elementsOfA(tile: LaneTile, transposeA: boolean, row: number): string {
  if (tile.exchange === "swap") {
    const parts = STEP.map((j) => `let x${j} = x.${PART[j]};`).join(" ");
    return `let x = ${fromLane(tile, "a", row)}; ${parts}`;
  }
  return STEP.map((j) => {
    const vector = transposeA ? j * (tile.rows / 4) + Math.floor(row / 4) : row;
    return `let x${j} = ${fromLane(tile, "a", vector, `.${PART[transposeA ? row % 4 : j]}`)};`;
  }).join(" ");
}

/** What the lane with vector `vector` of A keeps in a register under `name`; of quads, the lane with that row for this lane. */
function fromLane({ exchange, lanes }: LaneTile, name: string, vector: number, part = ""): string {
  if (exchange === "none") return `${name}${vector}${part}`;
  if (exchange === "swap") {
    const swap = ["", "quadSwapX", "quadSwapY", "quadSwapDiagonal"][vector % 4];
    return `${swap}(${name}${Math.floor(vector / 4)}${part})`;
  }
  return `subgroupBroadcast(${name}${Math.floor(vector / lanes)}${part}, ${vector % lanes}u)`;
}

/** Sums over rows of A, as far as a lane loads them. */
function rowSumStart(tile: LaneTile, { rowSum }: MatmulText): string {
  if (!rowSum) return "";
  const zero = rowSum === "squares" ? "0.0" : "vec4<f32>()";
  return lines(loadCount(tile), (i) => `  var row_sum${i} = ${zero};`);
}

/** Declares `row_values`, what finishes or leaves each row of this lane. */
function rowValues(tile: LaneTile, text: MatmulText): string {
  if (!text.rowSum) return "";
  const own =
    text.rowSum === "values" && tile.exchange === "swap" ? "dot(row_sum#, vec4<f32>(1.0))" : "row_sum#";
  const values = lines(
    loadCount(tile),
    (i) => `  let row_value${i} = ${rowValue(text, own.replace("#", `${i}`))};`,
  );
  const rows = Array.from({ length: tile.rows }, (_, row) => {
    if (text.rowSum === "squares" || tile.exchange === "swap") return fromLane(tile, "row_value", row);
    const quarter = tile.rows / 4;
    const vectors = STEP.map((j) => j * quarter + Math.floor(row / 4));
    return vectors.map((vector) => fromLane(tile, "row_value", vector, `.${PART[row % 4]}`)).join(" + ");
  });
  return `${values}\n  var row_values = array<f32, ${tile.rows}>(${rows.join(", ")});`;
}

/** SwiftShader's compiler keeps every intermediate vec4 in memory, so the sums of quads are kept as scalars. */
const isScalar = ({ exchange }: LaneTile): boolean => exchange === "swap";

function accumulators(tile: LaneTile): string {
  return lines(tile.rows * tile.groups, (i) =>
    isScalar(tile)
      ? PART.map((part) => `  var sum${i}${part} = 0.0;`).join("")
      : `  var sum${i} = vec4<f32>();`,
  );
}

/** Row by row, so that a sum is loaded and stored once for four k. */
function products(tile: LaneTile, { transposeA }: MatmulText): string {
  return lines(tile.rows, (row) => {
    const elements = elementsOfA(tile, transposeA, row);
    const sums = Array.from({ length: tile.groups }, (_, c) => {
      const name = `sum${row * tile.groups + c}`;
      const add = (part: string) =>
        `${name}${part} = ${name}${part}${STEP.map((j) => ` + x${j} * b${c}_${j}${part && `.${part}`}`).join("")};`;
      return (isScalar(tile) ? PART : [""]).map(add).join(" ");
    });
    return `    { ${elements}\n      ${sums.join("\n      ")} }`;
  });
}

/**
 * In a loop over the rows that exist: stores spelt out for each row would be more code than the products. The loop counts
 * rows of y, since Mesa unrolls one whose count it can bound, by a constant or by an array that its counter indexes.
 */
function stores(tile: LaneTile, text: MatmulText): string {
  const { rows, groups, lanes } = tile;
  const sums = Array.from({ length: rows * groups }, (_, i) =>
    isScalar(tile) ? `vec4<f32>(${PART.map((part) => `sum${i}${part}`).join(", ")})` : `sum${i}`,
  );
  const store = lines(groups, (c) => {
    const sum = scaled(text, `sums[r * ${groups}u + ${c}u]`, "row_values[r]");
    return `    finish(part, y_row, column + ${c * lanes * 4}u, ${sum});`;
  });
  const isSwapped = tile.exchange === "swap";
  const storeRow = `    if (column == 0u && y_row < params.M) { ${finishRow(text, "y_row", "row_values[r]")} }`;
  return `  var sums = array<vec4<f32>, ${rows * groups}>(${sums.join(", ")});
${rowValues(tile, text)}
  let row_end = min(row + ${rows}u, ${isSwapped ? "(params.M + 3u) / 4u * 4u" : "params.M"});
  for (var next = row; next < row_end; next++) {
    let r = next - row;
    let y_row = ${isSwapped ? "row + (r ^ lane)" : "next"};
${text.rowSum ? storeRow : ""}
${store}
  }`;
}
