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
  ropeTable,
} from "../../src/kernels/index.js";
import { halfPrecision, needing } from "../support/needs.js";
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
  table?: Tensor,
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
      table,
      position: table && tape.input(Uint32Array.from(starts, (start, n) => n - start)),
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
    const table = Tensor.from(runtime, ropeTable(T, D, 100), [T, D]);
    const full = await attend(launcher, rows, [N], KV_HEADS, table);
    const caches = {
      key_cache: Tensor.zeros(runtime, [S, T, KV_HEADS * D]),
      value_cache: Tensor.zeros(runtime, [S, T, KV_HEADS * D]),
    };
    const append = (tape: Tape, from: number, to: number) => {
      const { q, k, v } = slice(rows, from, to);
      const entries = {
        qkv: tape.input(sideBySide(to - from, [q, k, v]), [to - from, (HEADS + 2 * KV_HEADS) * D]),
        slot: tape.input(new Uint32Array(to - from).fill(2)),
        position: tape.input(Uint32Array.from({ length: to - from }, (_, i) => from + i)),
      };
      appendKv(launcher, { ...entries, table, ...caches }, params);
      return entries;
    };
    for (let n = prompt - 1; n < N; n++) {
      const tape = new Tape(launcher, { record: false });
      if (n === prompt - 1) append(tape, 0, n);
      const entry = append(tape, n, n + 1);
      const { y } = tape.apply(attentionDecode, { ...entry, table, ...caches }, params);
      const there = full.slice(n * HEADS * D, (n + 1) * HEADS * D);
      expect(largestDifference((await y.read()) as Float32Array, there)).toBeLessThan(1e-5);
      tape.release();
    }
    for (const tensor of [table, ...Object.values(caches)]) tensor.release();
  });
}

for (const storage of ["f32", "f16"] as const) {
  const [, launcher] = families[0];
  const need = halfPrecision(storage === "f32" ? new Set(["shader-f16"]) : launcher.facts.features);
  needing(need).test(`appendKv rotates keys and writes the named places only, in ${storage}`, async () => {
    const tape = new Tape(launcher, { record: false });
    const [T, M, half] = [4, 3, D / 2];
    const { q, k, v } = drawRows(M);
    const qkv = sideBySide(M, [q, k, v]);
    const table = ropeTable(T, D, 10);
    const [source, slot, position] = [
      [2, 0, 2, 1],
      [1, 0, 0, 1],
      [3, 0, 2, 1],
    ];
    const cache = () => tape.own(Tensor.zeros(launcher.runtime, [2, T, KV_HEADS * D], "cache", storage));
    const caches = { key_cache: cache(), value_cache: cache() };
    const views = {
      qkv: tape.input(qkv, [M, (HEADS + 2 * KV_HEADS) * D]),
      table: tape.input(table, [T, D]),
      source: tape.input(Uint32Array.from(source)),
      slot: tape.input(Uint32Array.from(slot)),
      position: tape.input(Uint32Array.from(position)),
    };
    appendKv(launcher, { ...views, ...caches }, params);
    const keys = new Float32Array(2 * T * KV_HEADS * D);
    const values = new Float32Array(2 * T * KV_HEADS * D);
    for (const [n, row] of source.entries()) {
      for (let c = 0; c < KV_HEADS * D; c++) {
        const at = (slot[n] * T + position[n]) * KV_HEADS * D + c;
        const from = (row * (HEADS + 2 * KV_HEADS) + HEADS) * D + c;
        const angle = position[n] * D + (c % half);
        const other = c % D < half ? -qkv[from + half] : qkv[from - half];
        keys[at] = qkv[from] * table[angle] + other * table[angle + half];
        values[at] = qkv[from + KV_HEADS * D];
      }
    }
    const allowed = storage === "f16" ? 2e-3 : 1e-6;
    expect(largestDifference((await caches.key_cache.read()) as Float32Array, keys)).toBeLessThan(allowed);
    expect(largestDifference((await caches.value_cache.read()) as Float32Array, values)).toBeLessThan(
      allowed,
    );
    expect(() => appendKv(launcher, { ...views, ...caches, key_cache: views.qkv }, params)).toThrow(
      /\[kv_append\]/,
    );
    tape.release();
  });
}

test("embedding segments group positions by token, in order", () => {
  const { order, ids, starts } = embeddingSegments([7, 2, 7, 0, 2, 7]);
  expect([...order]).toEqual([3, 1, 4, 0, 2, 5]);
  expect([...ids]).toEqual([0, 2, 7]);
  expect([...starts]).toEqual([0, 1, 3, 6]);
});
