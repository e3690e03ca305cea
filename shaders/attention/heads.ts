/** Columns of heads as matrices of their own, and back: one invocation moves one element. No shared memory. */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { elementEntry } from "../layers/columns.js";

/** y[h, n, d] = x[n, first + floor(h / group_size) D + d]. */
export function split(): string {
  return wgsl`${elementEntry("params.D", "params.H * params.N")}
  let h = row / params.N;
  write_y(element, read_x((row % params.N) * params.C + params.first + (h / params.group_size) * params.D + column));
}`;
}

/** d_x[n, c]: d_y of the heads that read the column, in ascending order; 0 where none did. */
export function splitBackward(): string {
  return wgsl`${elementEntry("params.C")}
  let place = column - params.first; // wraps far beyond the heads for columns before the first
  let lowest = place / params.D * params.group_size;
  var upstream = 0.0;
  if (place < params.H / params.group_size * params.D) {
    for (var h = lowest; h < lowest + params.group_size; h++) {
      upstream += read_d_y((h * params.N + row) * params.D + place % params.D);
    }
  }
  store_d_x(element, upstream);
}`;
}

/** y[n, h D + d] = x[h, n, d]. */
export function join(): string {
  return wgsl`${elementEntry("params.W")}
  write_y(element, read_x(((column / params.D) * params.N + row) * params.D + column % params.D));
}`;
}

export function joinBackward(): string {
  return wgsl`${elementEntry("params.D", "params.H * params.N")}
  store_d_x(element, read_d_y((row % params.N) * params.W + (row / params.N) * params.D + column));
}`;
}
