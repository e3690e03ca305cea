// policy_loss.total
struct Params {
  P: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> stats: array<f32>;

fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }


var<workgroup> row_partial: array<f32, 128>;
fn row_sum(value: f32, lane: u32) -> f32 {
  workgroupBarrier(); // earlier readers of row_partial are done
  row_partial[lane] = value;
  for (var width = 64u; width > 0u; width /= 2u) {
    workgroupBarrier(); // the level below is complete
    if (lane < width) { row_partial[lane] += row_partial[lane + width]; }
  }
  workgroupBarrier(); // the root is complete
  return row_partial[0];
}

var<workgroup> row_max_values: array<f32, 128>;
fn row_max(value: f32, lane: u32) -> f32 {
  workgroupBarrier(); // earlier readers are done
  row_max_values[lane] = value;
  workgroupBarrier(); // every lane's value is there
  if (lane < 8u) {
    var part = row_max_values[lane];
    for (var i = lane + 8u; i < 128u; i += 8u) { part = max(part, row_max_values[i]); }
    row_max_values[lane] = part;
  }
  workgroupBarrier(); // every group's value is there
  var all = row_max_values[0];
  for (var i = 1u; i < 8u; i++) { all = max(all, row_max_values[i]); }
  return all;
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {

  let lane = local;
  let row = workgroup_index(group, groups);

  if (row >= 24u) { return; }
  var sum = 0.0;
  var largest = 0.0;
  for (var line = lane; line < params.P; line += 128u) {
    let value = partial[line * 24u + row];
    sum += value;
    largest = max(largest, value);
  }
  sum = row_sum(sum, lane);
  largest = row_max(largest, lane);
  if (lane == 0u) { stats[row] = select(sum, largest, row % 12u == 11u); }
}