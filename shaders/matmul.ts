/** Matrix product: one invocation owns one element of y. No shared memory; K is added in ascending order. */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

export interface MatmulText {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly bias: boolean;
}

export function matmul({ transposeA, transposeB, bias }: MatmulText): string {
  return wgsl`
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * 64u + local;
  if (index >= params.B * params.M * params.N) { return; }
  let column = index % params.N;
  let row = (index / params.N) % params.M;
  let batch = index / (params.N * params.M);
  var sum = 0.0;
  for (var k = 0u; k < params.K; k++) {
    let left = a[batch * params.M * params.K + ${transposeA ? "k * params.M + row" : "row * params.K + k"}];
    let right = b[batch * params.K * params.N + ${transposeB ? "column * params.K + k" : "k * params.N + column"}];
    sum += left * right;
  }
#if ${bias}
  sum += bias[column];
#endif
  store_d_y(index, sum);
}`;
}
