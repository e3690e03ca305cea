/**
 * How the workgroups of GPU kernels load an operand's tile, and how sums over the rows of A fall out of it: each invocation
 * adds up what it loads itself, one sum a row it loads from. After the last tile these partial sums go through shared
 * memory, where one invocation a row adds them in the order of the invocations.
 */
import { finishRow, type MatmulText, rowValue } from "./matmul_text.js";

export interface Loader {
  readonly name: "a" | "b";
  /** Rows of A or columns of B in a tile. */
  readonly size: number;
  readonly tileK: number;
  readonly invocations: number;
  /** Memory is contiguous along k. */
  readonly alongK: boolean;
  /** Elements that one load fetches. */
  readonly width: 1 | 4;
  readonly rowSum?: MatmulText["rowSum"];
}

/** Loads in a row of the tile's faster axis. For sums of values it must divide the invocations. */
const fastOf = ({ alongK, tileK, size, width }: Loader): number => (alongK ? tileK : size) / width;

/** Loads of a tile that each invocation does; the last may be past the end. */
export const loadCount = ({ size, tileK, width, invocations }: Loader): number =>
  Math.ceil((size * tileK) / width / invocations);

/** Declares `slot`, which load `i` of this invocation is among those of all. */
export const slotOf = ({ invocations }: Loader, i: number): string =>
  `let slot = local + ${i * invocations}u;`;

/** Where load `slot` lies in the tile: declares in_k and in_size. */
export function place(loader: Loader): string {
  const fast = fastOf(loader);
  const along = `slot % ${fast}u * ${loader.width}u`;
  const across = `slot / ${fast}u`;
  const [in_k, in_size] = loader.alongK ? [along, across] : [across, along];
  return `let in_k = ${in_k}; let in_size = ${in_size};`;
}

/**
 * All loads of a tile by an invocation; `load` takes `slot`, which is load `i`'s. Spelt out, except where operands are not
 * aligned: those are many loads, and a loop over them compiles in a fraction of the time.
 */
export function eachLoad(loader: Loader, load: (i: number) => string): string {
  const { size, tileK, width, invocations, rowSum } = loader;
  const count = (size * tileK) / width;
  if (width === 1 && rowSum !== "squares")
    return `    for (var slot = local; slot < ${count}u; slot += ${invocations}u) ${load(0)}`;
  return Array.from({ length: loadCount(loader) }, (_, i) => {
    const guard = (i + 1) * invocations > count ? `if (slot < ${count}u) ` : "";
    return `    { ${slotOf(loader, i)}\n    ${guard}${load(i)} }`;
  }).join("\n");
}

/** The factors of what a load fetched from `k`, which must exist. */
export function kScale({ alongK }: Loader, tail: boolean, k: string): string {
  if (tail) return `k_scale[${k}]`;
  return alongK ? `k_scale[${k} / 4u]` : `k_scale[${k} / 4u][${k} % 4u]`;
}

/** Sums that an invocation keeps: of squares one for each load, of values one for all, their rows being the same. */
const sumCount = (loader: Loader): number => (loader.alongK ? loadCount(loader) : 1);

/** Floats of shared memory for the sums over rows. */
export function rowSumElements(loader: Loader): number {
  if (!loader.rowSum) return 0;
  return loader.invocations * sumCount(loader) * (loader.alongK ? 1 : loader.width);
}

/** Adds what load `i` fetched, before it is scaled. */
export function addRowSum(loader: Loader, i: number, value: string): string {
  if (!loader.rowSum) return "";
  if (loader.rowSum === "values") return `row_sum0 += ${value};`;
  return `row_sum${i} += ${loader.width === 4 ? `dot(${value}, ${value})` : `${value} * ${value}`};`;
}

/**
 * WGSL around the loop over k: afterwards `row_values` has what finishes or leaves each row of the tile. Two barriers.
 * @param scratch a shared array of at least `rowSumElements` floats, not used otherwise after the loop
 */
export function rowSums(loader: Loader, text: MatmulText, scratch: string) {
  const { rowSum, alongK, width, size, invocations } = loader;
  if (!rowSum) return { declaration: "", start: "", end: "" };
  const type = alongK || width === 1 ? "f32" : "vec4<f32>";
  const fast = fastOf(loader);
  const each = (line: (i: number) => string) =>
    Array.from({ length: sumCount(loader) }, (_, i) => line(i)).join("\n");
  const put = alongK
    ? each((i) => `  ${scratch}[local + ${i * invocations}u] = row_sum${i};`)
    : Array.from({ length: width }, (_, w) => {
        return `  ${scratch}[local * ${width}u + ${w}u] = row_sum0${width === 4 ? `[${w}]` : ""};`;
      }).join("\n");
  const [parts, at] = alongK ? [fast, `local * ${fast}u + i`] : [invocations / fast, `i * ${size}u + local`];
  return {
    declaration: `var<workgroup> row_values: array<f32, ${size}>;`,
    start: each((i) => `  var row_sum${i} = ${type}();`),
    end: `${put}
  workgroupBarrier(); // the sums of all invocations are there
  if (local < ${size}u) {
    var total = 0.0;
    for (var i = 0u; i < ${parts}u; i++) { total += ${scratch}[${at}]; }
    let value = ${rowValue(text, "total")};
    row_values[local] = value;
    if (column == 0u && row + local < params.M) { ${finishRow(text, "row + local", "value")} }
  }
  workgroupBarrier(); // the values of all rows are there`,
  };
}
