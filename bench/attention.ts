/** Entries of other libraries for the forward pass of the `attention` op. */
import type { ReferenceArrays } from "../src/kernels/engine/op.js";
import type { OpShape } from "./op_shapes.js";
import type { OpRivals } from "./ops.js";
import { type AnyPeer, type AttentionProblem, peerEntries } from "./peers.js";

/** The peers' entries at each shape. */
export function attentionRivals(peers: readonly AnyPeer[]): OpRivals {
  return (shape, inputs) => {
    const problem = problemOf(shape, inputs);
    return peerEntries(peers, async (peer) => {
      const work = await peer.attention(problem);
      return {
        work,
        check: async () => attentionMismatch(problem, await work.result()),
        release: () => work.release(),
      };
    });
  };
}

function problemOf({ sizes, params = {}, sequence }: OpShape, { qkv }: ReferenceArrays): AttentionProblem {
  const { heads: H, kv_heads: Kv } = params;
  const { N, W } = sizes;
  const T = sequence ?? N;
  const D = W / (H + 2 * Kv);
  const columns = (from: number, to: number) => {
    const width = to - from;
    const part = new Float32Array(N * width);
    for (let n = 0; n < N; n++) part.set(qkv.subarray(n * W + from, n * W + to), n * width);
    return part;
  };
  const [keys, values] = [H * D, (H + Kv) * D];
  return { B: N / T, T, H, Kv, D, q: columns(0, keys), k: columns(keys, values), v: columns(values, W) };
}

/** Compares the last token of each sequence, in every head, with a float64 loop; the first wrong one as a sentence. */
export function attentionMismatch(problem: AttentionProblem, y: ArrayLike<number>): string | undefined {
  const { B, T, H, D } = problem;
  if (y.length !== B * T * H * D) return `wrong result: got ${y.length} elements, expected ${B * T * H * D}`;
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      const n = b * T + T - 1;
      const expected = lastToken(problem, b, h);
      for (let d = 0; d < D; d++) {
        const actual = y[n * H * D + h * D + d];
        if (!(Math.abs(actual - expected[d]) <= 2e-3 * (1 + Math.abs(expected[d]))))
          return `wrong result at [${n}, ${h * D + d}]: got ${actual}, expected ${expected[d]}`;
      }
    }
  }
  return undefined;
}

/** What one head of a sequence's last token, which looks at all of it, attends to, [D]. */
function lastToken({ T, H, Kv, D, q, k, v }: AttentionProblem, b: number, h: number): Float64Array {
  const shared = Math.floor(h / (H / Kv)) * D;
  const query = (b * T + T - 1) * H * D + h * D;
  const key = (t: number) => (b * T + t) * Kv * D + shared;
  const scores = Float64Array.from({ length: T }, (_, t) => {
    let dot = 0;
    for (let d = 0; d < D; d++) dot += q[query + d] * k[key(t) + d];
    return dot / Math.sqrt(D);
  });
  const most = scores.reduce((a, x) => Math.max(a, x));
  const shares = scores.map((score) => Math.exp(score - most));
  const total = shares.reduce((sum, share) => sum + share, 0);
  const sum = new Float64Array(D);
  for (let t = 0; t < T; t++) for (let d = 0; d < D; d++) sum[d] += (shares[t] / total) * v[key(t) + d];
  return sum;
}
