/** 16-bit floats of checkpoints against float32: bfloat16 by shifting, IEEE half through @petamoriken/float16. */
import { Float16Array, getFloat16 } from "@petamoriken/float16";

/**
 * bfloat16 bit patterns of float32 values, rounded to nearest, ties to even. NaN stays NaN, values past the largest
 * bfloat16 become infinite.
 */
export function toBfloat16Bits(values: Float32Array): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    // a NaN whose payload sits in the lower half would round to infinity: keep the sign, set the quiet bit
    const isNan = (word & 0x7fffffff) > 0x7f800000;
    bits[i] = isNan ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return bits;
}

/** Exact float32 values of bfloat16 bit patterns. */
export function fromBfloat16Bits(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const words = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i] << 16;
  return new Float32Array(words.buffer);
}

/** IEEE half bit patterns of float32 values, rounded to nearest, ties to even; past 65519 they become infinite. */
export function toFloat16Bits(values: Float32Array): Uint16Array {
  return new Uint16Array(new Float16Array(values).buffer);
}

/** The value of every half pattern, asked of the library once: it is slow value by value. */
let float16Values: Float32Array | undefined;

function tabulateFloat16(): Float32Array {
  const patterns = new DataView(Uint16Array.from(new Uint16Array(1 << 16).keys()).buffer);
  const values = new Float32Array(1 << 16);
  // typed arrays of the host are little-endian, as WebGPU requires
  for (let bits = 0; bits < values.length; bits++) values[bits] = getFloat16(patterns, 2 * bits, true);
  return values;
}

/** Exact float32 values of IEEE half bit patterns. */
export function fromFloat16Bits(bits: Uint16Array): Float32Array<ArrayBuffer> {
  float16Values ??= tabulateFloat16();
  const values = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) values[i] = float16Values[bits[i]];
  return values;
}
