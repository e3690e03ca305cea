/**
 * Log-softmax of whole rows of logits [N, V]; see rows.ts for how rows map to invocations. Reductions: each lane adds its
 * columns in ascending order, lanes as a fixed tree (sums) or in the order of row_reduce.ts (maximum).
 * GPU: 1,024 bytes of shared memory.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { rowReduce } from "../row_reduce.js";
import { type RowLayout, rowEntry, rowSum } from "../rows.js";

/** Log-probability of one column, entropy, and log-sum-exp of the scaled logits, of one row. */
export function forward(layout: RowLayout): string {
  const columns = `for (var v = lane; v < params.V; v += ${layout.lanes}u)`;
  return wgsl`
${rowSum(layout)}
${rowReduce(layout, "row_max", "f32", "max")}
${rowEntry(layout, "params.N")}
  let start = row * params.V;
  var largest = -3.0e38;
  ${columns} { largest = max(largest, logits[start + v] / params.temperature); }
  largest = row_max(largest, lane);
  var exponentials = 0.0;
  var weighted = 0.0;
  ${columns} {
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
}`;
}

/** d_logits = (d_log_prob ([v is the chosen column] - p) - d_entropy p (log p + entropy)) / temperature; an invocation an element. */
export function backward(): string {
  return wgsl`
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let element = workgroup_index(group, groups) * 64u + local;
  let row = element / params.V;
  if (row >= params.N) { return; }
  let log_p = logits[element] / params.temperature - log_sum_exp[row];
  let p = exp(log_p);
  let hit = select(0.0, 1.0, element % params.V == label[row]);
  store_d_logits(element, (d_log_prob[row] * (hit - p) - d_entropy[row] * p * (log_p + entropy[row])) / params.temperature);
}`;
}
