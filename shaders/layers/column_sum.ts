/**
 * Sums over the rows of a matrix [N, C], in two passes of fixed order.
 * Pass 1: workgroup (part, block) adds rows [part * R, part * R + R) of 64 channels, one channel an invocation.
 * Pass 2: one channel an invocation adds the parts in ascending order.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

export function partial(): string {
  return wgsl`
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups);
  let blocks = (params.C + 63u) / 64u;
  let part = index / blocks;
  let c = (index % blocks) * 64u + local;
  if (part >= params.P || c >= params.C) { return; }
  var sum = 0.0;
  for (var row = part * params.R; row < min(params.N, (part + 1u) * params.R); row++) { sum += read_x(row * params.C + c); }
  partial[part * params.C + c] = sum;
}`;
}

export function total(): string {
  return wgsl`
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let c = workgroup_index(group, groups) * 64u + local;
  if (c >= params.C) { return; }
  var sum = 0.0;
  for (var part = 0u; part < params.P; part++) { sum += partial[part * params.C + c]; }
  store_d_y(c, sum);
}`;
}
