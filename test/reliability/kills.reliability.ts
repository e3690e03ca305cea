/** A hundred kills of whole trainings at random moments, the first milliseconds included: what follows has the bits of a run that nobody disturbed. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Random } from "../../src/core/random.js";
import { buildForTest } from "../support/built.js";

const KILLS = 100;
/** One in three within so many milliseconds of the start, when the folder is made. */
const FIRST_MS = 50;
const SIGNALS = ["SIGKILL", "SIGKILL", "SIGTERM", "SIGHUP"] as const;

const SETTINGS = [
  "world.household.train=8",
  "world.household.in_domain=2",
  "world.household.out_of_domain=0",
  "world.household.difficulty=easy",
  "world.max_steps=4",
  "imitation.episodes=2",
  "imitation.max_steps=4",
  "imitation.batch_size=4",
  "grpo.max_steps=3",
  "grpo.tasks_per_step=2",
  "grpo.num_generations=2",
  "grpo.learning_rate=1e-3",
  "eval.at_start=false",
  "eval.episodes=2",
  "eval.modes=[greedy]",
  "eval.splits=[in_domain]",
  "checkpoint.save_steps=1",
  "device.tune=false",
];

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly said: string;
}

const built = buildForTest("kills");
afterAll(built.remove);
const program = join(built.folder, "src", "cli", "main.js");
const out = mkdtempSync(join(tmpdir(), "kills-"));

function start(args: readonly string[]): { readonly child: ChildProcess; readonly ended: Promise<Ended> } {
  const child = spawn(process.execPath, [program, ...args], { env: { ...process.env, UNCOUPLE_TUNE: "0" } });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream?.on("data", (data: Buffer) => {
      said += data.toString();
    });
  const ended = new Promise<Ended>((resolve) => {
    child.on("close", (code, signal) => resolve({ code, signal, said }));
  });
  return { child, ended };
}

/** How a run begins, or goes on where it was cut. */
function command(name: string): string[] {
  const folder = join(out, name);
  return existsSync(join(folder, "run.json"))
    ? ["train", "--resume", folder]
    : ["train", `name=${name}`, `out=${out}`, ...SETTINGS];
}

const NOT_COMPARED = /^(time|perf\/|gpu\/)/;

/** Weights by their hash, and all metrics that do not tell times. */
function resultOf(name: string) {
  const weights = readFileSync(join(out, name, "export", "model.safetensors"));
  const rows = readFileSync(join(out, name, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n");
  return {
    sha256: createHash("sha256").update(weights).digest("hex"),
    metrics: rows.map((row) =>
      Object.fromEntries(
        Object.entries(JSON.parse(row) as object).filter(([key]) => !NOT_COMPARED.test(key)),
      ),
    ),
  };
}

test(`${KILLS} kills`, async () => {
  const begun = performance.now();
  expect(await start(command("whole")).ended).toMatchObject({ code: 0 });
  const duration = performance.now() - begun;
  const whole = resultOf("whole");
  const random = Random.of(1, "kills");
  const [told, finished] = [new Map<string, number>(), [] as string[]];
  let kills = 0;
  for (let run = 0; kills < KILLS || finished.length < run; ) {
    const name = `run_${run}`;
    const { child, ended } = start(command(name));
    const isEarly = random.uniform() < 1 / 3;
    const delay = random.uniform() * (isEarly ? FIRST_MS : duration);
    const signal = random.pick(SIGNALS);
    // the last run is left to end
    const timer = kills < KILLS ? setTimeout(() => child.kill(signal), delay) : undefined;
    const { code, said } = await ended;
    clearTimeout(timer);
    if (child.killed) {
      kills++;
      told.set(signal, (told.get(signal) ?? 0) + 1);
    }
    // a stop that was obeyed ends in order; anything else that is not a kill is a fault
    if (!child.killed) expect({ code, said }).toMatchObject({ code: 0 });
    if (!existsSync(join(out, name, "export", "model.safetensors"))) continue;
    if (JSON.parse(readFileSync(join(out, name, "run.json"), "utf8")).status !== "finished") continue;
    expect(resultOf(name)).toEqual(whole);
    finished.push(name);
    run++;
  }
  console.log(
    `${kills} kills (${[...told].map((pair) => pair.join(" ")).join(", ")}), ${finished.length} runs ended, ` +
      `${(duration / 1000).toFixed(1)} s undisturbed`,
  );
});
