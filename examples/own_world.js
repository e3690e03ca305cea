// A world of your own in the same process: a corridor to walk along. A nano policy imitates its expert, then GRPO goes on.
import {
  Launcher,
  openGpu,
  openPolicy,
  Runtime,
  runTraining,
  silentLogger,
  trainConfigSchema,
} from "uncouple";

const LENGTHS = { train: [2, 3, 4], test: [5, 6] };

// One running game: reset and step, in Gymnasium's words. Answers may be promises.
class Corridor {
  reset({ options }) {
    this.taskId = options.taskId;
    this.length = Number(this.taskId);
    this.place = 0;
    return { obs: this.look(), task: "reach the door.", info: this.info() };
  }
  step(command) {
    const move = { forward: 1, back: -1 }[command];
    if (move !== undefined) this.place = Math.max(0, Math.min(this.length, this.place + move));
    const won = this.place === this.length;
    const obs = move === undefined ? "You cannot do that." : this.look();
    return { obs, reward: Number(won), terminated: won, truncated: false, info: this.info() };
  }
  close() {}
  look() {
    return `You are at place ${this.place}.`;
  }
  info() {
    return {
      admissibleCommands: ["forward", "back"],
      won: this.place === this.length,
      taskId: this.taskId,
      score: this.place / this.length,
    };
  }
}

// Its tasks in splits, and how to make environments. `expert` is needed for imitation, `sampleTexts` for a fresh tokenizer.
const world = {
  id: "corridor",
  splits: Object.keys(LENGTHS),
  tasks: (split) => LENGTHS[split].map((length) => ({ id: String(length), split, type: "walk" })),
  create: () => new Corridor(),
  expert: (taskId) => Array(Number(taskId)).fill("forward"),
  sampleTexts: () => [
    "reach the door.",
    "You cannot do that.",
    "forward",
    "back",
    ...Array.from({ length: 7 }, (_, place) => `You are at place ${place}.`),
  ],
};

const runtime = await Runtime.create(
  await openGpu({ preset: "checked", env: process.env, logger: silentLogger }),
);
const config = trainConfigSchema.parse({
  world: { max_steps: 8 },
  imitation: { episodes: 3, max_steps: 6, batch_size: 6, learning_rate: 1e-2 },
  grpo: { max_steps: 1, tasks_per_step: 2, num_generations: 2, max_completion_length: 4 },
  eval: { episodes: 2, modes: ["greedy"], splits: ["test"], at_start: false },
});
const { model, tokenizer } = await openPolicy(config, world, new Launcher(runtime));
const result = await runTraining(config, {
  world,
  tokenizer,
  model,
  signal: new AbortController().signal,
  now: () => performance.now(),
  logger: silentLogger,
  sink: {
    metrics: async ({ step, stage, loss }) =>
      console.log(`update ${step}, ${stage}: loss ${loss.toFixed(4)}`),
    evaluation: async ({ split, success }) => console.log(`success on ${split}: ${success}`),
    rollouts: async () => {},
    checkpoint: async () => {},
  },
});
console.log(`done: ${result.step} updates`);
await runtime.dispose();
