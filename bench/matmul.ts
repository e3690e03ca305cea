/** Benchmark of single matrix products, with peers. A product is checked against float64 at random elements first. */
import { Random } from "../src/core/random.js";
import type { Launcher } from "../src/kernels/launch.js";
import { matmul } from "../src/kernels/matmul.js";
import type { OpDefinition } from "../src/kernels/op.js";
import { type Effort, measure, type Work } from "./measure.js";
import { type OpenOp, openOp } from "./ops.js";
import type { MissingPeer, Peer, PeerWork } from "./peers.js";
import { type BenchRow, figures } from "./row.js";

/** y [M, N] = op(a) op(b), K terms a sum. */
export interface ProductCase {
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

const product = (M: number, N: number, K: number, layout: "nn" | "nt" | "tn" = "nn"): ProductCase => ({
  M,
  N,
  K,
  transposeA: layout[0] === "t",
  transposeB: layout[1] === "t",
});

/** Squares; then a layer's forward (nt), input gradient (nn) and weight gradient (tn); then decoding of 8 sequences. */
export const PRODUCTS: readonly ProductCase[] = [
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
export const QUICK_PRODUCTS: readonly ProductCase[] = [product(256, 256, 256), product(1024, 192, 64, "nt")];

/** MxNxK and the layout, as rows name it. */
export function productLabel({ M, N, K, transposeA, transposeB }: ProductCase): string {
  return `${M}x${N}x${K} ${transposeA ? "t" : "n"}${transposeB ? "t" : "n"}`;
}

/** Elements compared with float64 sums. */
const CHECKED = 256;

export interface MatmulBench {
  readonly launcher: Launcher;
  readonly adapter: string;
  readonly peers: readonly (Peer | MissingPeer)[];
  readonly effort: Effort;
}

/** Rows of one product: ours forward, every peer's forward, ours backward. */
export async function benchProduct(bench: MatmulBench, sizes: ProductCase): Promise<BenchRow[]> {
  const { M, N, K } = sizes;
  const random = Random.of(3, "bench", M, N, K);
  const a = Float32Array.from({ length: M * K }, () => random.normal());
  const b = Float32Array.from({ length: K * N }, () => random.normal());
  const row = {
    op: "matmul",
    direction: "forward" as const,
    shape: productLabel(sizes),
    dtype: "f32" as const,
    adapter: bench.adapter,
  };
  const contestants: { name: string; version?: string; work?: PeerWork; error?: string }[] = [];
  const enter = async (name: string, version: string | undefined, open: () => Promise<PeerWork>) => {
    try {
      const work = await open();
      const error = productMismatch(sizes, a, b, await work.result());
      contestants.push(error ? { name, version, error } : { name, version, work });
    } catch (error) {
      contestants.push({ name, version, error: error instanceof Error ? error.message : String(error) });
    }
  };
  const own = openProduct(bench.launcher, sizes, a, b);
  await enter("uncouple", undefined, async () => own.work);
  for (const peer of bench.peers) {
    if ("error" in peer) contestants.push(peer);
    else await enter(peer.name, peer.version, () => peer.matmul({ ...sizes, a, b }));
  }
  const running = contestants.filter((contestant) => contestant.work);
  const works = running.map(({ work }) => work as Work);
  const timings = await measure(works, bench.effort);
  const { forward, backward } = matmul.cost({ B: 1, M, N, K });
  const rows: BenchRow[] = contestants.map((contestant) => {
    const { name: implementation, version, error } = contestant;
    if (error) return { ...row, implementation, version, error };
    return { ...row, implementation, version, ...figures(timings[running.indexOf(contestant)], forward) };
  });
  if (own.open.backward && backward) {
    const head = { ...row, direction: "backward" as const, implementation: "uncouple" };
    await own.open.backward.run(1);
    const error = await gradientMismatch(sizes, own.open);
    if (error) rows.push({ ...head, error });
    else rows.push({ ...head, ...figures((await measure([own.open.backward], bench.effort))[0], backward) });
  }
  for (const { work } of running) work?.release();
  return rows;
}

function openProduct(launcher: Launcher, sizes: ProductCase, a: Float32Array, b: Float32Array) {
  const { M, N, K, transposeA, transposeB } = sizes;
  const [A1, A2] = transposeA ? [K, M] : [M, K];
  const [B1, B2] = transposeB ? [N, K] : [K, N];
  const open = openOp(launcher, matmul as unknown as OpDefinition, {
    arrays: { a: Float64Array.from(a), b: Float64Array.from(b) },
    sizes: { B: 1, A1, A2, B1, B2 },
    params: { transpose_a: Number(transposeA), transpose_b: Number(transposeB) },
    constant: [],
  });
  const work: PeerWork = {
    run: open.forward.run,
    async result() {
      await open.forward.run(1);
      return (await open.read("y")) ?? [];
    },
    release: open.release,
  };
  return { open, work };
}

/** Both gradients are products too: of the upstream gradient [M, N] with one operand. */
async function gradientMismatch(sizes: ProductCase, open: OpenOp): Promise<string | undefined> {
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
  const wrongA = productMismatch(ofA, leftA, rightA, (await open.read("d_a")) ?? []);
  const wrongB = productMismatch(ofB, leftB, rightB, (await open.read("d_b")) ?? []);
  return wrongA ? `d_a: ${wrongA}` : wrongB && `d_b: ${wrongB}`;
}

/** The worst of some random elements, as a sentence, or undefined when all are right. */
export function productMismatch(
  { M, N, K, transposeA, transposeB }: ProductCase,
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  y: ArrayLike<number>,
): string | undefined {
  if (y.length !== M * N) return `wrong result: got ${y.length} elements, expected ${M * N}`;
  const random = Random.of(5, "check", M, N, K);
  // rounding of K products of unit variance, with room for any order of addition
  const allowed = 1e-6 * K + 1e-4;
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
