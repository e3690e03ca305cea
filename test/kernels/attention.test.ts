import { expect, test } from "vitest";
import { Tape } from "../../src/autograd/tape.js";
import { Tensor } from "../../src/autograd/tensor.js";
import { Random } from "../../src/core/random.js";
import {
  appendKv,
  attention,
  attentionDecode,
  embeddingSegments,
  Launcher,
} from "../../src/kernels/index.js";
import { testRuntime } from "../support/runtime.js";

const HEADS = 4;
const KV_HEADS = 2;
const D = 16;
const params = { heads: HEADS, kv_heads: KV_HEADS };

const families = [
  ["adapter's own", new Launcher(await testRuntime())],
  ["GPU", new Launcher(await testRuntime({ isSoftware: false }))],
] as const;

interface Rows {
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
}

function drawRows(tokens: number, kvHeads = KV_HEADS): Rows {
  const random = Random.of(3, "attention identities", tokens);
  const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
  return {
    q: normals(tokens * HEADS * D),
    k: normals(tokens * kvHeads * D),
    v: normals(tokens * kvHeads * D),
  };
}

/** The rows of tokens `from` .. `to` (exclusive). */
function slice(rows: Rows, from: number, to: number): Rows {
  const cut = (array: Float32Array, width: number) => array.slice(from * width, to * width);
  return { q: cut(rows.q, HEADS * D), k: cut(rows.k, KV_HEADS * D), v: cut(rows.v, KV_HEADS * D) };
}

/** Columns of one matrix of N rows after the other's. */
function sideBySide(N: number, parts: readonly Float32Array[]): Float32Array {
  const rows = Array.from({ length: N }, (_, n) =>
    parts.flatMap((part) => [...part.subarray((n * part.length) / N, ((n + 1) * part.length) / N)]),
  );
  return Float32Array.from(rows.flat());
}

async function attend(
  launcher: Launcher,
  { q, k, v }: Rows,
  lengths: readonly number[],
  kvHeads = KV_HEADS,
): Promise<Float32Array> {
  const N = lengths.reduce((sum, length) => sum + length, 0);
  const starts: number[] = [];
  const ends: number[] = [];
  for (const length of lengths) {
    const start = starts.length;
    starts.push(...Array<number>(length).fill(start));
    ends.push(...Array<number>(length).fill(start + length));
  }
  const tape = new Tape(launcher);
  const { y } = tape.apply(
    attention,
    {
      qkv: tape.input(sideBySide(N, [q, k, v]), [N, (HEADS + 2 * kvHeads) * D]),
      sequence_start: tape.input(Uint32Array.from(starts)),
      sequence_end: tape.input(Uint32Array.from(ends)),
    },
    { heads: HEADS, kv_heads: kvHeads },
  );
  const result = (await y.read()) as Float32Array;
  tape.release();
  return result;
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  return a.reduce((worst, value, index) => Math.max(worst, Math.abs(value - (b[index] as number))), 0);
}

for (const [family, launcher] of families) {
  test(`a later token never changes an earlier output, bit for bit, ${family} family`, async () => {
    const N = 70;
    const rows = drawRows(N);
    const before = await attend(launcher, rows, [N]);
    for (const changed of [1, 8, 33, 69]) {
      const other = { q: rows.q.slice(), k: rows.k.slice(), v: rows.v.slice() };
      other.q.fill(7, changed * HEADS * D);
      other.k.fill(-5, changed * KV_HEADS * D);
      other.v.fill(1000, changed * KV_HEADS * D);
      const after = await attend(launcher, other, [N]);
      expect(after.slice(0, changed * HEADS * D)).toEqual(before.slice(0, changed * HEADS * D));
      expect(after).not.toEqual(before);
    }
  });

  test(`packed sequences are the separate ones, ${family} family`, async () => {
    const lengths = [1, 37, 2, 64, 19];
    const rows = drawRows(123);
    const packed = await attend(launcher, rows, lengths);
    let start = 0;
    for (const length of lengths) {
      const alone = await attend(launcher, slice(rows, start, start + length), [length]);
      const there = packed.slice(start * HEADS * D, (start + length) * HEADS * D);
      expect(largestDifference(there, alone)).toBeLessThan(1e-5);
      start += length;
    }
  });

  test(`grouped heads are repeated key and value heads, ${family} family`, async () => {
    const N = 45;
    const rows = drawRows(N);
    const repeated = (array: Float32Array) =>
      Float32Array.from({ length: N * HEADS * D }, (_, at) => {
        const [n, head, d] = [Math.floor(at / (HEADS * D)), Math.floor(at / D) % HEADS, at % D];
        return array[(n * KV_HEADS + Math.floor((head * KV_HEADS) / HEADS)) * D + d] as number;
      });
    const grouped = await attend(launcher, rows, [N]);
    const full = await attend(launcher, { q: rows.q, k: repeated(rows.k), v: repeated(rows.v) }, [N], HEADS);
    expect(largestDifference(grouped, full)).toBeLessThan(1e-5);
  });

  test(`prefill and decoding with a cache give the rows of full attention, ${family} family`, async () => {
    const { runtime } = launcher;
    const [prompt, N, S, T] = [5, 40, 3, 48];
    const rows = drawRows(N);
    const full = await attend(launcher, rows, [N]);
    const caches = {
      key_cache: Tensor.zeros(runtime, [S, T, KV_HEADS * D]),
      value_cache: Tensor.zeros(runtime, [S, T, KV_HEADS * D]),
    };
    const append = (tape: Tape, from: number, to: number) => {
      const part = slice(rows, from, to);
      appendKv(launcher, {
        k: tape.input(part.k, [to - from, KV_HEADS * D]),
        v: tape.input(part.v, [to - from, KV_HEADS * D]),
        slot: tape.input(new Uint32Array(to - from).fill(2)),
        position: tape.input(Uint32Array.from({ length: to - from }, (_, i) => from + i)),
        ...caches,
      });
    };
    for (let n = prompt - 1; n < N; n++) {
      const tape = new Tape(launcher, { record: false });
      if (n === prompt - 1) append(tape, 0, prompt);
      else append(tape, n, n + 1);
      const q = tape.input(slice(rows, n, n + 1).q, [1, HEADS * D]);
      const slot = tape.input(Uint32Array.of(2));
      const length = tape.input(Uint32Array.of(n + 1));
      const { y } = tape.apply(attentionDecode, { q, ...caches, slot, length }, params);
      const there = full.slice(n * HEADS * D, (n + 1) * HEADS * D);
      expect(largestDifference((await y.read()) as Float32Array, there)).toBeLessThan(1e-5);
      tape.release();
    }
    for (const cache of Object.values(caches)) cache.release();
  });
}

test("appendKv writes the named places only", async () => {
  const [, launcher] = families[0];
  const { runtime } = launcher;
  const KV = 6;
  const k = Tensor.from(
    runtime,
    Float32Array.from({ length: 3 * KV }, (_, i) => 1 + i),
    [3, KV],
  );
  const v = Tensor.from(
    runtime,
    Float32Array.from({ length: 3 * KV }, (_, i) => -1 - i),
    [3, KV],
  );
  const slot = Tensor.from(runtime, Uint32Array.of(1, 0, 1));
  const position = Tensor.from(runtime, Uint32Array.of(3, 0, 2));
  const key_cache = Tensor.zeros(runtime, [2, 4, KV]);
  const value_cache = Tensor.zeros(runtime, [2, 4, KV]);
  appendKv(launcher, { k, v, slot, position, key_cache, value_cache });
  const keys = await key_cache.read();
  const values = await value_cache.read();
  const expected = new Float32Array(2 * 4 * KV);
  [1 * 4 + 3, 0, 1 * 4 + 2].forEach((place, n) => {
    expected.set(
      Array.from({ length: KV }, (_, c) => 1 + n * KV + c),
      place * KV,
    );
  });
  expect(keys).toEqual(expected);
  expect(values).toEqual(expected.map((value) => (value === 0 ? 0 : -value)));
  expect(() => appendKv(launcher, { k, v, slot, position, key_cache: k, value_cache })).toThrow(
    /\[kv_append\]/,
  );
  for (const tensor of [k, v, slot, position, key_cache, value_cache]) tensor.release();
});

test("embedding segments group positions by token, in order", () => {
  const { order, ids, starts } = embeddingSegments([7, 2, 7, 0, 2, 7]);
  expect([...order]).toEqual([3, 1, 4, 0, 2, 5]);
  expect([...ids]).toEqual([0, 2, 7]);
  expect([...starts]).toEqual([0, 1, 3, 6]);
});
