/** How many steps a second a world plays, and how much of that time this process works itself. */
import { quantile } from "../src/core/statistics.js";
import type { Environment, World } from "../src/env/world.js";

/** What is measured: a world opened in one way, on some environments at a time. */
export interface WorldSetting {
  readonly name: string;
  readonly world: World;
  readonly environments: number;
}

export interface WorldBench {
  /** Ids of the tasks that every round plays, each once. */
  readonly tasks: readonly string[];
  /** Commands of a task; the last ones may be missing where the world ends the episode earlier. */
  readonly commands: (taskId: string) => readonly string[];
  /** Rounds that count; one before them warms up. */
  readonly rounds: number;
  /** Told before each round. */
  readonly onProgress?: (what: string) => void;
}

/** Figures of one setting: medians over the rounds, and the tenth and ninetieth percentile of the first. */
export interface WorldRow {
  readonly setting: string;
  readonly environments: number;
  readonly rounds: number;
  /** Of one round. */
  readonly steps: number;
  readonly stepsPerSecond: number;
  readonly stepsPerSecondP10: number;
  readonly stepsPerSecondP90: number;
  /** Milliseconds of one step and of one reset, as an environment's caller waits for it. */
  readonly stepMs: number;
  readonly resetMs: number;
  /** Milliseconds of processor time of this process for each step, resets included. */
  readonly ownMs: number;
  /** That time as a share of the round: what is left this process waits for the world. */
  readonly ownShare: number;
}

interface Round {
  steps: number;
  seconds: number;
  ownSeconds: number;
  readonly stepMs: number[];
  readonly resetMs: number[];
}

/** Measures all settings round by round, so that a slow moment of the machine hits all of them. */
export async function benchWorlds(
  settings: readonly WorldSetting[],
  { tasks, commands, rounds, onProgress }: WorldBench,
): Promise<WorldRow[]> {
  const measured: Round[][] = settings.map(() => []);
  const open = settings.map(({ world, environments }) =>
    Array.from({ length: environments }, () => world.create()),
  );
  try {
    for (let round = 0; round <= rounds; round++) {
      for (const [index, { name, environments }] of settings.entries()) {
        onProgress?.(`${name} on ${environments}, round ${round} of ${rounds}`);
        const result = await playRound(open[index], tasks, commands);
        if (round > 0) measured[index].push(result);
      }
    }
  } finally {
    await Promise.all(open.flat().map((environment) => environment.close()));
  }
  return settings.map((setting, index) => rowOf(setting, measured[index]));
}

/** Plays all tasks once, on as many environments at a time as there are. */
async function playRound(
  environments: readonly Environment[],
  tasks: readonly string[],
  commands: WorldBench["commands"],
): Promise<Round> {
  const round: Round = { steps: 0, seconds: 0, ownSeconds: 0, stepMs: [], resetMs: [] };
  let next = 0;
  const play = async (environment: Environment) => {
    while (next < tasks.length) {
      const taskId = tasks[next++];
      let before = performance.now();
      await environment.reset({ options: { taskId } });
      round.resetMs.push(performance.now() - before);
      for (const command of commands(taskId)) {
        before = performance.now();
        const { terminated, truncated } = await environment.step(command);
        round.stepMs.push(performance.now() - before);
        round.steps++;
        if (terminated || truncated) break;
      }
    }
  };
  const [start, cpu] = [performance.now(), process.cpuUsage()];
  await Promise.all(environments.map(play));
  const { user, system } = process.cpuUsage(cpu);
  round.seconds = (performance.now() - start) / 1e3;
  round.ownSeconds = (user + system) / 1e6;
  return round;
}

function rowOf({ name, environments }: WorldSetting, rounds: readonly Round[]): WorldRow {
  const of = (value: (round: Round) => number, share = 0.5) => quantile(rounds.map(value), share);
  const speed = ({ steps, seconds }: Round) => steps / seconds;
  return {
    setting: name,
    environments,
    rounds: rounds.length,
    steps: rounds[0].steps,
    stepsPerSecond: of(speed),
    stepsPerSecondP10: of(speed, 0.1),
    stepsPerSecondP90: of(speed, 0.9),
    stepMs: of(({ stepMs }) => quantile(stepMs, 0.5)),
    resetMs: of(({ resetMs }) => quantile(resetMs, 0.5)),
    ownMs: of(({ ownSeconds, steps }) => (1000 * ownSeconds) / steps),
    ownShare: of(({ ownSeconds, seconds }) => ownSeconds / seconds),
  };
}
