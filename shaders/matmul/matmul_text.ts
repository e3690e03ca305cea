/**
 * What all kernels of matrix products y = op(a) op(b) share: how operands lie in memory, and what is fused into a product.
 * A kernel hands four neighbouring sums at a time to `finish`, and sums over rows of A to `finishRow`.
 *
 * Fused into loading: factors of k (`kScale`), applied to A where its squares are summed, else to B. Fused into storing, in
 * this order: factors of rows from the sums of squares, factors of columns (`nScale`), bias, residual, then either of the
 * gates. Of a product with split K only the factors of k are fused; the rest is left to the kernel that adds the parts.
 */

/** Which operand is stored transposed, and what divides by 4: only aligned rows can be read and written as vec4. */
export interface MatmulLayout {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly vectorA: boolean;
  readonly vectorB: boolean;
  readonly vectorY: boolean;
  /** K is not a multiple of 4: the last step is guarded. */
  readonly tail: boolean;
}

export interface MatmulFusion {
  readonly bias: boolean;
  readonly residual: boolean;
  /** Factors of k. */
  readonly kScale: boolean;
  /** Factors of columns. */
  readonly nScale: boolean;
  /**
   * Sums over k of each row of op(a), unscaled: `squares` give rstd = 1 / sqrt(mean + eps), a factor of the row; `values`
   * are an output of their own.
   */
  readonly rowSum?: "squares" | "values";
  /** `forward`: columns 2f and 2f + 1 are gate and up of h. `backward`: the product is d_h, y the gradient of both [M, 2 N]. */
  readonly gate?: "forward" | "backward";
}

export interface MatmulText extends MatmulLayout, MatmulFusion {
  /**
   * `add`: y += the product; `partial`: the parts of a split K go to `partial` [B, P, M, N] instead of y; `segments`: the
   * same with parts of any length, whose k begin at `k_offset` [P + 1], and with factors of columns. Then transposed A has
   * rows of `params.A` elements, of which M from `params.F` on are used; of plain A and transposed B the rows from `params.F`
   * and `params.A` on.
   */
  readonly output: "y" | "add" | "partial" | "segments";
  /**
   * One of several products that make up a larger one: rows of A and of y lie `params.pitch_a` and `params.pitch_y` elements
   * apart, parts are counted from `params.first_part` on.
   */
  readonly isPiece?: boolean;
  /** Of segments: rows that alternate between so many matrices are stored matrix after matrix. */
  readonly interleave?: 1 | 2;
  /** Of a symmetric product: tiles wholly below the diagonal are not computed. */
  readonly isUpper?: boolean | undefined;
}

/** The k of a step, and the parts of a vec4 that hold them. */
export const STEP = [0, 1, 2, 3] as const;
export const PART = ["x", "y", "z", "w"] as const;

/** Lines of text for 0 .. count - 1. */
export const lines = (count: number, line: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => line(index)).join("\n");

/** k of the parts of a product and where A begins; `index` is the part's number among those of all batches. */
export function partStart({ output, transposeA }: MatmulText, index: string): string {
  if (output === "segments")
    return `  let k_start = k_offset[${index}];
  let k_end = k_offset[${index} + 1u];
  let a_start = ${transposeA ? "params.F" : "params.F * params.K"};
  let b_start = ${transposeA ? "0u" : "params.A * params.K"};`;
  return `  let k_start = (${index} % params.P) * params.R;
  let k_end = min(params.K, k_start + params.R);
  let a_start = ${index} / params.P * params.M * params.K;
  let b_start = ${index} / params.P * params.K * params.N;`;
}

/** Ends the workgroup of a tile wholly below the diagonal, where only the rest is asked for. @param end first column after the tile */
export const belowDiagonal = ({ isUpper }: MatmulText, end: string): string =>
  isUpper ? `\n  if (row >= ${end}) { return; }` : "";

/** Elements from one row of A, as it lies in memory, to the next. */
export function pitchOfA({ output, transposeA, isPiece }: MatmulText): string {
  if (isPiece) return "params.pitch_a";
  if (!transposeA) return "params.K";
  return output === "segments" ? "params.A" : "params.M";
}

const isPart = ({ output }: MatmulText): boolean => output === "partial" || output === "segments";

/** An element, or vector, of a tensor that may be stored as f16. */
export const read = (name: string, index: string): string => `read_${name}(${index})`;
const write = (name: string, index: string, value: string): string => `write_${name}(${index}, ${value});`;

/** Whether the kernel uses the rows' sums of squares itself. */
const scalesRows = (text: MatmulText): boolean => text.rowSum === "squares" && !isPart(text);

/** What of a row's sum the kernel goes on with: the factor of the row, or the sum. */
export const rowValue = (text: MatmulText, sum: string): string =>
  scalesRows(text) ? `inverseSqrt(${sum} / f32(params.K) + params.eps)` : sum;

/** A sum, or a vector of four, times the factor of its row. */
export const scaled = (text: MatmulText, sum: string, factor: string): string =>
  scalesRows(text) ? `${sum} * ${factor}` : sum;

/** Stores the value of an existing row; one invocation of the workgroups with the first columns does it. */
export function finishRow(text: MatmulText, row: string, value: string): string {
  const { rowSum } = text;
  if (isPart(text)) return `row_sums[part * params.M + ${row}] = ${value};`;
  return rowSum === "squares" ? `rstd[${row}] = ${value};` : `store_d_sum(${row}, ${value});`;
}

/** `finish(part, row, column, sum)`: stores columns `column` (a multiple of 4) to `column + 3` of a row, as far as they exist. */
export function finish(text: MatmulText): string {
  const { vectorY, gate, interleave = 1, isPiece } = text;
  const isWhole = !isPart(text);
  const first = isPiece && !isWhole ? "(part + params.first_part)" : "part";
  const pitch = isPiece && isWhole ? "params.pitch_y" : "params.N";
  const place = interleave === 2 ? "(row & 1u) * (params.M / 2u) + row / 2u" : "row";
  const head = `fn finish(part: u32, row: u32, column: u32, sum: vec4<f32>) {
  if (row >= params.M || column >= params.N) { return; }
  let start = (${first} * params.M + ${place}) * ${pitch} + column;
  var value = sum;`;
  const body = isWhole ? epilogue(text) : columns(vectorY, storePart(text));
  return `${gate && isWhole ? gateFunctions : ""}${head}\n${body}\n}`;
}

const storePart =
  ({ output, nScale }: MatmulText) =>
  (value: string, column: string, index: string): string =>
    write("partial", index, output === "segments" && nScale ? `${value} * n_scale[${column}]` : value);

/** WGSL over four neighbouring elements: at once, or one by one where rows are not aligned. */
function columns(vectorY: boolean, line: (value: string, column: string, index: string) => string): string {
  if (vectorY) return `  ${line("value", "column / 4u", "start / 4u")}`;
  return eachColumn(1, line("value[i]", "at", "start + i"));
}

/** A loop over column `at` = `column` + `i`. Counting `i` to min(4, ...) instead, it is unrolled by Mesa, at each of many stores. */
const eachColumn = (step: number, body: string): string =>
  `  for (var at = column; at < min(column + 4u, params.N); at += ${step}u) {
    let i = at - column;
    ${body}
  }`;

function epilogue({ nScale, bias, residual, output, gate, vectorY }: MatmulText): string {
  const store = (index: string, value: string) =>
    write("y", index, output === "add" ? `${read("y", index)} + ${value}` : value);
  const stored = (value: string, column: string, index: string) =>
    [
      nScale ? `${value} *= n_scale[${column}];` : "",
      bias ? `${value} += bias[${column}];` : "",
      residual ? `${value} += ${read("residual", index)};` : "",
      gate === "backward" ? "" : store(index, value),
    ].join(" ");
  const plain = columns(vectorY, stored);
  if (gate === "forward") {
    const gated = (gate: string, up: string) => `${gate} * sigmoid(${gate}) * ${up}`;
    const aligned = `  ${write("h", "start / 2u", gated("value.x", "value.y"))}
  ${write("h", "start / 2u + 1u", gated("value.z", "value.w"))}`;
    const single = eachColumn(2, write("h", "(start + i) / 2u", gated("value[i]", "value[i + 1u]")));
    return `${plain}\n${vectorY ? aligned : single}`;
  }
  if (gate !== "backward") return plain;
  // gates lie as the columns of y, two to a column of the product
  const aligned = [0, 1].map((half) => {
    const index = `start / 2u + ${half}u`;
    const gradient = (part: string, d_h: string) => `gate_gradient(pairs${half}.${part}, value.${d_h})`;
    const [first, second] = half === 0 ? ["x", "y"] : ["z", "w"];
    return `  let pairs${half} = ${read("gate_up", index)};
  ${store(index, `vec4<f32>(${gradient("xy", first)}, ${gradient("zw", second)})`)}`;
  });
  const single = eachColumn(
    1,
    `let gate = 2u * (start + i);
    let gradient = gate_gradient(vec2<f32>(${read("gate_up", "gate")}, ${read("gate_up", "gate + 1u")}), value[i]);
    ${store("gate", "gradient.x")}
    ${store("gate + 1u", "gradient.y")}`,
  );
  return `${plain}\n${vectorY ? aligned.join("\n") : single}`;
}

/** exp(-gate) is kept finite: past 80 the sigmoid is below 2e-35 either way. */
const gateFunctions = `
fn sigmoid(gate: f32) -> f32 { return 1.0 / (1.0 + exp(min(-gate, 80.0))); }
// gradients of gate and up from that of h = silu(gate) up
fn gate_gradient(pair: vec2<f32>, d_h: f32) -> vec2<f32> {
  let share = sigmoid(pair.x);
  return d_h * share * vec2<f32>(pair.y * (1.0 + pair.x * (1.0 - share)), pair.x);
}
`;
