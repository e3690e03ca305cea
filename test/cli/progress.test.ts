/** Progress on a terminal and elsewhere. */
import { expect, test } from "vitest";
import {
  bytesText,
  durationText,
  figures,
  Progress,
  type ProgressOptions,
} from "../../src/cli/train/progress.js";
import type { Metrics, RunSink } from "../../src/core/run_record.js";
import { TextStream } from "../support/streams.js";

const row = (step: number): Metrics => ({
  step,
  stage: "grpo",
  success: 0.4375,
  loss: -0.00123456,
  "perf/tokens_per_s": 12345.6,
  "gpu/bytes_live": 3 * 2 ** 20,
  reward: null,
});
const FIGURES = "success 43.8%, loss -0.00123, tokens/s 12346, GPU 3.0 MiB";

/** Progress that is printed line by line, on a clock that tests set. */
function printed(options: Pick<ProgressOptions, "total" | "done" | "seconds">) {
  const stream = new TextStream();
  const lines: string[] = [];
  const clock = { now: 0 };
  const progress = new Progress({
    ...options,
    stream,
    isLive: false,
    clock: () => clock.now,
    print: (line) => lines.push(line),
  });
  return { progress, stream, lines, clock };
}

test("figures, durations and bytes are short", () => {
  expect(figures(row(1))).toBe(FIGURES);
  expect(figures({ step: 1, stage: "imitation" })).toBe("");
  expect([0.4, 59, 60, 3599, 3600, 90061, Number.NaN].map(durationText)).toEqual([
    "0s",
    "59s",
    "1m00s",
    "59m59s",
    "1h00m",
    "25h01m",
    "?",
  ]);
  expect([0, 1023, 1024, 1536 * 2 ** 20, 2 ** 50].map(bytesText)).toEqual([
    "0 B",
    "1023 B",
    "1.0 KiB",
    "1.5 GiB",
    "1024.0 TiB",
  ]);
});

test("without a terminal: the first line, one every few seconds, and the last", () => {
  const { progress, stream, lines, clock } = printed({ total: 30, done: 10, seconds: 10 });
  for (let step = 11; step <= 30; step++) {
    clock.now += 2000;
    progress.update(row(step));
  }
  progress.stop();
  expect(lines.map((line) => line.split(",").slice(0, 2).join())).toEqual([
    "grpo 11/30, 38s left",
    "grpo 16/30, 28s left",
    "grpo 21/30, 18s left",
    "grpo 26/30, 8s left",
    "grpo 30/30, 0s left",
  ]);
  expect(lines[0]).toBe(`grpo 11/30, 38s left, ${FIGURES}`);
  expect(stream.text).toBe("");
});

test("on a terminal: a bar that messages appear above", async () => {
  const stream = Object.assign(new TextStream(), {
    isTTY: true,
    columns: 200,
    cursorTo() {},
    clearLine() {},
  });
  let now = 0;
  const options = {
    stream,
    isLive: true,
    total: 4,
    done: 0,
    clock: () => now,
    print: () => stream.write("line\n"),
  };
  const progress = new Progress(options);
  const heard: Metrics[] = [];
  const sink: RunSink = {
    metrics: async (given) => void heard.push(given),
    evaluation: async () => {},
    transcripts: async () => {},
    rollouts: async () => {},
    checkpoint: async () => {},
  };
  now += 1000;
  await progress.watch(sink).metrics(row(1));
  progress.logger({ info: (message) => void stream.write(`${message}\n`), warn() {} }).info("hello");
  progress.stop();
  expect(heard).toEqual([row(1)]);
  expect(stream.text).toContain("\r\u001b[Khello\n");
  expect(stream.text).toMatch(/grpo .*1\/4, 3s left, success 43\.8%/);
  expect(stream.text).not.toContain("line\n");
});

test("time left goes by the pace of the current stage", () => {
  const { progress, lines, clock } = printed({ total: 60, done: 0, seconds: 0 });
  for (let step = 1; step <= 40; step++) {
    clock.now += 100;
    progress.update({ step, stage: "imitation" });
  }
  for (let step = 41; step <= 42; step++) {
    clock.now += 5000;
    progress.update({ step, stage: "grpo" });
  }
  progress.stop();
  expect(lines.at(39)).toBe("imitation 40/60, 2s left");
  expect(lines.at(41)).toBe("grpo 42/60, 1m30s left");
});
