// Training: a few imitation and GRPO updates of a nano policy on household games, records kept in memory.
import {
  Launcher,
  openGpu,
  openPolicy,
  openTrainingWorld,
  Runtime,
  runTraining,
  silentLogger,
  trainConfigSchema,
} from "uncouple";

const runtime = await Runtime.create(
  await openGpu({ preset: "checked", env: process.env, logger: silentLogger }),
);
const config = trainConfigSchema.parse({
  world: { max_steps: 6, household: { difficulty: "easy", train: 8, in_domain: 4, out_of_domain: 4 } },
  imitation: { episodes: 8, max_steps: 3, batch_size: 8 },
  grpo: {
    max_steps: 1,
    tasks_per_step: 2,
    num_generations: 2,
    max_completion_length: 9,
    learning_rate: 1e-4,
  },
  eval: { episodes: 2, modes: ["greedy"], splits: ["in_domain"] },
});
const world = await openTrainingWorld(config);
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
    checkpoint: async ({ step }) => console.log(`a checkpoint of update ${step} would be written here`),
  },
});
console.log(`done: ${result.step} updates`);
await runtime.dispose();
