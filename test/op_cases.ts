/** One row per op: sizes to try, how inputs are drawn, tolerances. Op-completeness is checked against the registry. */
import type { Random } from "../src/core/random.js";
import * as kernels from "../src/kernels/index.js";
import type { OpDefinition, Scalars } from "../src/kernels/op.js";

/** How one input is drawn: a named distribution, or values from the random stream, all sizes and the inputs drawn before. */
export type Draw =
  | "normal"
  | "near_one"
  | ((random: Random, scalars: Scalars, drawn: Readonly<Record<string, Float64Array>>) => ArrayLike<number>);

export interface OpCase {
  readonly op: OpDefinition;
  /** Sizes of the input axes; every set is tried. */
  readonly dims: readonly Scalars[];
  /** Sets of params tried with every size; default: the declared defaults. */
  readonly params?: readonly Scalars[];
  /** Default: `normal` for floats. */
  readonly draw?: Readonly<Record<string, Draw>>;
  /** Optional inputs left out, set by set; default: all given, then all left out. */
  readonly without?: readonly (readonly string[])[];
  /** Largest allowed error relative to 1 + |expected|; default 2e-4 forward, 5e-4 gradient. */
  readonly tolerance?: { readonly forward?: number; readonly gradient?: number };
  /** Elements of each gradient checked by differences; default 12, drawn at random. */
  readonly probes?: number;
}

const row = (op: unknown, rest: Omit<OpCase, "op">): OpCase => ({ op: op as OpDefinition, ...rest });

export const opCases: readonly OpCase[] = [
  row(kernels.add, {
    dims: [
      { N: 1, C: 1 },
      { N: 3, C: 5 },
      { N: 16, C: 64 },
      { N: 5, C: 257 },
    ],
  }),
  row(kernels.gatherRows, {
    dims: [
      { N: 1, C: 1, R: 1 },
      { N: 7, C: 5, R: 3 },
      { N: 65, C: 64, R: 33 },
    ],
    draw: { index: (random, { N, R }) => random.shuffle([...Array(N).keys()]).slice(0, R) },
  }),
  row(kernels.linear, {
    dims: [
      { N: 1, I: 1, O: 1 },
      { N: 5, I: 7, O: 3 },
      { N: 31, I: 33, O: 17 },
      { N: 67, I: 64, O: 130 },
    ],
  }),
  row(kernels.rmsNorm, {
    dims: [
      { N: 1, C: 1 },
      { N: 6, C: 65 },
      { N: 15, C: 127 },
      { N: 16, C: 128 },
      { N: 67, C: 129 },
    ],
    draw: { gain: "near_one" },
  }),
];
