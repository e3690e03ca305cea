// rope.forward
struct Params {
  N: u32,
  W: u32,
  P: u32,
  D: u32,
  heads: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> position: array<u32>;
@group(0) @binding(3) var<storage, read> table: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
fn read_x(index: u32) -> f32 { return x[index]; }
fn write_y(index: u32, value: f32) { y[index] = value; }
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * 64u + local;
  let row = index / 1u;
  if (row >= params.N) { return; }
  let column = index % 1u;
  let angles = position[row] * 2u + column;
  let cosine = table[angles];
  let sine: f32 = table[angles + 1u];
  for (var head = 0u; head < 3u; head++) {
    let at = (row * 3u + head) * 2u + column;
    let a = read_x(at);
    let b = read_x(at + 1u);
    write_y(at, a * cosine - b * sine);
    write_y(at + 1u, b * cosine + a * sine);
  }
}