/** `coupling` of an experiment: the start and each cell read the same samples; what was measured is not measured again. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { register as coupling } from "../../src/cli/coupling/coupling.js";
import { experimentWith } from "../../src/cli/experiment/experiment.js";
import { runCli } from "../../src/cli/program.js";
import { readJsonLines } from "../../src/host/files/json_lines.js";
import { type TrainLoop, trainLoop } from "../../src/host/run/train_loop.js";
import type { ExperimentResult } from "../../src/report/experiment_rows.js";
import { temporaryFolder } from "../support/folders.js";
import { TextStream } from "../support/streams.js";

const TINY = `
base:
  world:
    max_steps: 2
    household: { train: 8, seen_houses: 4, in_domain: 4, out_of_domain: 2, difficulty: easy }
  prompt: { answer: tag }
  imitation: { episodes: 16, max_steps: 40, batch_size: 16, learning_rate: 5.0e-3 }
  grpo:
    max_steps: 2
    tasks_per_step: 3
    num_generations: 4
    max_completion_length: 5
    learning_rate: 1.0e-3
    invalid_action_penalty: 0.5
  eval: { episodes: 2, modes: [greedy] }
start: { train: }
splits: { L1: { of: in_domain } }
axes:
  method: { plain: , entropy: { grpo: { entropy_coef: 0.5 } } }
baseline: { method: plain }
coupling: { samples: 6 }
seeds: [0]
`;

const never: TrainLoop = async () => {
  throw new Error("training must not start");
};

async function run(loop: TrainLoop, ...args: string[]) {
  const [stdout, stderr] = [new TextStream(), new TextStream()];
  const code = await runCli(args, { stdout, stderr, env: process.env }, [experimentWith(loop), coupling]);
  return { code, out: stdout.text, err: stderr.text };
}

test("every policy reads the samples of the start, once", { timeout: 300_000 }, async () => {
  const root = temporaryFolder();
  const [file, out] = [join(root, "tiny.yaml"), join(root, "tiny")];
  writeFileSync(file, TINY);
  const args = ["experiment", "-c", file, "--out", out];
  const results = async () => (await readJsonLines(join(out, "results.jsonl"))) as ExperimentResult[];
  expect(await run(trainLoop, ...args)).toMatchObject({ code: 0 });
  const [start, plain, entropy] = await results();
  expect(start.coupling?.["coupling/samples"]).toBe(6);
  const loss = "coupling/sample_grad_norm";
  expect(new Set([start, plain, entropy].map((row) => row.coupling?.[loss])).size).toBe(3);

  // the command for one run measures the same
  const runs = join(out, "runs");
  const compared = ["--run", join(runs, "start"), "--compare", join(runs, "entropy__s0")];
  const text = await run(never, "coupling", ...compared, "--samples", "6", "--json", "--out", root);
  expect(text).toMatchObject({ code: 0 });
  const { analyses } = JSON.parse(text.out);
  expect(start.coupling).toMatchObject(analyses[0].numbers);
  expect(entropy.coupling).toMatchObject(analyses[1].numbers);
  expect(entropy.coupling?.["action cosine, good and bad, across states"]).toBe(
    analyses[1].actionTokens.acrossStates.goodBad.mean,
  );

  const report = () => readFileSync(join(out, "report.md"), "utf8");
  expect(report()).toMatch(
    /## Coupling\n[\s\S]*\| start \| 1 \| .*\n\| plain \| 1 \| .*\n\| entropy \| 1 \| /,
  );
  expect(report()).toMatch(/## Coupling, difference from the baseline\n[\s\S]*\| entropy \| plain \| [+-]\d/);

  // nothing is done twice; what is gone is measured anew and is the same
  expect((await run(never, ...args)).err).not.toContain("coupling: ");
  rmSync(join(out, "coupling", "plain__s0.json"));
  const again = await run(never, ...args);
  expect(again.err.match(/coupling: .*/g)).toEqual(["coupling: plain__s0"]);
  expect((await results())[1].coupling).toEqual(plain.coupling);
  // other wishes: all of them
  writeFileSync(file, TINY.replace("samples: 6", "samples: 4"));
  expect((await run(never, ...args)).err.match(/coupling: .*/g)).toHaveLength(3);
  expect((await results())[2].coupling?.["coupling/samples"]).toBe(4);
  // a record of other samples is not mixed with new ones
  const record = join(out, "coupling", "start.json");
  writeFileSync(
    record,
    readFileSync(record, "utf8").replace(/"samples_sha256": "\w{4}/, '"samples_sha256": "0000'),
  );
  rmSync(join(out, "coupling", "plain__s0.json"));
  expect(await run(never, ...args)).toMatchObject({
    code: 2,
    err: expect.stringMatching(
      /\[coupling\] the start plays other games than before: got samples \w{12}, expected 0000\w{8} as start/,
    ),
  });

  // samples are what the run of the start plays
  writeFileSync(
    file,
    TINY.replace("start: { train: }", `start: { model: ${join(runs, "start", "export")} }`),
  );
  expect(await run(never, ...args, "--dry-run")).toMatchObject({
    code: 2,
    err: expect.stringMatching(
      /tiny\.yaml:\d+.*coupling: .*expected nothing unless the start is trained here/,
    ),
  });
});
