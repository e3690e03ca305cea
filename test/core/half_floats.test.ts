/** 16-bit floats: every pattern, and the rounding rules stated as inequalities. */
import { f16round } from "@petamoriken/float16";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  fromBfloat16Bits,
  fromFloat16Bits,
  toBfloat16Bits,
  toFloat16Bits,
} from "../../src/core/half_floats.js";

const ALL_BITS = Uint16Array.from({ length: 1 << 16 }, (_, bits) => bits);
const one = (value: number) => Float32Array.of(value);
const bfloat16 = (value: number) => fromBfloat16Bits(toBfloat16Bits(one(value)))[0];
const float16 = (value: number) => fromFloat16Bits(toFloat16Bits(one(value)))[0];
const float32 = fc.float({ noNaN: true });

test("known bfloat16 patterns", () => {
  const values = [0, -0, 1, -2, 3.140625, Infinity, -Infinity, 2 ** -133];
  const bits = [0x0000, 0x8000, 0x3f80, 0xc000, 0x4049, 0x7f80, 0xff80, 0x0001];
  expect([...toBfloat16Bits(Float32Array.from(values))]).toEqual(bits);
  expect([...fromBfloat16Bits(Uint16Array.from(bits))]).toEqual(values);
});

test("known half patterns", () => {
  const values = [0, -0, 1, -2, 65504, 2 ** -24, 2 ** -14, Infinity, -Infinity];
  const bits = [0x0000, 0x8000, 0x3c00, 0xc000, 0x7bff, 0x0001, 0x0400, 0x7c00, 0xfc00];
  expect([...toFloat16Bits(Float32Array.from(values))]).toEqual(bits);
  expect([...fromFloat16Bits(Uint16Array.from(bits))]).toEqual(values);
});

test.each([
  ["bfloat16", fromBfloat16Bits, toBfloat16Bits],
  ["half", fromFloat16Bits, toFloat16Bits],
])("every %s pattern survives, NaN as some NaN", (_name, decode, encode) => {
  const values = decode(ALL_BITS);
  const back = encode(values);
  const decoded = decode(back);
  let wrong = 0;
  for (let bits = 0; bits < ALL_BITS.length; bits++) {
    const held = Number.isNaN(values[bits]) ? Number.isNaN(decoded[bits]) : back[bits] === bits;
    if (!held) wrong++;
  }
  expect(wrong).toBe(0);
});

test("bfloat16 rounds to the nearest, ties to even", () => {
  // between 1 and 1 + 2^-7 lie the odd and even neighbours
  expect(bfloat16(1 + 2 ** -8)).toBe(1);
  expect(bfloat16(1 + 3 * 2 ** -8)).toBe(1 + 2 ** -6);
  expect(bfloat16(1 + 2 ** -8 + 2 ** -20)).toBe(1 + 2 ** -7);
  expect(bfloat16(3.4e38)).toBe(Infinity);
  const largest = fromBfloat16Bits(Uint16Array.of(0x7f7f))[0];
  fc.assert(
    fc.property(fc.float({ min: -largest, max: largest, noNaN: true }), (value) => {
      const bits = toBfloat16Bits(one(value))[0];
      const error = Math.abs(bfloat16(value) - value);
      for (const neighbour of [bits - 1, bits + 1]) {
        const other = fromBfloat16Bits(Uint16Array.of(neighbour))[0];
        const distance = Math.abs(other - value);
        // past the largest value and below zero there is no neighbour pattern to compare with
        if (!Number.isFinite(distance)) continue;
        expect(distance).toBeGreaterThanOrEqual(error);
        // one that is as near may only lose to an even pattern
        expect(distance > error || bits % 2 === 0).toBe(true);
      }
    }),
  );
});

test("a NaN with its payload in the low half stays NaN and keeps its sign", () => {
  const values = new Float32Array(Uint32Array.of(0x7f800001, 0xff800001).buffer);
  expect([...toBfloat16Bits(values)]).toEqual([0x7fc0, 0xffc0]);
});

test("half agrees with the library value by value", () => {
  fc.assert(
    fc.property(float32, (value) => {
      expect(float16(value)).toBe(f16round(value));
    }),
  );
});
