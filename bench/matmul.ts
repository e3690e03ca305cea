/** Benchmark of single matrix products, with peers. A product is checked against float64 at random elements first. */
import { Random } from "../src/core/random.js";
import type { Launcher } from "../src/kernels/engine/launch.js";
import type { OpDefinition } from "../src/kernels/engine/op.js";
import { matmul } from "../src/kernels/matmul/matmul.js";
import { chooseMatrixTile } from "../src/kernels/matmul/matrix_plan.js";
import type { BenchRow } from "../src/report/bench_rows.js";
import { normals } from "./draws.js";
import type { Effort } from "./measure.js";
import { benchDimensions, type ShapeScale } from "./op_shapes.js";
import { type OpenOp, openOp } from "./open_op.js";
import { launchFigures } from "./ops.js";
import { type AnyPeer, type ProductCase, peerEntries } from "./peers.js";
import { type Contestant, race } from "./race.js";

const product = (M: number, N: number, K: number, layout: "nn" | "nt" | "tn" = "nn"): ProductCase => ({
  M,
  N,
  K,
  transposeA: layout[0] === "t",
  transposeB: layout[1] === "t",
});

/** Squares; then a layer's forward (nt), input gradient (nn) and weight gradient (tn); then decoding of 8 sequences. */
const PRODUCTS: readonly ProductCase[] = [
  product(256, 256, 256),
  product(512, 512, 512),
  product(1024, 1024, 1024),
  product(1024, 192, 64, "nt"),
  product(1024, 512, 64, "nt"),
  product(1024, 768, 256, "nt"),
  product(1024, 64, 192),
  product(192, 64, 1024, "tn"),
  product(768, 256, 1024, "tn"),
  product(8, 192, 64, "nt"),
];
const QUICK_PRODUCTS: readonly ProductCase[] = [product(256, 256, 256), product(1024, 192, 64, "nt")];
/** Squares that only a GPU finishes in good time. */
const LARGE_PRODUCTS: readonly ProductCase[] = [
  product(2048, 2048, 2048),
  product(4096, 4096, 4096),
  product(8192, 8192, 8192),
];

/** Products to measure: the fixed ones, and the MLP of the published models, forward (nt) and weight gradient (tn). */
export function productsFor(scale: ShapeScale): ProductCase[] {
  if (scale.quick) return [...QUICK_PRODUCTS];
  const { isSoftware, maxBindingBytes } = scale.facts;
  const ofModels = benchDimensions(scale)
    .filter(({ name }) => name.startsWith("qwen"))
    .flatMap(({ N, C, F }) => [product(N, F, C, "nt"), product(F, C, N, "tn")]);
  const all = [...PRODUCTS, ...(isSoftware ? [] : LARGE_PRODUCTS), ...ofModels];
  return all.filter(({ M, N, K }) => 4 * Math.max(M * N, M * K, K * N) <= maxBindingBytes);
}

/** MxNxK and the layout, as rows name it. */
export function productLabel({ M, N, K, transposeA, transposeB }: ProductCase): string {
  return `${M}x${N}x${K} ${transposeA ? "t" : "n"}${transposeB ? "t" : "n"}`;
}

/** Elements compared with float64 sums. */
const CHECKED = 256;

export interface MatmulBench {
  readonly launcher: Launcher;
  readonly adapter: string;
  readonly peers: readonly AnyPeer[];
  readonly effort: Effort;
}

/** Rows of one product: ours forward, every peer's forward, ours backward. */
export async function benchProduct(bench: MatmulBench, sizes: ProductCase): Promise<BenchRow[]> {
  const { launcher, adapter, effort } = bench;
  const { M, N, K } = sizes;
  const a = Float32Array.from(normals(`bench a ${M} ${K}`, M * K));
  const b = Float32Array.from(normals(`bench b ${K} ${N}`, K * N));
  const head = { op: "matmul", shape: productLabel(sizes), dtype: "f32", adapter };
  const open = openProduct(launcher, sizes, a, b);
  // what matrix hardware may be asked for; products that do not suit it stay f32
  const { facts } = launcher;
  const dtype = chooseMatrixTile({ ...sizes, batch: 1 }, facts) ? facts.matmulPrecision : "f32";
  const own = async (): Promise<Contestant> => ({
    work: open.forward,
    check: async () => {
      await open.forward.run(1);
      return productMismatch(sizes, a, b, (await open.read("y")) ?? [], dtype);
    },
    figures: async () => ({ ...(await launchFigures(launcher, open.forward)), dtype }),
    release: () => {},
  });
  const rivals = peerEntries(bench.peers, async (peer) => {
    const precision = dtype === "f16" && peer.half ? "f16" : "f32";
    const work = await peer.matmul({ ...sizes, a, b, precision });
    return {
      work,
      check: async () => productMismatch(sizes, a, b, await work.result(), precision),
      figures: async () => ({ dtype: precision }),
      release: () => work.release(),
    };
  });
  const { forward, backward } = matmul.cost({ B: 1, M, N, K });
  try {
    const entries = [{ implementation: "uncouple", open: own }, ...rivals];
    const rows = await race({ ...head, direction: "forward" }, entries, forward, effort);
    const work = open.backward;
    if (!work || !backward) return rows;
    const ownBackward = async (): Promise<Contestant> => ({
      work,
      check: async () => {
        await work.run(1);
        return gradientMismatch(sizes, open, facts.matmulPrecision);
      },
      figures: async () => ({ ...(await launchFigures(launcher, work)), dtype }),
      release: () => {},
    });
    const entry = { implementation: "uncouple", open: ownBackward };
    return [...rows, ...(await race({ ...head, direction: "backward" }, [entry], backward, effort))];
  } finally {
    open.release();
  }
}

function openProduct(launcher: Launcher, sizes: ProductCase, a: Float32Array, b: Float32Array): OpenOp {
  const { M, N, K, transposeA, transposeB } = sizes;
  const [A1, A2] = transposeA ? [K, M] : [M, K];
  const [B1, B2] = transposeB ? [N, K] : [K, N];
  return openOp(launcher, matmul as unknown as OpDefinition, {
    arrays: { a: Float64Array.from(a), b: Float64Array.from(b) },
    sizes: { B: 1, A1, A2, B1, B2 },
    params: { transpose_a: Number(transposeA), transpose_b: Number(transposeB) },
    constant: [],
  });
}

/** Both gradients are products too: of the upstream gradient [M, N] with one operand. */
async function gradientMismatch(
  sizes: ProductCase,
  open: OpenOp,
  precision: string,
): Promise<string | undefined> {
  const { M, N, K, transposeA, transposeB } = sizes;
  const { a, b } = open.inputs;
  const up = open.upstream.y;
  const [leftA, rightA] = transposeA ? [b, up] : [up, b];
  const [leftB, rightB] = transposeB ? [up, a] : [a, up];
  const ofA: ProductCase = transposeA
    ? { M: K, N: M, K: N, transposeA: transposeB, transposeB: true }
    : { M, N: K, K: N, transposeA: false, transposeB: !transposeB };
  const ofB: ProductCase = transposeB
    ? { M: N, N: K, K: M, transposeA: true, transposeB: transposeA }
    : { M: K, N, K: M, transposeA: !transposeA, transposeB: false };
  const wrongA = productMismatch(ofA, leftA, rightA, (await open.read("d_a")) ?? [], precision);
  const wrongB = productMismatch(ofB, leftB, rightB, (await open.read("d_b")) ?? [], precision);
  return wrongA ? `d_a: ${wrongA}` : wrongB && `d_b: ${wrongB}`;
}

/** The worst of some random elements, as a sentence, or undefined when all are right. */
export function productMismatch(
  { M, N, K, transposeA, transposeB }: ProductCase,
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  y: ArrayLike<number>,
  precision = "f32",
): string | undefined {
  if (y.length !== M * N) return `wrong result: got ${y.length} elements, expected ${M * N}`;
  const random = Random.of(5, "check", M, N, K);
  // rounding of K products of unit variance, with room for any order of addition; factors in f16 are off by up to 2^-11 each,
  // and six standard deviations of the sum of K such errors are below this
  const allowed = precision === "f16" ? 4e-3 * Math.sqrt(K) + 1e-4 : 1e-6 * K + 1e-4;
  for (let i = 0; i < CHECKED; i++) {
    const m = i === 0 ? M - 1 : random.integer(M);
    const n = i === 0 ? N - 1 : random.integer(N);
    let sum = 0;
    for (let k = 0; k < K; k++) {
      sum += a[transposeA ? k * M + m : m * K + k] * b[transposeB ? n * K + k : k * N + n];
    }
    const actual = y[m * N + n];
    if (!(Math.abs(actual - sum) <= allowed))
      return `wrong result at [${m}, ${n}]: got ${actual}, expected ${sum} within ${allowed}`;
  }
  return undefined;
}
