/** Matrix hardware in plain WGSL, so that the kernels for it run on adapters without: each lane has its elements of a result
 *  matrix, and a factor is the place in shared memory where it was to be loaded from. */

const LOAD =
  /subgroupMatrixLoad<\s*subgroup_matrix_(left|right)<f16, (\d+), (\d+)>, (row|col)_major>\(&tile_[ab], (.*), (\d+)u\);/g;

/** @param code of a module with shared arrays `tile_a`, `tile_b` (f16), `results` (f32) and an own `lane`
 *  @returns the same module without subgroup matrices; unchanged when it has none */
export function withoutMatrixHardware(code: string, subgroupSize: number): string {
  if (!code.includes("subgroupMatrixLoad")) return code;
  const [left, right] = ["left", "right"].map((wanted) => {
    const found = [...code.matchAll(LOAD)].find(([, side]) => side === wanted) as RegExpExecArray;
    const [, , columns, rows, order, , stride] = found;
    const at = (row: string, column: string) =>
      order === "row" ? `${row} * ${stride}u + ${column}` : `${column} * ${stride}u + ${row}`;
    return { columns: Number(columns), rows: Number(rows), at };
  });
  const [M, N, K] = [left.rows, right.columns, left.columns];
  const own = (M * N) / subgroupSize;
  const result = `array<f32, ${own}>`;
  const plain = code
    .replace(/^(enable (subgroups|chromium_\w+)|diagnostic\(.*\));$/gm, "")
    .replaceAll(`subgroup_matrix_result<f32, ${N}, ${M}>`, result)
    .replace(LOAD, "$5;")
    .replace(/let lane = .*;/, "$& emulated_lane = lane;")
    .replaceAll("subgroupMatrixMultiplyAccumulate(", "emulated_multiply(")
    .replaceAll("subgroupMatrixStore<row_major>(&results,", "emulated_store(");
  return `${plain}
var<private> emulated_lane: u32;
fn emulated_multiply(left: u32, right: u32, sum: ${result}) -> ${result} {
  var m = sum;
  for (var i = 0u; i < ${own}u * min(params.B, 1u); i++) {
    let row = (emulated_lane * ${own}u + i) / ${N}u;
    let column = (emulated_lane * ${own}u + i) % ${N}u;
    // the bound is always K, but no compiler knows: unrolled, this takes minutes to compile
    for (var k = 0u; k < ${K}u * min(params.B, 1u); k++) {
      m[i] += f32(tile_a[left + ${left.at("row", "k")}]) * f32(tile_b[right + ${right.at("k", "column")}]);
    }
  }
  return m;
}
fn emulated_store(offset: u32, value: ${result}, stride: u32) {
  var m = value;
  for (var i = 0u; i < ${own}u; i++) {
    let row = (emulated_lane * ${own}u + i) / ${N}u;
    results[offset + row * stride + (emulated_lane * ${own}u + i) % ${N}u] = m[i];
  }
}`;
}
