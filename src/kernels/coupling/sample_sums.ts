/** Grams, weighted sums and dot products of per-sample gradients, in the plans of observers. */
import * as shader from "../../../shaders/coupling/sample_sums.js";
import { rowLayout } from "../../../shaders/rows.js";
import type { ArrayView, KernelUnit } from "../engine/op.js";
import type { KernelRunner } from "../matmul/matmul_into.js";

/** Gradients of S samples with respect to some rows of a parameter, and where these rows lie in it. */
export interface SampleRegion {
  /** [S, pitch] */
  readonly x: ArrayView;
  /** Elements of a sample before the R rows of C elements. */
  readonly start: number;
  readonly R: number;
  readonly C: number;
  /** Row r is row `origin` + `stride` r of the parameter; or row rowOf[origin + r]. */
  readonly origin: number;
  readonly stride: number;
  readonly rowOf?: ArrayView | undefined;
}

const ceil = (count: number): number => Math.ceil(count / shader.WORKGROUP);

const addPartsUnit: KernelUnit = {
  op: "coupling",
  scalars: { S: "u32", origin: "u32", first: "u32", end: "u32" },
  kernel: {
    entry: "add_parts",
    shader: shader.addParts,
    reads: ["parts"],
    writes: ["gram"],
    workgroups: ({ S }) => ceil(S * S),
  },
};

/** gram[at] += sum of the symmetric parts [P, S, S] from `first` to `end`, of which j >= i is read. @param gram [., S, S] */
export function addPartsInto(
  runner: KernelRunner,
  { gram, parts }: Readonly<Record<"gram" | "parts", ArrayView>>,
  { at, first, end }: Readonly<Record<"at" | "first" | "end", number>>,
): void {
  const S = parts.shape[1] as number;
  runner.run(addPartsUnit, { gram, parts }, { S, origin: at * S * S, first, end });
}

const sizes = {
  S: "u32",
  C: "u32",
  R: "u32",
  pitch: "u32",
  start: "u32",
  origin: "u32",
  stride: "u32",
} as const;
const widthOf = ({ C, start }: SampleRegion): 1 | 4 => (C % 4 === 0 && start % 4 === 0 ? 4 : 1);

function sizesOf(region: SampleRegion, width: 1 | 4) {
  const [S, pitch] = region.x.shape as [number, number];
  const { R, C, start, origin, stride } = region;
  return { S, C: C / width, R, pitch: pitch / width, start: start / width, origin, stride, width };
}

const typeOf = (width: number | undefined): string => (width === 4 ? "vec4<f32>" : "f32");

const weightedUnit: KernelUnit = {
  op: "coupling",
  scalars: sizes,
  kernel: {
    entry: "weighted",
    constants: ["width"],
    shader: ({ constants, has }) => shader.weighted(typeOf(constants.width), has("row_of")),
    reads: ["x", "coefficient", "row_of"],
    writes: ["d_y"],
    elements: ({ constants }) => ({ x: typeOf(constants.width), d_y: typeOf(constants.width) }),
    workgroups: ({ R, C }) => ceil((R as number) * (C as number)),
  },
};
const SUM: ReadonlySet<string> = new Set(["d_y"]);

/** Rows of y (+)= sum over samples of coefficient[s] times their gradients. @param y the parameter's gradient */
export function weightedSumInto(
  runner: KernelRunner,
  region: SampleRegion,
  coefficient: ArrayView,
  { view: d_y, accumulate }: { readonly view: ArrayView; readonly accumulate: boolean },
): void {
  const views = { x: region.x, coefficient, row_of: region.rowOf, d_y };
  runner.run(weightedUnit, views, sizesOf(region, widthOf(region)), accumulate ? SUM : undefined);
}

/** Directions that one launch takes: more would need more bindings than WebGPU promises. */
export const MOST_DIRECTIONS = 4;

const dotsUnit: KernelUnit = {
  op: "coupling",
  scalars: { ...sizes, first: "u32", end: "u32" },
  kernel: {
    entry: "dots",
    constants: ["width", "D", "strided"],
    shader: ({ constants, has, facts }) =>
      shader.dots(
        rowLayout(facts.isSoftware),
        constants.width === 4 ? 4 : 1,
        constants.D as number,
        has("row_of"),
        constants.strided === 1,
      ),
    reads: [
      "x",
      "part_offset",
      "row_of",
      ...Array.from({ length: MOST_DIRECTIONS }, (_, d) => `direction${d}`),
    ],
    writes: ["dots"],
    elements: ({ constants }) =>
      Object.fromEntries(
        ["x", ...Array.from({ length: MOST_DIRECTIONS }, (_, d) => `direction${d}`)].map((name) => [
          name,
          typeOf(constants.width),
        ]),
      ),
    workgroups: ({ first, end, S }, { isSoftware }) =>
      Math.ceil((((end as number) - (first as number)) * (S as number)) / rowLayout(isSoftware).rows),
  },
};
const addDotsUnit: KernelUnit = {
  op: "coupling",
  scalars: { S: "u32", D: "u32", origin: "u32", first: "u32", end: "u32" },
  kernel: {
    entry: "add_dots",
    shader: shader.addDots,
    reads: ["dots"],
    writes: ["sums"],
    workgroups: ({ S, D }) => ceil((S as number) * (D as number)),
  },
};

export interface SampleDots {
  /** u32, in floats of x: parts `first` to `end` are the region's. */
  readonly partOffset: ArrayView;
  readonly first: number;
  readonly end: number;
  /** Arrays of the parameter's shape. At most MOST_DIRECTIONS. */
  readonly directions: readonly ArrayView[];
  /** [., S, D + 1]: <g, direction> of each direction and |g|^2 are added to number `at` of them. */
  readonly sums: ArrayView;
  readonly at: number;
}

/** Dot products of the region's gradients with directions, and with themselves. */
export function dotsInto(
  runner: KernelRunner & Required<Pick<KernelRunner, "scratch">>,
  region: SampleRegion,
  { partOffset, first, end, directions, sums, at }: SampleDots,
): void {
  const [S] = region.x.shape as [number];
  const D = directions.length;
  const strided = Number(region.stride !== 1 && region.rowOf === undefined);
  const dots = runner.scratch("dots", [end, S, D + 1]);
  const named = Object.fromEntries(directions.map((view, d) => [`direction${d}`, view]));
  const views = { x: region.x, part_offset: partOffset, row_of: region.rowOf, ...named, dots };
  runner.run(dotsUnit, views, { ...sizesOf(region, widthOf(region)), D, strided, first, end });
  const origin = at * S * (D + 1);
  runner.run(addDotsUnit, { dots, sums }, { S, D: D + 1, origin, first, end });
}
