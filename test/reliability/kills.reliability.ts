/** A hundred kills of whole trainings: what follows has the bits of a run that nobody disturbed. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, watch } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Random } from "../../src/core/random.js";
import { buildForTest } from "../support/built.js";
import { TINY_RUN } from "../support/tiny_run.js";

const KILLS = 100;
/** Milliseconds after the run folder is made or opened in which a third of the kills falls. */
const FIRST_MS = 50;
/** Changes of files below the run folder, of which a whole run makes more: after one of them another third falls. */
const CHANGES = 120;
const SIGNALS = ["SIGKILL", "SIGKILL", "SIGTERM", "SIGHUP"] as const;
/** Exit code of a run that was stopped by a signal and saved. */
const STOPPED = 75;

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
    : ["train", `name=${name}`, `out=${out}`, ...TINY_RUN];
}

type Moment = "first milliseconds" | "change of a file" | "any time";

/** Kills at the moment. @returns how not to */
function killAt(moment: Moment, kill: () => void, random: Random, duration: number): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const after = (milliseconds: number) => {
    timer ??= setTimeout(kill, milliseconds);
  };
  if (moment === "any time") after(random.uniform() * duration);
  const wanted = random.integer(CHANGES);
  const delay = random.uniform() * FIRST_MS;
  let changes = 0;
  const watcher = watch(out, { recursive: true }, () => {
    changes++;
    if (moment === "first milliseconds") after(delay);
    if (moment === "change of a file" && changes > wanted) after(0);
  });
  return () => {
    watcher.close();
    clearTimeout(timer);
  };
}

const NOT_COMPARED = /^(time|perf\/|gpu\/)/;

function rowsOf(path: string): object[] {
  const rows = readFileSync(path, "utf8").trim().split("\n");
  return rows.map((row) =>
    Object.fromEntries(Object.entries(JSON.parse(row) as object).filter(([key]) => !NOT_COMPARED.test(key))),
  );
}

/** Weights by their hash, checkpoints with their checksums, and all records that do not tell times. */
function resultOf(name: string) {
  const at = (...names: string[]) => join(out, name, ...names);
  const checkpoints = readdirSync(at("checkpoints")).sort();
  return {
    weights: createHash("sha256")
      .update(readFileSync(at("export", "model.safetensors")))
      .digest("hex"),
    checkpoints,
    states: checkpoints
      .filter((file) => file.startsWith("step_"))
      .map((file) => readFileSync(at("checkpoints", file, "state.json"), "utf8")),
    rollouts: readdirSync(at("rollouts")).map((file) => [file, readFileSync(at("rollouts", file), "utf8")]),
    metrics: rowsOf(at("metrics.jsonl")),
    evaluations: rowsOf(at("eval.jsonl")),
  };
}

const isFinished = (name: string) =>
  existsSync(join(out, name, "run.json")) &&
  JSON.parse(readFileSync(join(out, name, "run.json"), "utf8")).status === "finished";

test(`${KILLS} kills`, async () => {
  const begun = performance.now();
  expect(await start(command("whole")).ended).toMatchObject({ code: 0 });
  const duration = performance.now() - begun;
  const whole = resultOf("whole");
  expect(whole.states.length).toBeGreaterThan(1);
  const random = Random.of(1, "kills");
  const told = new Map<string, number>();
  let [kills, finished] = [0, 0];
  for (let run = 0; kills < KILLS || finished < run; ) {
    const name = `run_${run}`;
    const { child, ended } = start(command(name));
    const moment = random.pick(["first milliseconds", "change of a file", "any time"] as const);
    const signal = random.pick(SIGNALS);
    // the last run is left to end
    const leave = kills < KILLS ? killAt(moment, () => child.kill(signal), random, duration) : () => {};
    const { code, signal: killedBy, said } = await ended;
    leave();
    if (child.killed) {
      kills++;
      for (const key of [signal, moment]) told.set(key, (told.get(key) ?? 0) + 1);
    }
    // killed, stopped in order with its checkpoint saved, or ended before the signal came
    if (killedBy !== null) expect(killedBy).toBe(signal);
    else expect({ code: child.killed && code === STOPPED ? 0 : code, said }).toMatchObject({ code: 0 });
    if (!isFinished(name)) continue;
    expect(resultOf(name)).toEqual(whole);
    finished++;
    run++;
  }
  console.log(
    `${kills} kills (${[...told].map((pair) => pair.join(" ")).join(", ")}), ${finished} runs ended, ` +
      `${(duration / 1000).toFixed(1)} s undisturbed`,
  );
});
