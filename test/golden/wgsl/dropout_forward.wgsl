// dropout.forward
struct Params {
  N: u32,
  C: u32,
  rate: f32,
  scale: f32,
  seed: u32,
  seed_high: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
fn read_x(index: u32) -> f32 { return x[index]; }
fn write_y(index: u32, value: f32) { y[index] = value; }
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
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let element = workgroup_index(group, groups) * 64u + local;
  if (element >= params.N * params.C) { return; }
  let kept = uniform_of(vec4<u32>(element, 0u, 0u, 0u)) >= params.rate;
  let factor = select(0.0, params.scale / (1.0 - params.rate), kept);
  write_y(element, factor * read_x(element));
}