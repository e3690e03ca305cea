/** Token ids and sampling options are refused before a GPU is asked. */
import { expect, test } from "vitest";
import { ArgumentError } from "../../src/core/errors.js";
import { checkSampling, checkTokens } from "../../src/model/check_tokens.js";

test("ids are whole numbers below the vocabulary, the last one too", () => {
  checkTokens([0, 39], 40, "sequence 0");
  for (const bad of [40, -1, 1.5, Number.NaN]) {
    expect(() => checkTokens([0, bad], 40, "sequence 3")).toThrow(ArgumentError);
    expect(() => checkTokens([0, bad], 40, "sequence 3")).toThrow(
      `[sequence 3] token is not in the vocabulary: got id ${bad} at place 1`,
    );
  }
  expect(() => checkTokens([], 40, "prompt 2")).toThrow("[prompt 2] no tokens");
});

const options = { maxNewTokens: 1, temperature: 1, endTokens: [2] };

test.each([
  ["maxNewTokens", { maxNewTokens: 0 }],
  ["maxNewTokens", { maxNewTokens: 1.5 }],
  ["maxNewTokens", { maxNewTokens: Number.POSITIVE_INFINITY }],
  ["temperature", { temperature: Number.NaN }],
  ["topK", { topK: -1 }],
  ["topP", { topP: 0 }],
  ["endTokens", { endTokens: [40] }],
])("option %s is checked (%j)", (name, change) => {
  expect(() => checkSampling(options, 40)).not.toThrow();
  expect(() => checkSampling({ ...options, ...change }, 40)).toThrow(name);
});
