/** Adds the parts of a product whose K range was split: partial [B, P, M, N] -> y [B, M, N], parts in ascending order. One
 *  invocation owns four neighbouring elements of y (one, when N is not a multiple of 4); no shared memory. */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { type MatmulText, storeText } from "./matmul_lanes.js";

export function matmulSum({
  vectorY,
  bias,
  output,
}: Pick<MatmulText, "vectorY" | "bias" | "output">): string {
  const width = vectorY ? 4 : 1;
  return wgsl`
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = workgroup_index(group, groups) * 64u + local;
  let size = params.M * params.N / ${width}u;
  if (index >= params.B * size) { return; }
  let start = index / size * params.P * size + index % size;
  var sum = partial[start];
  for (var part = 1u; part < params.P; part++) { sum += partial[start + part * size]; }
#if ${bias}
  sum += bias[index % (params.N / ${width}u)];
#endif
  ${storeText(output, "index", "sum")}
}`;
}
