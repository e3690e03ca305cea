/** `uncouple quickstart`: what it prints, and that it runs to its end on a handful of games. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { register as quickstart } from "../../src/cli/experiment/quickstart.js";
import { couplingTable, successTable, verdict, worstPair } from "../../src/cli/experiment/quickstart_text.js";
import { runCli } from "../../src/cli/program.js";
import type { CouplingDocument } from "../../src/report/coupling_document.js";
import type { ExperimentResult } from "../../src/report/experiment_rows.js";
import { temporaryFolder } from "../support/folders.js";
import { TextStream } from "../support/streams.js";

/** Wins of 100 games of L0 and L1, and inversions of 50 punished samples. */
function result(cell: string, wins: readonly [number, number], inversions: number): ExperimentResult {
  const splits = ["L0", "L1"].map((split, at) => ({ split, mode: "greedy", episodes: 100, wins: wins[at] }));
  const coupling = {
    "coupling/samples": 64,
    punished: 50,
    inversions,
    "inversions by coupling": inversions - 1,
  };
  return { cell, splits, coupling } as unknown as ExperimentResult;
}

const plain = result("plain", [50, 40], 12);

test("tables have a column a policy", () => {
  const results = [result("start", [30, 20], 20), plain, result("gcd", [51, 42], 8)];
  expect(successTable(results)).toMatch(/success +│ +│ games │ start +│ GRPO +│ GRPO \+ GCD/);
  // Wilson: 40 of 100
  expect(successTable(results)).toMatch(/L1 +│ greedy │ 100 .*│ 40 % \(31 % to 50 %\) │/);
  expect(couplingTable(results)).toMatch(/64 samples of the start +│ start +│ GRPO +│ GRPO \+ GCD/);
  expect(couplingTable(results)).toMatch(/other states \(coupling\) +│ 19 of 50 │ 11 of 50 │ 7 of 50/);
});

test("a difference is called one only beyond its interval, with its sign", () => {
  const start = result("start", [30, 20], 20);
  expect(verdict([start, plain, result("gcd", [51, 42], 8)])).toMatch(
    /^GCD beside plain GRPO: all of 2 differences in success are within noise/,
  );
  expect(verdict([start, plain, result("gcd", [52, 70], 8)])).toMatch(
    /plain GRPO: L1 greedy \+30 points \(\+16 to \+42\), 1 of 2 differences/,
  );
  expect(verdict([start, plain, result("gcd", [20, 40], 8)])).toMatch(
    /L0 greedy -30 points \(-42 to -17\), 1 of 2/,
  );
});

test("the worst pair says who lifts whom, each with its state", () => {
  const sample = (action: string, advantage: number, stateText: string) => ({
    action,
    advantage,
    stateText,
    state: stateText,
  });
  const document = {
    name: "plain at 48",
    samples: [
      sample("take plate 1", -1, "a\n  shelf"),
      sample("take plate 2", 2, `${"x ".repeat(200)}a table`),
    ],
    pairs: [{ from: 1, to: 0, gram: 3, cosine: 0.9, change: 0.25 }],
  };
  expect(worstPair(document as unknown as CouplingDocument)).toMatch(
    /under plain at 48, of 2 samples: “take plate 2” \(advantage \+2\) raises “take plate 1” .*\n {2}rewarded in: ….*a table\n {2}punished in: a shelf$/,
  );
  expect(worstPair({ ...document, pairs: [] } as unknown as CouplingDocument)).toMatch(
    /no rewarded sample lifts/,
  );
});

test("from the start to the tables, and a second time without training", { timeout: 300_000 }, async () => {
  const out = join(temporaryFolder(), "quick");
  const small = [
    ...["world.max_steps=2", "world.household.train=8", "world.household.difficulty=easy"],
    ...["imitation.episodes=16", "imitation.max_steps=40", "imitation.batch_size=16"],
    ...["grpo.max_steps=2", "grpo.warmup_steps=0", "grpo.tasks_per_step=3", "grpo.num_generations=4"],
    ...["eval.episodes=2", "eval.modes=[greedy]", "checkpoint.save_steps=10"],
  ];
  const run = async () => {
    const [stdout, stderr] = [new TextStream(), new TextStream()];
    const args = ["quickstart", "--seed", "3", "--out", out, ...small];
    const code = await runCli(args, { stdout, stderr, env: process.env }, [quickstart]);
    return { code, out: stdout.text, err: stderr.text };
  };
  const first = await run();
  expect(first).toMatchObject({ code: 0 });
  expect(first.err).toMatch(/run: start\n[\s\S]*run: plain__s3\n[\s\S]*run: gcd__s3\n/);
  expect(first.out).toMatch(/ {2}L2: new houses and a task type that only the cold start has seen\n/);
  expect(first.out).toMatch(/│ L2 +│ greedy │ 2 /);
  expect(first.out).toMatch(/\d+ samples of the start/);
  expect(first.out).toContain(`npx uncouple watch ${join(out, "runs")}`);
  const again = await run();
  expect(again.out).toBe(first.out);
  expect(again.err).not.toContain("run: ");
});
