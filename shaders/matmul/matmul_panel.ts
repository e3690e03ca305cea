/**
 * Matrix product for CPU adapters whose subgroups exchange by broadcasts, for products with many rows: one workgroup, which is
 * one subgroup, computes rows x (lanes * 4) of one product, or of one part of its K range. It walks K in panels: `depth` rows
 * of B, of which each lane keeps its four columns in a private array, and then row by row of A.
 *
 * Loads are the cost on these adapters, each lane's being a branch of its own. An element of B is loaded once for all rows,
 * and the array is read at constant places alone: those are operands of the arithmetic, while an array at a place that
 * a loop counts is read lane by lane. The sums of a row are not carried from row to row, so no mask is applied to them; between
 * panels they wait in workgroup memory, which has no bounds to be checked. There a lane reads only what it wrote itself: no
 * barrier. Each element of y adds its products in ascending k.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { added, joined } from "../joined.js";
import { addressesOfB, guardedLoad, loadsOfB } from "./matmul_lanes.js";
import {
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

export interface PanelTile {
  /** Invocations of a workgroup: one subgroup. */
  readonly lanes: number;
  /** k of a panel, a multiple of 4 * lanes. */
  readonly depth: number;
  /** K is one panel, so sums never wait. */
  readonly isWhole: boolean;
  /** Most rows of a workgroup, a multiple of 4. */
  readonly mostRows: number;
}

/** Bytes of workgroup memory that a row takes: its sums, and what each lane has added of its elements of A. */
export const panelRowBytes = (lanes: number, rowSums: boolean): number => lanes * (rowSums ? 20 : 16);

export function matmulPanel(tile: PanelTile, text: MatmulText): string {
  const { lanes, isWhole, mostRows } = tile;
  const { rowSum, transposeA, vectorA, vectorB, kScale, tail } = text;
  const width = lanes * 4;
  return wgsl`
enable subgroups;
${vectorA || transposeA ? "" : guardedLoad("a")}
${vectorB ? "" : guardedLoad("b")}
${kScale && tail ? guardedLoad("k_scale") : ""}
${finish(text)}
${isWhole ? "" : `var<workgroup> waiting: array<vec4<f32>, ${mostRows * lanes}>;`}
${rowSum && !isWhole ? `var<workgroup> waiting_row: array<f32, ${mostRows * lanes}>;` : ""}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(subgroup_invocation_id) lane: u32) {
  let column_tiles = (params.N + ${width - 1}u) / ${width}u;
  let row_tiles = params.T / (column_tiles * params.B);
  let index = workgroup_index(group, groups);
  // neighbours differ in the row: they share a panel of B
  let tile = index % (row_tiles * column_tiles);
  let part = index / (row_tiles * column_tiles);
  if (part >= params.B * params.P) { return; }
${partStart(text, "part")}
  // the rows evenly, in fours
  let rows = (params.M + row_tiles * 4u - 1u) / (row_tiles * 4u) * 4u;
  let row = (tile % row_tiles) * rows;
  let row_end = min(row + rows, params.M);
  let column = (tile / row_tiles) * ${width}u + lane * 4u;
${addressesOfB({ groups: 1, lanes }, text)}
  var panel: array<vec4<f32>, ${tile.depth}>;
${isWhole ? panelOf(tile, text, "k_start") : panels(tile, text)}
}`;
}

/** Where what a lane has added up of row `r` waits. */
const slotOf = ({ lanes }: PanelTile): string => `(r - row) * ${lanes}u + lane`;

/** All panels of K, sums waiting in workgroup memory from one to the next, then what is fused behind the product. */
function panels(tile: PanelTile, text: MatmulText): string {
  const slot = slotOf(tile);
  const { rowSum } = text;
  return `  for (var r = row; r < row_end; r++) {
    waiting[${slot}] = vec4<f32>();
    ${rowSum ? `waiting_row[${slot}] = 0.0;` : ""}
  }
  for (var start = k_start; start < k_end; start += ${tile.depth}u) {
${panelOf(tile, text, "start")}
  }
  for (var r = row; r < row_end; r++) {
    let sum = waiting[${slot}];
    ${rowSum ? `let row_sum = waiting_row[${slot}];` : ""}
${finished(tile, text)}
  }`;
}

/** Loads the panel that begins at k `start`, and adds its products to each row. */
function panelOf(tile: PanelTile, text: MatmulText, start: string): string {
  const { depth, isWhole } = tile;
  const { rowSum, kScale, tail } = text;
  const slot = slotOf(tile);
  const scale = `      let scale = ${tail ? "load_k_scale(k, k_end - k)" : "k_scale[k >> 2u]"};`;
  const row = `
      var sum = ${isWhole ? "vec4<f32>()" : `waiting[${slot}]`};
      ${rowSum ? `let row_sum = ${isWhole ? "" : `waiting_row[${slot}] + `}${rowSumOf(tile, text)};` : ""}
${lines(depth, (k) => `      sum += ${elementOfA(tile, text, k)} * panel[${k}];`)}
${isWhole ? finished(tile, text) : `      waiting[${slot}] = sum;${rowSum ? ` waiting_row[${slot}] = row_sum;` : ""}`}`;
  return `    for (var k = ${start}; k < min(${start} + ${depth}u, k_end); k += 4u) {
${kScale ? scale : ""}
${loadsOfB({ groups: 1 }, text, kScale)}
      ${STEP.map((j) => `panel[k - ${start}${j ? ` + ${j}u` : ""}] = b0_${j};`).join(" ")}
    }
${placesOfA(tile, text, start)}
${eachRow(tile, text, row)}`;
}

/** Whether four rows of transposed A are loaded at once. */
const loadsFours = ({ transposeA, vectorA }: MatmulText): boolean => transposeA && vectorA;

/**
 * A loop over the workgroup's rows with what each loads of A. Four that are loaded together are walked in an inner loop, whose bounds
 * are not constant, so that it is not unrolled.
 */
function eachRow(tile: PanelTile, text: MatmulText, body: string): string {
  const loads = loadsOfA(tile, text);
  if (!loadsFours(text))
    return `    for (var r = row; r < row_end; r++) {
${loads}
${body}
    }`;
  return `    for (var first = row; first < row_end; first += 4u) {
${loads}
      for (var r = first; r < min(first + 4u, row_end); r++) {
        let which = r - first;
${lines(loadCount(tile, text), (i) => `        let a${i} = fours${i}[which];`)}
${body}
      }
    }`;
}

/** k that a load of A brings: four of plain A, one of transposed A. */
const loadedAtOnce = ({ transposeA }: MatmulText): number => (transposeA ? 1 : 4);
/** Loads of A by each lane for a row of a panel. */
const loadCount = ({ lanes, depth }: PanelTile, text: MatmulText): number =>
  depth / (loadedAtOnce(text) * lanes);

/**
 * Declares for each load of A: `k<i>`, the k that it begins at; `at<i>`, where that lies in row 0, the last k instead of one past
 * the end. Drivers do not move this out of the loop over rows.
 */
function placesOfA(tile: PanelTile, text: MatmulText, start: string): string {
  const { transposeA, vectorA } = text;
  const each = loadedAtOnce(text);
  return lines(loadCount(tile, text), (i) => {
    const inside = `min(k${i}, k_end - ${vectorA && !transposeA ? 4 : 1}u)`;
    return `    let k${i} = ${start} + lane * ${each}u + ${i * each * tile.lanes}u;
    let at${i} = a_start + ${inside}${transposeA ? ` * ${pitchOfA(text)}` : ""};`;
  });
}

/** Declares what each load brings for row `r` of op(a), zero past the end of K: what the panel holds there is of the one before. */
function loadsOfA(tile: PanelTile, text: MatmulText): string {
  const { transposeA, vectorA } = text;
  const first = transposeA ? "" : `      let a_row = r * ${pitchOfA(text)};\n`;
  const loads = lines(loadCount(tile, text), (i) => {
    if (loadsFours(text))
      return `      let fours${i} = select(vec4<f32>(), ${read("a", `(at${i} + first) >> 2u`)}, k${i} < k_end);`;
    if (transposeA) return `      let a${i} = select(0.0, ${read("a", `at${i} + r`)}, k${i} < k_end);`;
    const load = vectorA
      ? read("a", `(at${i} + a_row) >> 2u`)
      : `load_a(at${i} + a_row, max(k_end, k${i} + 1u) - k${i})`;
    return `      let a${i} = select(vec4<f32>(), ${load}, k${i} < k_end);`;
  });
  return `${first}${loads}`;
}

/** Element `k` of a panel's part of row r of op(a), for all lanes. */
function elementOfA({ lanes }: PanelTile, { transposeA }: MatmulText, k: number): string {
  if (transposeA) return `subgroupBroadcast(a${Math.floor(k / lanes)}, ${k % lanes}u)`;
  const vector = Math.floor(k / 4);
  return `subgroupBroadcast(a${Math.floor(vector / lanes)}.${PART[k % 4]}, ${vector % lanes}u)`;
}

/** What a lane adds to row r's sum: of transposed A its elements, of plain A their squares. Nothing asks for the other two. */
function rowSumOf(tile: PanelTile, text: MatmulText): string {
  const ofLoad = (i: number) => (text.transposeA ? `a${i}` : `dot(a${i}, a${i})`);
  return Array.from({ length: loadCount(tile, text) }, (_, i) => ofLoad(i)).join(" + ");
}

/** Stores row r: `sum`, and of the lanes' `row_sum` what their total is for. */
function finished({ lanes }: PanelTile, text: MatmulText): string {
  const row = text.rowSum
    ? `${joined("row_total", "row_sum", lanes, added)}
      let row_value = ${rowValue(text, "row_total")};
      if (column == 0u) { ${finishRow(text, "r", "row_value")} }`
    : "";
  return `${row}
      finish(part, r, column, ${scaled(text, "sum", "row_value")});`;
}
