/** `uncouple bench worlds`: steps a second of a world, on one environment and more, with and without its list of commands. */
import { cpus, loadavg } from "node:os";
import { type Command, type CommandUnknownOpts, Option } from "@commander-js/extra-typings";
import { benchWorlds, type WorldRow, type WorldSetting } from "../../../bench/worlds.js";
import { ConfigError } from "../../core/errors.js";
import type { World } from "../../env/world.js";
import { findOwnPackage } from "../../host/files/packages.js";
import { readGitState } from "../../host/run/git.js";
import { openScienceWorld } from "../../host/worlds/scienceworld.js";
import { javaVersion } from "../../host/worlds/scienceworld_jar.js";
import { markdownTable } from "../../report/bench_text.js";
import { wholeNumber } from "../kit/numbers.js";
import { type CliContext, plainCommand } from "../kit/options.js";
import { openWorld, WORLDS } from "../play/play_world.js";

const ROUNDS = 5;
const TASKS = 4;

interface Options {
  readonly world: (typeof WORLDS)[number];
  readonly jar?: string;
  readonly data?: string;
  readonly program?: readonly string[];
  readonly split?: string;
  readonly task?: readonly string[];
  readonly tasks: number;
  readonly environments: readonly number[];
  readonly rounds: number;
  readonly json?: true;
}

/** Adds the command below `bench`, whose own arguments and options do not matter to it. */
export function registerWorlds(bench: CommandUnknownOpts, context: CliContext): void {
  plainCommand(bench as unknown as Command, "worlds", "Steps a second of a text world, without a GPU.")
    .addOption(new Option("--world <name>", "world to measure").choices(WORLDS).default("household" as const))
    .option("--jar <file>", "ScienceWorld's jar (default: SCIENCEWORLD_JAR, else the Python package's)")
    .option("--data <folder>", "folder of ALFWorld's data (default: the variable ALFWORLD_DATA)")
    .option("--program <words...>", "external: program of the world and its arguments")
    .option("--split <name>", "split whose tasks are played (default: the first one)")
    .option("--task <ids...>", "these tasks (default: the first ones of the split that an expert solves)")
    .option(
      "--tasks <count>",
      "how many first ones; over 64, games of alfworld are made anew",
      wholeNumber(1),
      TASKS,
    )
    .addOption(
      new Option("--environments <counts...>", "environments at a time")
        .argParser((text, before: readonly number[] | undefined) => [...(before ?? []), wholeNumber(1)(text)])
        .default(undefined, "1 2"),
    )
    .option("--rounds <count>", "rounds that count", wholeNumber(1), ROUNDS)
    .option("--json", "print one JSON object")
    .action(({ environments = [1, 2], ...options }) => measure({ ...options, environments }, context));
}

async function measure(options: Options, { env, terminal }: CliContext): Promise<void> {
  const { rounds, environments, json } = options;
  const opened = await openAll(options, env);
  try {
    const [{ world }] = opened;
    terminal.info("asking the expert");
    const plans = await plansOf(world, options);
    const settings = opened.flatMap((one) =>
      environments.map((count): WorldSetting => ({ ...one, environments: count })),
    );
    const passport = await passportOf(options, [...plans.keys()], env);
    const rows = await benchWorlds(settings, {
      tasks: [...plans.keys()],
      commands: (taskId) => plans.get(taskId) ?? [],
      rounds,
      onProgress: (what) => terminal.info(what),
    });
    if (json) terminal.printJson({ passport, rows });
    else terminal.print(`${tableOf(rows)}\n\n${Object.values(passport).join("; ")}`);
  } finally {
    await Promise.all(opened.map(({ world }) => world.close?.()));
  }
}

/** The world, where that is a choice once with its list of commands and once without. */
async function openAll(options: Options, env: CliContext["env"]) {
  const { world: id, environments } = options;
  const jar = options.jar ?? env.SCIENCEWORLD_JAR;
  if (id !== "scienceworld") {
    const data = options.data ?? env.ALFWORLD_DATA;
    const { program, split } = options;
    return [{ name: id, world: await openWorld({ env: id, data, program, split }) }];
  }
  const maxEnvironments = Math.max(...environments);
  const open = (listing: "none" | "valid") => openScienceWorld({ jar, listing, maxEnvironments });
  return [
    { name: "scienceworld, no list", world: await open("none") },
    { name: "scienceworld, all valid commands", world: await open("valid") },
  ];
}

/** What the expert does in each task. @throws ConfigError when there is nothing to play */
async function plansOf(
  world: World,
  { split, task, tasks }: Options,
): Promise<Map<string, readonly string[]>> {
  const plans = new Map<string, readonly string[]>();
  for (const id of task ?? world.tasks(split ?? world.splits[0]).map((one) => one.id)) {
    if (task === undefined && plans.size === tasks) break;
    const commands = await world.expert?.(id);
    if (commands && commands.length > 0) plans.set(id, commands);
  }
  if (plans.size > 0) return plans;
  throw new ConfigError(
    `[bench] nothing to play: got no expert's commands in ${world.id}, expected some. Choose other tasks, or a world with an expert.`,
  );
}

function tableOf(rows: readonly WorldRow[]): string {
  const titles = [
    "world",
    "environments",
    "steps/s",
    "10 % to 90 %",
    "step ms",
    "reset ms",
    "own ms a step",
    "own share",
  ];
  const body = rows.map((row) => [
    row.setting,
    `${row.environments}`,
    row.stepsPerSecond.toPrecision(3),
    `${row.stepsPerSecondP10.toPrecision(3)} to ${row.stepsPerSecondP90.toPrecision(3)}`,
    row.stepMs.toPrecision(3),
    row.resetMs.toPrecision(3),
    row.ownMs.toPrecision(3),
    `${(100 * row.ownShare).toFixed(1)} %`,
  ]);
  return markdownTable(titles, body, 1);
}

async function passportOf(options: Options, tasks: readonly string[], env: CliContext["env"]) {
  const own = await findOwnPackage();
  const git = own && (await readGitState(own.folder, env));
  const { world, rounds, environments, task, tasks: count } = options;
  const words = [
    "uncouple bench worlds --world",
    world,
    "--environments",
    ...environments,
    "--rounds",
    rounds,
  ];
  const processors = cpus();
  return {
    command: `\`${[...words, ...(task ? ["--task", ...task] : ["--tasks", count])].join(" ")}\``,
    tasks: `tasks ${tasks.length > 8 ? tasks.length : tasks.join(", ")}`,
    commit: `commit ${git?.commit.slice(0, 7) ?? "unknown"}${git?.dirty ? " with changes" : ""}`,
    node: `Node ${process.version}`,
    ...(world === "scienceworld" && { java: (await javaVersion()) ?? "no Java" }),
    cpu: `${processors.length} x ${processors[0]?.model ?? "unknown"}`,
    load: `load ${loadavg()[0].toFixed(1)}`,
    date: new Date().toISOString().slice(0, 10),
  };
}
