// sample.draw
struct Params {
  B: u32,
  V: u32,
  is_top_k: u32,
  is_top_p: u32,
  temperature: f32,
  top_k: u32,
  top_p: f32,
  seed: u32,
  seed_high: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> stream: array<u32>;
@group(0) @binding(3) var<storage, read> counter: array<u32>;
@group(0) @binding(4) var<storage, read_write> token: array<u32>;
@group(0) @binding(5) var<storage, read_write> log_prob: array<f32>;
@group(0) @binding(6) var<storage, read_write> entropy: array<f32>;

fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }


fn multiply_high(x: u32, y: u32) -> u32 {
  let x_low = x & 0xffffu;
  let x_high = x >> 16u;
  let y_low = y & 0xffffu;
  let y_high = y >> 16u;
  let middle = x_high * y_low + ((x_low * y_low) >> 16u);
  let other = x_low * y_high + (middle & 0xffffu);
  return x_high * y_high + (middle >> 16u) + (other >> 16u);
}
fn uniform_of(start: vec4<u32>) -> f32 {
  var words = start;
  var key = vec2<u32>(params.seed, params.seed_high);
  for (var round = 0u; round < 10u; round++) {
    let high0 = multiply_high(0xd2511f53u, words.x);
    let high1 = multiply_high(0xcd9e8d57u, words.z);
    words = vec4<u32>(high1 ^ words.y ^ key.x, 0xcd9e8d57u * words.z, high0 ^ words.w ^ key.y, 0xd2511f53u * words.x);
    key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
  }
  return (f32(words.x >> 9u) + 0.5) * 0.00000011920928955078125;
}

fn key_of(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  if (bits == 0x80000000u) { return 0x80000000u; }
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

var<workgroup> row_sum_values: array<f32, 256>;
fn row_sum(value: f32, lane: u32) -> f32 {
  workgroupBarrier(); // earlier readers are done
  row_sum_values[lane] = value;
  workgroupBarrier(); // every lane's value is there
  if (lane < 16u) {
    var part = row_sum_values[lane];
    for (var i = lane + 16u; i < 256u; i += 16u) { part = part + row_sum_values[i]; }
    row_sum_values[lane] = part;
  }
  workgroupBarrier(); // every group's value is there
  var all = row_sum_values[0];
  for (var i = 1u; i < 16u; i++) { all = all + row_sum_values[i]; }
  return all;
}

var<workgroup> row_sums_values: array<vec2<f32>, 256>;
fn row_sums(value: vec2<f32>, lane: u32) -> vec2<f32> {
  workgroupBarrier(); // earlier readers are done
  row_sums_values[lane] = value;
  workgroupBarrier(); // every lane's value is there
  if (lane < 16u) {
    var part = row_sums_values[lane];
    for (var i = lane + 16u; i < 256u; i += 16u) { part = part + row_sums_values[i]; }
    row_sums_values[lane] = part;
  }
  workgroupBarrier(); // every group's value is there
  var all = row_sums_values[0];
  for (var i = 1u; i < 16u; i++) { all = all + row_sums_values[i]; }
  return all;
}

var<workgroup> row_max_values: array<u32, 256>;
fn row_max(value: u32, lane: u32) -> u32 {
  workgroupBarrier(); // earlier readers are done
  row_max_values[lane] = value;
  workgroupBarrier(); // every lane's value is there
  if (lane < 16u) {
    var part = row_max_values[lane];
    for (var i = lane + 16u; i < 256u; i += 16u) { part = max(part, row_max_values[i]); }
    row_max_values[lane] = part;
  }
  workgroupBarrier(); // every group's value is there
  var all = row_max_values[0];
  for (var i = 1u; i < 16u; i++) { all = max(all, row_max_values[i]); }
  return all;
}

var<workgroup> row_min_values: array<u32, 256>;
fn row_min(value: u32, lane: u32) -> u32 {
  workgroupBarrier(); // earlier readers are done
  row_min_values[lane] = value;
  workgroupBarrier(); // every lane's value is there
  if (lane < 16u) {
    var part = row_min_values[lane];
    for (var i = lane + 16u; i < 256u; i += 16u) { part = min(part, row_min_values[i]); }
    row_min_values[lane] = part;
  }
  workgroupBarrier(); // every group's value is there
  var all = row_min_values[0];
  for (var i = 1u; i < 16u; i++) { all = min(all, row_min_values[i]); }
  return all;
}

var<workgroup> range_mass: array<f32, 256>;


@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {

  let lane = local;
  let row = workgroup_index(group, groups);

  if (row >= params.B) { return; }
  let start = row * params.V;
  var lane_key = 0u;
  var lane_best = 0u;
  for (var v = lane; v < params.V; v += 256u) {
    let key = key_of(logits[start + v]);
    if (key > lane_key) {
      lane_key = key;
      lane_best = v;
    }
  }
  let top_key = row_max(lane_key, lane);
  let best = row_min(select(0xffffffffu, lane_best, lane_key == top_key), lane);
  let top = logits[start + best];
  let is_greedy = params.temperature == 0.0;
  let inverse = select(1.0 / params.temperature, 1.0, is_greedy);
  var sums = vec2<f32>(0.0);
  for (var c = lane; c < params.V; c += 256u) {
    let shifted = (logits[start + c] - top) * inverse;
    let e = exp(shifted);
    let term = vec2<f32>(e, e * shifted);
    sums += term;
  }
  sums = row_sums(sums, lane);
  var chosen = best;
  if (!is_greedy) {
    var threshold = 0u;


    let span = (params.V + 255u) / 256u;
    var mass = 0.0;
    for (var v = lane * span; v < min((lane + 1u) * span, params.V); v++) {
      let logit = logits[start + v];
      if (key_of(logit) >= threshold) { mass += exp((logit - top) * inverse); }
    }
    var reached = 0.0;
    var first = 0u;

    range_mass[lane] = mass;
    workgroupBarrier(); // every range's mass is there
    mass = 0.0;
    for (var range = 0u; range < 256u; range++) { mass += range_mass[range]; }

    let goal = uniform_of(vec4<u32>(counter[row], stream[row], 0u, 0u)) * mass;

    // the range that passes the goal; where rounding lets none pass it, the last one with any mass
    var total = 0.0;
    for (var range = 0u; range < 256u; range++) {
      let here = range_mass[range];
      if (here > 0.0 && total <= goal) {
        reached = total;
        first = range * span;
      }
      total += here;
    }

    if (lane == 0u) {
      var is_found = false;
      for (var v = first; v < min(first + span, params.V) && !is_found; v++) {
        let logit = logits[start + v];
        if (key_of(logit) >= threshold) {
          let e = exp((logit - top) * inverse);
          reached += e;
          if (e > 0.0) { chosen = v; }
          is_found = reached > goal;
        }
      }
    }
  }
  if (lane == 0u) {
    let log_sum = log(sums.x);
    token[row] = chosen;
    log_prob[row] = (logits[start + chosen] - top) * inverse - log_sum;
    entropy[row] = log_sum - sums.y / sums.x;
  }
}