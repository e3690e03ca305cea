/** Hashes against published values. */
import { expect, test } from "vitest";
import { hashText64 } from "../../src/core/hash.js";

// FNV's own test vectors of fnv1a_64
test.each([
  ["", "cbf29ce484222325"],
  ["a", "af63dc4c8601ec8c"],
  ["b", "af63df4c8601f1a5"],
  ["foobar", "85944171f73967e8"],
])("the hash of %j is that of FNV-1a", (text, hash) => {
  expect(hashText64(text)).toBe(hash);
});

test("texts that differ in one place or in order have other hashes, all of 16 digits", () => {
  const texts = Array.from({ length: 5000 }, (_, i) => `step ${i % 71} of ${i} \u{1f511}`);
  const hashes = new Set(texts.map(hashText64));
  expect(hashes.size).toBe(texts.length);
  for (const hash of hashes) expect(hash).toMatch(/^[0-9a-f]{16}$/);
});
