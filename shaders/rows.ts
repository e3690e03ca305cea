/**
 * Row-wise kernels: how rows map to invocations, and sums over one row.
 *
 * GPU: one workgroup of 128 invocations a row, tree reduction in shared memory (512 bytes, fixed order).
 * CPU adapters: one invocation a row, no shared memory and no barrier; a workgroup holds 16 rows.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

export interface RowLayout {
  /** Invocations that share a row. */
  readonly lanes: number;
  /** Rows of one workgroup. */
  readonly rows: number;
}

export function rowLayout(isSoftware: boolean): RowLayout {
  return isSoftware ? { lanes: 1, rows: 16 } : { lanes: 128, rows: 1 };
}

/** `row_sum(value, lane)`: the sum over the lanes of a row, the same in every lane. Barriers: before reuse and at each tree level. */
export function rowSum({ lanes }: RowLayout): string {
  if (lanes === 1) return "fn row_sum(value: f32, lane: u32) -> f32 { return value; }";
  return wgsl`
var<workgroup> row_partial: array<f32, ${lanes}>;
fn row_sum(value: f32, lane: u32) -> f32 {
  workgroupBarrier(); // earlier readers of row_partial are done
  row_partial[lane] = value;
  for (var width = ${lanes / 2}u; width > 0u; width /= 2u) {
    workgroupBarrier(); // the level below is complete
    if (lane < width) { row_partial[lane] += row_partial[lane + width]; }
  }
  workgroupBarrier(); // the root is complete
  return row_partial[0];
}`;
}

/** Entry point head: declares `row` (uniform in a workgroup when it has one row) and `lane`, and returns past the last row. */
export function rowEntry({ lanes, rows }: RowLayout, rowCount: string): string {
  return wgsl`
@compute @workgroup_size(${lanes * rows})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
#if ${lanes === 1}
  let lane = 0u;
  let row = workgroup_index(group, groups) * ${rows}u + local;
#else
  let lane = local;
  let row = workgroup_index(group, groups);
#endif
  if (row >= ${rowCount}) { return; }`;
}

/** Values that one lane adds before it adds their sum to the others': errors of float32 grow with the terms added in a row. */
const BLOCK = 256;

/**
 * Adds a term for each column `lane`, `lane` + lanes, ... below `count` to the variable `sums`. A lane that owns a whole row
 * adds blocks of 256 columns by themselves, so that a vocabulary of 150,000 costs the error of some 850 additions.
 * @param term statements that declare `term`, of the column `c`
 */
export function addColumns({ lanes }: RowLayout, type: string, count: string, term: string): string {
  const add = (from: string, to: string, into: string) => `for (var c = ${from}; c < ${to}; c += ${lanes}u) {
${term}
    ${into} += term;
  }`;
  if (lanes > 1) return `  ${add("lane", count, "sums")}`;
  return `  for (var block_start = 0u; block_start < ${count}; block_start += ${BLOCK}u) {
  var part = ${type}(0.0);
  ${add("block_start", `min(block_start + ${BLOCK}u, ${count})`, "part")}
  sums += part;
  }`;
}
