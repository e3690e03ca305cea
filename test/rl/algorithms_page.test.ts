/** docs/algorithms.md tells the presets and defaults that the code has. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { ALGORITHMS, PRESETS } from "../../src/config/presets.js";
import { trainConfigSchema } from "../../src/config/schema.js";

const page = readFileSync(new URL("../../docs/algorithms.md", import.meta.url), "utf8");

/** Settings written as `field: value` in a text. */
function settingsIn(text: string): Record<string, unknown> {
  const pairs = [...text.matchAll(/`(\w+: [^`]+)`/g)].map(
    ([, pair]) => parse(pair) as Record<string, unknown>,
  );
  return Object.assign({}, ...pairs);
}

test.each(ALGORITHMS)("the page's row of %s is its preset", (algorithm) => {
  const row = page.split("\n").find((line) => line.startsWith(`| \`${algorithm}\` |`));
  const base = row?.includes("as `gigpo`") ? PRESETS.gigpo : {};
  expect({ ...base, ...settingsIn(row as string) }).toEqual(PRESETS[algorithm]);
});

test("fields named on the page exist", () => {
  const known = new Set(Object.keys(trainConfigSchema.parse({}).grpo));
  const tables = page.split("\n").filter((line) => /^\| `\w+`(, `\w+`)* \|/.test(line));
  const names = tables.flatMap((line) =>
    [...(line.split("|")[1] as string).matchAll(/`(\w+)`/g)].map(([, name]) => name),
  );
  const others = new Set<string>([
    ...ALGORITHMS,
    "k1",
    "k2",
    "k3",
    "k3_corrected",
    "token_mean",
    "sequence_mean",
    "sequence_sum",
    "frac_reward_zero_std",
    "effective_sample_share",
  ]);
  expect(names.filter((name) => !known.has(name) && !others.has(name))).toEqual([]);
  expect(names.length).toBeGreaterThan(20);
});
