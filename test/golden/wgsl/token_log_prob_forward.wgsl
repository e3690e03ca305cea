// token_log_prob.forward
struct Params {
  N: u32,
  V: u32,
  temperature: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> label: array<u32>;
@group(0) @binding(3) var<storage, read_write> log_prob: array<f32>;
@group(0) @binding(4) var<storage, read_write> entropy: array<f32>;
@group(0) @binding(5) var<storage, read_write> log_sum_exp: array<f32>;

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

  if (row >= params.N) { return; }
  let start = row * params.V;
  var largest = -3.0e38;
  for (var v = lane; v < params.V; v += 128u) { largest = max(largest, logits[start + v] / params.temperature); }
  largest = row_max(largest, lane);
  var exponentials = 0.0;
  var weighted = 0.0;
  for (var v = lane; v < params.V; v += 128u) {
    // relative to the largest: sums keep their digits however large logits are
    let shifted = logits[start + v] / params.temperature - largest;
    exponentials += exp(shifted);
    weighted += exp(shifted) * shifted;
  }
  let total = row_sum(exponentials, lane);
  let mean = row_sum(weighted, lane) / total;
  if (lane == 0u) {
    log_prob[row] = logits[start + label[row]] / params.temperature - largest - log(total);
    entropy[row] = log(total) - mean;
    log_sum_exp[row] = largest + log(total);
  }
}