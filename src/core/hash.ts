/** 32-bit FNV-1a over UTF-16 code units: for seeds, cache keys and prompt identities, not for security. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  // final avalanche (murmur3) so that labels differing in the last letter give unrelated seeds
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** FNV's prime is 2^40 + this. */
const PRIME_LOW = 0x1b3;
const WORD = 2 ** 32;

/**
 * 64-bit FNV-1a over UTF-16 code units, as 16 hexadecimal digits: identities of texts, of which some million may be compared.
 * For ASCII texts it is the FNV-1a of their bytes.
 * @source Fowler, Noll, Vo; http://www.isthe.com/chongo/tech/comp/fnv
 */
export function hashText64(text: string): string {
  let high = 0xcbf29ce4;
  let low = 0x84222325;
  for (let i = 0; i < text.length; i++) {
    low = (low ^ text.charCodeAt(i)) >>> 0;
    // (2^40 + 0x1b3) (high 2^32 + low) mod 2^64; no term exceeds 2^53
    const product = low * PRIME_LOW;
    high = (high * PRIME_LOW + Math.floor(product / WORD) + ((low << 8) >>> 0)) % WORD;
    low = product % WORD;
  }
  return [high, low].map((word) => word.toString(16).padStart(8, "0")).join("");
}
