/** Counter-based random words: a pure function of key and counter, the same on the host and in shaders/sample.ts. */

const ROUNDS = 10;
const MULTIPLIERS = [0xd2511f53, 0xcd9e8d57] as const;
const WEYL = [0x9e3779b9, 0xbb67ae85] as const;

type Words4 = readonly [number, number, number, number];

/**
 * Philox4x32-10: four random words.
 * @param counter four u32 words; every counter gives independent words
 * @param key two u32 words
 * @source Salmon et al. 2011
 */
export function philox4x32(counter: Words4, key: readonly [number, number]): Words4 {
  let [a, b, c, d] = counter.map(unsigned) as unknown as [number, number, number, number];
  let [k0, k1] = [unsigned(key[0]), unsigned(key[1])];
  for (let round = 0; round < ROUNDS; round++) {
    const [high0, low0] = wideProduct(MULTIPLIERS[0], a);
    const [high1, low1] = wideProduct(MULTIPLIERS[1], c);
    [a, b, c, d] = [unsigned(high1 ^ b ^ k0), low1, unsigned(high0 ^ d ^ k1), low0];
    k0 = unsigned(k0 + WEYL[0]);
    k1 = unsigned(k1 + WEYL[1]);
  }
  return [a, b, c, d];
}

/** Uniform in (0, 1) from the upper 23 bits of a word, exact in float32. */
export function uniformOfWord(word: number): number {
  return ((word >>> 9) + 0.5) * 2 ** -23;
}

function unsigned(value: number): number {
  return value >>> 0;
}

function wideProduct(x: number, y: number): [number, number] {
  const product = BigInt(x) * BigInt(y);
  return [Number(product >> 32n), Number(product & 0xffffffffn)];
}
