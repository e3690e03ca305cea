/** `uncouple coupling` as a calculator: numbers from outside, forecasts, checks and refusals. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { failuresOf } from "../../src/cli/coupling/calculator.js";
import { readBytes } from "../../src/cli/coupling/coupling.js";
import { runCli } from "../../src/cli/program.js";
import { relativeError } from "../../src/coupling/verify.js";
import { temporaryFolder } from "../support/folders.js";
import { readGolden } from "../support/golden.js";
import { TextStream } from "../support/streams.js";

const golden = readGolden("qwen2-tied-gqa");

async function run(samples: unknown, ...args: string[]) {
  const file = join(await temporaryFolder(), "samples.json");
  await writeFile(file, JSON.stringify(samples));
  const [stdout, stderr] = [new TextStream(), new TextStream()];
  const streams = { stdout, stderr, env: process.env };
  const code = await runCli(["coupling", "--model", golden.folder, "--samples", file, ...args], streams);
  return { code, stdout: stdout.text, stderr: stderr.text };
}

test("prints the Gram, and the layers that it is the sum of, after a forecast", async () => {
  const { code, stdout, stderr } = await run(
    golden.samples,
    "--json",
    "--verify",
    "--diagnose",
    "--budget",
    "1GiB",
  );
  expect(code).toBe(0);
  const { gram, layers, ids } = JSON.parse(stdout);
  expect(ids).toHaveLength(5);
  expect(relativeError(gram.flat(), golden.gram.flat())).toBeLessThan(1e-5);
  expect(Object.keys(layers).sort()).toEqual(Object.keys(golden.layers).sort());
  const sum = Object.values<number[][]>(layers).reduce((a, b) =>
    a.map((row, i) => row.map((x, j) => x + b[i][j])),
  );
  expect(relativeError(sum.flat(), gram.flat())).toBeLessThan(1e-12);
  expect(stderr).toMatch(/forecast: 5 samples, \d+ tokens, 1 pass; at most \d+ MiB .* about \S+ s/);
  expect(stderr).toMatch(/verify: samples 0, 1, 2, 3, 4.*\n( .*\n)+.*e-\d+ {2}total/);
  expect(stderr).toMatch(/sample 4: squared norm .* alone, cosine (1\.0000|0\.99999)/);
});

test("without --json: one line a sample; weights count", async () => {
  const [{ tokens, responseStart }] = golden.samples;
  const weights = tokens.slice(responseStart).map(() => 3);
  const { code, stdout } = await run([
    { tokens, responseStart },
    { tokens, responseStart, weights },
  ]);
  expect(code).toBe(0);
  const norms = [...stdout.matchAll(/gradient norm (\S+), cosine largest with \d \(1\.000\)/g)].map(
    ([, norm]) => Number(norm),
  );
  expect(norms).toHaveLength(2);
  expect(norms[1] / norms[0]).toBeCloseTo(3, 3);
  // ids are of the content: equal samples share one
  const ids = (text: string) => [...text.matchAll(/sample \d \((\w{16})\)/g)].map(([, id]) => id);
  expect(new Set(ids(stdout)).size).toBe(2);
  const same = await run([{ tokens, responseStart, weights: weights.map(() => 1) }, golden.samples[1]]);
  expect(ids(same.stdout)[0]).toBe(ids(stdout)[0]);
});

test("a sample whose weights are all 0 has no gradient, and nothing is divided by its norm", async () => {
  const [{ tokens, responseStart }, second] = golden.samples;
  const none = { tokens, responseStart, weights: tokens.slice(responseStart).map(() => 0) };
  const { code, stdout } = await run([second, none], "--verify", "--diagnose");
  expect(code).toBe(0);
  expect(stdout).toMatch(/gradient norm 0.0000, cosine largest with 0 \(0.000\)/);
  expect(stdout).not.toContain("NaN");
});

test("paths and approximations: the same within their errors, which verification tells", async () => {
  for (const path of ["product", "token"]) {
    const { code, stdout } = await run(golden.samples, "--json", "--verify", "--path", path);
    expect(code).toBe(0);
    expect(relativeError(JSON.parse(stdout).gram.flat(), golden.gram.flat())).toBeLessThan(1e-5);
  }
  const coarse = await run(golden.samples, "--json", "--verify", "--approximate", "2");
  expect(coarse.code).toBe(0);
  const error = relativeError(JSON.parse(coarse.stdout).gram.flat(), golden.gram.flat());
  expect(error).toBeGreaterThan(1e-3);
  expect(coarse.stderr).toContain(`${error.toExponential(1)}  total`);
  const wrong = await run(golden.samples, "--approximate", "2", "--path", "token");
  expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining("--path") });
});

test("--last-layer: scores of groups without a backward pass", async () => {
  const [first, second, third] = golden.samples;
  const samples = [
    { ...first, advantage: 1, group: "one" },
    { ...second, advantage: -1, group: "one" },
    { ...third, advantage: -0.5, group: "one" },
  ];
  const { code, stdout } = await run(samples, "--last-layer", "--json");
  expect(code).toBe(0);
  const { gram, groups } = JSON.parse(stdout);
  expect(gram).toHaveLength(3);
  expect(groups).toMatchObject([{ group: "one", positives: [0], negatives: [1, 2] }]);
  expect(groups[0].tokens[0].scores).toHaveLength(second.tokens.length - second.responseStart);
  // the scores of a negative's tokens add up to its entry of the Gram, of the only positive
  const sum = groups[0].tokens[0].scores.reduce((total: number, one: number) => total + one, 0);
  expect(sum).toBeCloseTo(gram[0][1], 4);
  const text = await run(samples, "--last-layer", "3");
  expect(text.stdout).toMatch(
    /group one: 1 positive, 2 negative, GWHES \S+, NTHR threshold \S+\n {2}sample 1: /,
  );
  const refused = await run(samples, "--last-layer", "--verify");
  expect(refused).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("--verify cannot go with --last-layer"),
  });
  expect((await run(samples, "--last-layer", "0")).code).toBe(2);
});

test("bad files and samples are refused by name", async () => {
  const good = { tokens: [1, 2, 3], responseStart: 1 };
  expect(await run({})).toMatchObject({ code: 2, stderr: expect.stringContaining("malformed at the top") });
  expect(await run([good, { tokens: [1, 2] }])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("malformed at sample 1, responseStart"),
  });
  expect(await run([good, { tokens: [1, 999], responseStart: 1 }])).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/sample 1: token 1 is not in the vocabulary: got id 999/),
  });
  expect(await run([good], "--budget", "10")).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("budget too small: got 10 bytes"),
  });
  expect(await run([good], "--budget", "much")).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('--budget is wrong: got "much"'),
  });
});

test("sizes with units", () => {
  expect(["7", "2GiB", "1.5 gb", "512MiB", "3kB"].map(readBytes)).toEqual([7, 2 ** 31, 1.5e9, 2 ** 29, 3000]);
  for (const text of ["", "0", "-1GiB", "2TiBs", "GiB"])
    expect(() => readBytes(text)).toThrow("--budget is wrong");
});

test("a verification fails for errors above the bound, and for those that are no number", () => {
  const found = failuresOf(
    [
      { name: "a", error: 1e-5 },
      { name: "b", error: 2e-4 },
      { name: "c", error: Number.NaN },
    ],
    1e-4,
  );
  expect(found).toEqual(["b 2.0e-4", "c NaN"]);
});
