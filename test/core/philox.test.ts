import { expect, test } from "vitest";
import { philox4x32, uniformOfWord } from "../../src/core/philox.js";

test("known answers of Philox4x32-10", () => {
  // the three vectors published with the algorithm's reference implementation
  expect(philox4x32([0, 0, 0, 0], [0, 0])).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  const ones = 0xffffffff;
  expect(philox4x32([ones, ones, ones, ones], [ones, ones])).toEqual([
    0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd,
  ]);
  expect(philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])).toEqual([
    0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1,
  ]);
});

test("uniform numbers stay strictly between 0 and 1 in float32", () => {
  for (const word of [0, 1, 511, 512, 0x7fffffff, 0xffffffff]) {
    const uniform = uniformOfWord(word);
    expect(Math.fround(uniform)).toBe(uniform);
    expect(uniform).toBeGreaterThan(0);
    expect(uniform).toBeLessThan(1);
  }
});
