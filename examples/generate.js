// Policies: fresh weights, a word tokenizer, batched generation, and the same log-probabilities from the scorer.
import {
  buildWordTokenizer,
  FlatParameters,
  Generator,
  Launcher,
  openGpu,
  presetConfig,
  Qwen2Model,
  Random,
  Runtime,
  scoreSequences,
  silentLogger,
  storedShapes,
  Tokenizer,
} from "uncouple";

const runtime = await Runtime.create(
  await openGpu({ preset: "checked", env: process.env, logger: silentLogger }),
);
const tokenizer = new Tokenizer(buildWordTokenizer(["take the mug from the shelf", "put it on the table"]));
const config = presetConfig("nano", tokenizer.vocabularySize);
const model = new Qwen2Model(
  new Launcher(runtime),
  config,
  new FlatParameters(runtime, storedShapes(config)),
);
model.initialise(new Random(0));

const prompts = ["take the", "put it on"].map((text) => tokenizer.encode(text));
const generations = await new Generator(model).generate(
  prompts.map((prompt, stream) => ({ prompt, stream })),
  { temperature: 1, maxNewTokens: 6, endTokens: [tokenizer.eosTokenId], seed: 1 },
);
for (const [index, { tokens, logProbs }] of generations.entries()) {
  const prompt = prompts[index];
  const [score] = await scoreSequences(model, [[...prompt, ...tokens]]);
  const gap = Math.max(
    ...logProbs.map((value, t) => Math.abs(value - score.logProbs[prompt.length - 1 + t])),
  );
  console.log(`${tokenizer.decode(prompt)} -> ${tokenizer.decode(tokens)}`);
  console.log(`largest difference between sampled and scored log-probabilities: ${gap.toExponential(1)}`);
  if (!(gap < 1e-4)) process.exitCode = 1;
}
await runtime.dispose();
