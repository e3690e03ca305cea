// A hook that sees the rows of each update before the optimiser's step, with what they will do to each other, and drops the two
// rewarded samples that lift punished actions most. The world is a room whose sign says which door is right.
import {
  dropHarmful,
  Launcher,
  openGpu,
  openPolicy,
  Runtime,
  runTraining,
  silentLogger,
  trainConfigSchema,
} from "uncouple";

const DOORS = ["red", "blue", "green"];

class Room {
  reset({ options }) {
    this.door = options.taskId;
    return this.shown(`The sign says ${this.door}.`, false);
  }
  step(command) {
    const won = command === this.door;
    return {
      ...this.shown("The day is over.", won),
      reward: Number(won),
      terminated: true,
      truncated: false,
    };
  }
  shown(obs, won) {
    return { obs, task: "open a door.", info: { admissibleCommands: DOORS, won, taskId: this.door } };
  }
  close() {}
}

const world = {
  id: "doors",
  splits: ["train"],
  tasks: (split) => DOORS.map((id) => ({ id, split, type: "open" })),
  create: () => new Room(),
  sampleTexts: () => ["open a door.", "The day is over.", ...DOORS.map((door) => `The sign says ${door}.`)],
};

const runtime = await Runtime.create(
  await openGpu({ preset: "checked", env: process.env, logger: silentLogger }),
);
const config = trainConfigSchema.parse({
  world: { max_steps: 1 },
  imitation: { episodes: 0 },
  grpo: {
    max_steps: 3,
    tasks_per_step: 3,
    num_generations: 16,
    max_completion_length: 1,
    learning_rate: 1e-2,
  },
  eval: { splits: [], at_start: false },
});
const { model, tokenizer } = await openPolicy(config, world, new Launcher(runtime));
const dropTwo = dropHarmful(2);
const result = await runTraining(config, {
  world,
  tokenizer,
  model,
  signal: new AbortController().signal,
  now: () => performance.now(),
  logger: silentLogger,
  onInfluence: (report) => {
    const punished = report.rows.filter(({ row }) => row.advantage < 0);
    const rising = punished.filter(({ total }) => total > 0);
    console.log(`update ${report.step}: ${rising.length} of ${punished.length} punished rows would rise`);
    const [most] = rising.sort((a, b) => b.cross - a.cross);
    if (most) {
      const [self, cross] = [most.self, most.cross].map((value) => value.toExponential(1));
      console.log(`  "${most.row.action}": by itself ${self}, by other rows ${cross}`);
    }
    return dropTwo(report);
  },
  sink: {
    metrics: async (row) =>
      console.log(`  dropped ${row["coupling/hook/dropped"]} of ${row["coupling/hook/rows"]} rows`),
    evaluation: async () => {},
    rollouts: async () => {},
    checkpoint: async () => {},
  },
});
console.log(`done: ${result.step} updates`);
await runtime.dispose();
