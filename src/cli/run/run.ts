/** `uncouple run`: what run folders hold, for terminals and scripts. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import Table from "cli-table3";
import { ConfigError } from "../../core/errors.js";
import { writeFileAtomic } from "../../host/files/files.js";
import { eventFileBytes } from "../../host/files/tensorboard.js";
import { trackioCsv } from "../../report/trackio.js";
import type { RunDetail } from "../../watch/api.js";
import type { OpenRun } from "../../watch/open_run.js";
import { OpenRuns } from "../../watch/open_runs.js";
import { RunTree } from "../../watch/run_tree.js";
import { wholeNumber } from "../kit/numbers.js";
import { plainCommand, type Register } from "../kit/options.js";
import { keptEpisodes, showEpisodes } from "./episodes.js";
import { allOf, openRunAt, pointsOf } from "./opened.js";

const STYLE = { head: [], border: [], compact: true };

export const register: Register = (program, { env, terminal }) => {
  const run = program.command("run").description("list, show, compare and export run folders");

  plainCommand(run, "ls", "list the runs of a folder")
    .argument("[folder]", "folder of run folders (default: the variable UNCOUPLE_RUNS_DIR, else runs)")
    .option("--json", "print one JSON array")
    .action(async (folder, { json }) => {
      const path = folder ?? (env.UNCOUPLE_RUNS_DIR || "runs");
      // before the first run nobody has made the folder
      const isNone = folder === undefined && !existsSync(path);
      const lines = isNone ? [] : await new OpenRuns(await RunTree.open(path), Date.now).allLines();
      if (isNone) terminal.info(`no runs yet: there is no folder ${path}`);
      if (json) return terminal.printJson(lines);
      const table = new Table({
        head: ["run", "status", "updates", "success", "evaluated", "algorithm", "world"],
        style: STYLE,
      });
      for (const { run, status, step, steps, success, evaluated, algorithm, world } of lines)
        table.push([
          run,
          status,
          steps === null ? step : `${step} / ${steps}`,
          shown(success),
          shown(evaluated),
          algorithm ?? "",
          world ?? "",
        ]);
      terminal.print(table.toString());
    });

  plainCommand(run, "show", "what one run is and where it stands")
    .argument("<run>", "run folder")
    .option(
      "--episodes <update>",
      "print the kept episodes of the evaluation after that update instead",
      wholeNumber(0, Number.MAX_SAFE_INTEGER),
    )
    .option("--json", "print one JSON object")
    .action(async (path, { json, episodes }) => {
      const opened = await openRunAt(path);
      const detail = await opened.detail();
      if (episodes !== undefined) return showEpisodes(opened, detail, episodes, { json, terminal });
      const newest = lastValues(opened, detail.keys);
      if (json) return terminal.printJson({ ...detail, newest, evaluations: opened.evaluations });
      for (const line of headLines(detail)) terminal.print(line);
      const table = new Table({ head: ["metric", `update ${opened.metrics.lastStep}`], style: STYLE });
      for (const [key, value] of Object.entries(newest)) table.push([key, shown(value)]);
      terminal.print(table.toString());
      for (const { step, split, mode, success, low, high, episodes } of opened.evaluations.slice(-4))
        terminal.print(
          `evaluation after update ${step}, ${split}, ${mode}: success ${shown(success)} (${shown(low)} to ${shown(high)}, ${episodes} episodes)`,
        );
      if (detail.transcriptSteps.length > 0)
        terminal.print(`${keptEpisodes(detail)}: --episodes ${detail.transcriptSteps.at(-1)} prints some`);
    });

  plainCommand(run, "get", "every value of one metric: update and value a line")
    .argument("<run>", "run folder")
    .argument("<key>", "name of a metric, as metrics.jsonl has it")
    .option("--json", "print one JSON array of [update, value]")
    .action(async (path, key, { json }) => {
      const opened = await openRunAt(path);
      const points = pointsOf(allOf(opened, [key]), key);
      if (points.length === 0) throw unknownKey(key, opened.metrics.keys);
      if (json) terminal.printJson(points);
      else for (const [step, value] of points) terminal.print(`${step}\t${value}`);
    });

  plainCommand(run, "diff", "settings and newest numbers in which two runs differ")
    .argument("<a>", "run folder")
    .argument("<b>", "run folder")
    .option("--json", "print one JSON object")
    .action(async (a, b, { json }) => {
      const opened = [await openRunAt(a), await openRunAt(b)] as const;
      const [first, second] = await Promise.all(opened.map((one) => one.detail()));
      const settings = differences(first.settings, second.settings);
      const newest = differences(lastValues(opened[0], first.keys), lastValues(opened[1], second.keys));
      if (json) return terminal.printJson({ settings, newest });
      const parts: [string, Record<string, (string | number | null | undefined)[]>][] = [
        ["setting", settings],
        ["newest", newest],
      ];
      for (const [title, rows] of parts) {
        const table = new Table({ head: [title, first.run, second.run], style: STYLE });
        for (const [name, values] of Object.entries(rows))
          table.push([name, ...values.map((value) => shown(value ?? null))]);
        terminal.print(table.toString());
      }
    });

  plainCommand(run, "export", "write the metrics as a TensorBoard event file, which wandb sync reads, too")
    .argument("<run>", "run folder")
    .option("--trackio", "write the CSV file that trackio.import_csv reads instead")
    .option("--out <folder>", "where the file goes (default: tensorboard/ or trackio/ in the run folder)")
    .action(async (path, { out, trackio }) => {
      const opened = await openRunAt(path);
      const { sessions } = await opened.detail();
      if (trackio) {
        const file = join(out ?? join(resolve(path), "trackio"), `${opened.run}.csv`);
        await writeFileAtomic(file, trackioCsv(eventsOf(opened)));
        return terminal.print(file);
      }
      const started = Math.floor(Date.parse(sessions[0]?.started ?? "") / 1000) || 0;
      const file = join(out ?? join(resolve(path), "tensorboard"), `events.out.tfevents.${started}.uncouple`);
      await writeFileAtomic(file, eventFileBytes(eventsOf(opened), started));
      terminal.print(file);
    });
};

function lastValues({ metrics }: OpenRun, keys: readonly string[]): Record<string, number | null> {
  return Object.fromEntries(keys.filter((key) => key !== "time").map((key) => [key, metrics.last(key)]));
}

/** Metrics under their names, evaluations under `eval/<split>/<mode>/success`. */
function eventsOf(run: OpenRun) {
  const keys = run.metrics.keys.filter((key) => key !== "time");
  const { step, values } = allOf(run, [...keys, "time"]);
  const updates = step.map((one, index) => ({
    step: one,
    time: values.time[index] ?? 0,
    values: present(keys.map((key) => [key, values[key][index]])),
  }));
  const timeOf = new Map(updates.map(({ step: one, time }) => [one, time]));
  const evaluations = run.evaluations.map(({ step: one, split, mode, instructions, success, low, high }) => {
    const name = `eval/${split}/${mode}${instructions === null ? "" : `_${instructions}_instructions`}`;
    return {
      step: one,
      time: timeOf.get(one) ?? 0,
      values: { [`${name}/success`]: success, [`${name}/success_low`]: low, [`${name}/success_high`]: high },
    };
  });
  return [...updates, ...evaluations];
}

function present(entries: readonly (readonly [string, number | null])[]): Record<string, number> {
  return Object.fromEntries(entries.filter((entry): entry is readonly [string, number] => entry[1] !== null));
}

function differences<T>(
  a: Readonly<Record<string, T>>,
  b: Readonly<Record<string, T>>,
): Record<string, (T | undefined)[]> {
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  return Object.fromEntries(
    names.filter((name) => a[name] !== b[name]).map((name) => [name, [a[name], b[name]]]),
  );
}

function headLines({
  run,
  status,
  reason,
  step,
  steps,
  algorithm,
  world,
  seed,
  started,
  damaged,
}: RunDetail): string[] {
  return [
    `${run}: ${status}${reason === null ? "" : ` (${reason})`}, ${step}${steps === null ? "" : ` of ${steps}`} updates`,
    `${[algorithm, world].filter(Boolean).join(", ")}, seed ${seed ?? "unknown"}, started ${started ?? "unknown"}`,
    ...Object.entries(damaged).flatMap(([file, lines]) =>
      lines > 0 ? [`${file}: ${lines} damaged lines`] : [],
    ),
  ];
}

function shown(value: number | string | null): string {
  return typeof value === "number" ? String(Number(value.toPrecision(5))) : (value ?? "");
}

function unknownKey(key: string, keys: readonly string[]): ConfigError {
  const near = keys.filter((one) => one.includes(key) || key.includes(one)).slice(0, 5);
  return new ConfigError(
    `[run get] no such metric: got ${key}, expected one of the run's ${keys.length}${near.length > 0 ? `, such as ${near.join(", ")}` : ""}. ` +
      "`uncouple run show` lists them.",
  );
}
