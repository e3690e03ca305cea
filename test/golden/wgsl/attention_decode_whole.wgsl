// attention_decode.whole
struct Params {
  B: u32,
  T: u32,
  parts: u32,
  E: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read> key_cache: array<f32>;
@group(0) @binding(4) var<storage, read> value_cache: array<f32>;
@group(0) @binding(5) var<storage, read> slot: array<u32>;
@group(0) @binding(6) var<storage, read> position: array<u32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;
fn read_qkv(index: u32) -> f32 { return qkv[index]; }
fn read_key_cache(index: u32) -> f32 { return key_cache[index]; }
fn read_value_cache(index: u32) -> f32 { return value_cache[index]; }
fn write_y(index: u32, value: f32) { y[index] = value; }
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }

var<workgroup> queries: array<f32, 6>;
var<workgroup> scores: array<f32, 128>;
var<workgroup> maxima: array<f32, 16>;
var<workgroup> tops: array<f32, 1>;
@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let index = workgroup_index(group, groups);
  let tasks = params.B * 1u;
  let part = index / tasks;
  let row = (index % tasks) / 1u;
  let head = (index % 1u) * 1u;
  let first = part * 128u;
  let place = position[row];
  if (part >= params.parts || first > place) { return; }
  let keys = min(128u, place + 1u - first);
  let query = (row * 3u + head) * 6u;
  let key_at = ((slot[row] * params.T + first) * 1u + head / 1u) * 6u;
  let result = row;
  for (var i = lane; i < 3u; i += 128u) {
    let e = i % 3u;
    let at = i / 3u * 6u + e;
    let angles = place * 6u + e;
    let a = read_qkv(query + at);
    let b = read_qkv(query + at + 3u);
    let cosine = table[angles] * 0.5889777841036123;
    let sine = table[angles + 3u] * 0.5889777841036123;
    queries[at] = a * cosine - b * sine;
    queries[at + 3u] = b * cosine + a * sine;
  }
  workgroupBarrier(); // the queries are complete
  let at = key_at + min(lane, keys - 1u) * 6u;
  var s_0 = 0.0;
  for (var e = 0u; e < 6u; e++) {
    let key = read_key_cache(at + e);
    s_0 += queries[0u + e] * key;
  }
  s_0 = select(-1e30, s_0, lane < keys);
  scores[0u + lane] = s_0;
  workgroupBarrier(); // the scores are complete
  if (lane < 16u) {
    var top = -1e30;
    for (var i = 0u; i < 8u; i++) { top = max(top, scores[lane * 8u + i]); }
    maxima[lane] = top;
  }
  workgroupBarrier(); // the first round is complete
  if (lane < 1u) {
    var top = -1e30;
    for (var i = 0u; i < 16u; i++) { top = max(top, maxima[lane * 16u + i]); }
    tops[lane] = top;
  }
  workgroupBarrier(); // the maxima are complete
  scores[0u + lane] = exp2(s_0 - tops[0]);
  workgroupBarrier(); // the weights are complete
  if (lane + 0u < 6u) {
    let r = (lane + 0u) / 6u;
    let e = (lane + 0u) % 6u;
    var total = 0.0;
    var sum = f32();
    for (var j = 0u; j < keys; j++) {
      let weight = scores[r * 128u + j];
      total += weight;
      sum += weight * read_value_cache(key_at + j * 6u + e);
    }
    write_y((result * 1u + head + r) * 6u + e, sum / total);

  }
}