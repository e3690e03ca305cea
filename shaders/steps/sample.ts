/**
 * Draws one token a row. GPU: one workgroup of 256 invocations a row, 6 KiB of shared memory; CPU adapters: one
 * invocation a row. The token does not depend on the layout but for rounding: cumulated mass runs in ascending id.
 * Reductions: lanes add ids lane, lane + lanes, ... in ascending order (sums of the distribution by `addColumns`), lanes as in
 * row_reduce.ts; the cumulated mass is added over one contiguous range of ids a lane, and the ranges in ascending order.
 */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { philox } from "../philox.js";
import { rowReduce } from "../row_reduce.js";
import { addColumns, type RowLayout, rowEntry } from "../rows.js";

export function sampleLayout(isSoftware: boolean): RowLayout {
  return isSoftware ? { lanes: 1, rows: 8 } : { lanes: 256, rows: 1 };
}

/** `key_of(value)`: integers in the order of the floats, with -0 = 0. */
const keyOf = `
fn key_of(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  if (bits == 0x80000000u) { return 0x80000000u; }
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}`;

/** Largest threshold, bit by bit, whose tokens at or above it still have `enough`. Fixed trip counts keep barriers uniform. */
function bisect(layout: RowLayout, value: string, enough: string): string {
  return wgsl`
    var found = 0u;
    for (var bit = 0u; bit < 32u; bit++) {
      let candidate = found | (0x80000000u >> bit);
      var part = 0.0;
      for (var v = lane; v < params.V; v += ${layout.lanes}u) {
        let logit = logits[start + v];
        if (key_of(logit) >= max(candidate, threshold)) { part += ${value}; }
      }
      if (row_sum(part, lane) >= ${enough}) { found = candidate; }
    }
    threshold = max(threshold, found);`;
}

/** Which tokens a draw is restricted to, beyond the temperature. */
export interface Truncation {
  readonly topK: boolean;
  readonly topP: boolean;
}

export function draw(layout: RowLayout, { topK, topP }: Truncation): string {
  const { lanes } = layout;
  return wgsl`
${philox}
${keyOf}
${rowReduce(layout, "row_sum", "f32", "sum")}
${rowReduce(layout, "row_sums", "vec2<f32>", "sum")}
${rowReduce(layout, "row_max", "u32", "max")}
${rowReduce(layout, "row_min", "u32", "min")}
#if ${lanes > 1}
var<workgroup> range_mass: array<f32, ${lanes}>;
#endif
${rowEntry(layout, "params.B")}
  let start = row * params.V;
  var lane_key = 0u;
  var lane_best = 0u;
  for (var v = lane; v < params.V; v += ${lanes}u) {
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
${addColumns(
  layout,
  "vec2<f32>",
  "params.V",
  `    let shifted = (logits[start + c] - top) * inverse;
    let e = exp(shifted);
    let term = vec2<f32>(e, e * shifted);`,
)}
  sums = row_sums(sums, lane);
  var chosen = best;
  if (!is_greedy) {
    var threshold = 0u;
#if ${topK}
    {${bisect(layout, "1.0", "f32(params.top_k)")}
    }
#endif
#if ${topP}
    {
      var kept = 0.0;
      for (var v = lane; v < params.V; v += ${lanes}u) {
        let logit = logits[start + v];
        if (key_of(logit) >= threshold) { kept += exp((logit - top) * inverse); }
      }
      let wanted = params.top_p * row_sum(kept, lane);${bisect(layout, "exp((logit - top) * inverse)", "wanted")}
    }
#endif
    let span = (params.V + ${lanes - 1}u) / ${lanes}u;
    var mass = 0.0;
    for (var v = lane * span; v < min((lane + 1u) * span, params.V); v++) {
      let logit = logits[start + v];
      if (key_of(logit) >= threshold) { mass += exp((logit - top) * inverse); }
    }
    var reached = 0.0;
    var first = 0u;
#if ${lanes > 1}
    range_mass[lane] = mass;
    workgroupBarrier(); // every range's mass is there
    mass = 0.0;
    for (var range = 0u; range < ${lanes}u; range++) { mass += range_mass[range]; }
#endif
    let goal = uniform_of(vec4<u32>(counter[row], stream[row], 0u, 0u)) * mass;
#if ${lanes > 1}
    // the range that passes the goal; where rounding lets none pass it, the last one with any mass
    var total = 0.0;
    for (var range = 0u; range < ${lanes}u; range++) {
      let here = range_mass[range];
      if (here > 0.0 && total <= goal) {
        reached = total;
        first = range * span;
      }
      total += here;
    }
#endif
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
}`;
}
