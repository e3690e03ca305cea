// Gradient coupling: which samples of an update push which, under the policy of a Hugging Face folder.
// node examples/coupling.js FOLDER reads a folder of yours; without one, a small policy with fresh weights is written and read.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  buildWordTokenizer,
  classCosines,
  directions,
  FlatParameters,
  influence,
  inversionCauses,
  Launcher,
  loadPolicy,
  openGpu,
  parameterShapes,
  perSampleGram,
  policyTokenizer,
  presetConfig,
  Qwen2Model,
  Random,
  Runtime,
  silentLogger,
  storedShapes,
  Tokenizer,
  worstPairs,
  writeModelFolder,
} from "uncouple";

const STATES = ["You are in the hall and see a shelf.", "You are in the hall and see a desk."];
// a state, what was answered in it, and its advantage: the same action is right in one state and wrong in the other
const ANSWERS = [
  [0, "go to the shelf", 1],
  [0, "go to the desk", -1],
  [1, "go to the shelf", -0.2],
  [1, "look", 0.2],
];

const runtime = await Runtime.create(
  await openGpu({ preset: "checked", env: process.env, logger: silentLogger }),
);
const launcher = new Launcher(runtime);
const temporary = await mkdtemp(join(tmpdir(), "coupling-"));
const folder = process.argv[2] ?? (await freshPolicy(join(temporary, "model")));
const { model, folder: read } = await loadPolicy(launcher, folder, { requiresGrad: true });
const tokenizer = policyTokenizer(read);

const samples = ANSWERS.map(([state, action]) => {
  const prompt = tokenizer.encode(STATES[state]);
  return { tokens: [...prompt, ...tokenizer.encode(` ${action}`)], responseStart: prompt.length };
});
const advantages = ANSWERS.map(([, , advantage]) => advantage);
const states = ANSWERS.map(([state]) => state);
const count = samples.length;

// K_ij = <g_i, g_j>, and what one step of gradient ascent with weight 1 / S a sample does, in nats per unit of learning rate
const { gram } = await perSampleGram(model, samples);
const found = influence(gram, advantages);
ANSWERS.forEach(([, action, advantage], j) => {
  const [self, cross] = [found.self[j], found.cross[j]].map((value) => value.toExponential(2));
  console.log(`${action} (advantage ${advantage}) in state ${states[j]}: self ${self}, cross ${cross}`);
});
const { coupling, ownState } = inversionCauses(gram, advantages, states);
console.log(
  `punished, yet rising: ${found.inversions.length} of 2; by other states ${coupling.length}, by their own ${ownState.length}`,
);
for (const { from, to, cosine } of worstPairs(gram, advantages, 1))
  console.log(`most harm: "${ANSWERS[from][1]}" lifts "${ANSWERS[to][1]}", cosine ${cosine.toFixed(3)}`);
const { goodBad } = classCosines(gram, advantages, states).acrossStates;
console.log(
  `good and bad actions of different states: mean cosine ${goodBad.mean.toFixed(3)} of ${goodBad.pairs} pairs`,
);

// the same totals without the Gram: products with the batch's own gradient, for any number of samples
model.parameters.clearGradients();
const batch = (name) => model.parameters.get(name).grad;
const coefficients = advantages.map((advantage) => advantage / count);
const { dots } = await directions(model, samples, [batch], { coefficients });
const gap = Math.max(...found.total.map((total, j) => Math.abs(total - dots[j])));
const scale = Math.max(...found.total.map(Math.abs));
console.log(
  `largest difference between Gram and directions: ${(gap / scale).toExponential(0)} of the largest total`,
);
if (!(gap < 1e-4 * scale)) process.exitCode = 1;

await runtime.dispose();
await rm(temporary, { recursive: true });

/** A folder as Hugging Face's libraries write it, with a nano policy of drawn weights. */
async function freshPolicy(path) {
  const texts = [...STATES, ...ANSWERS.map(([, action]) => action)];
  const files = buildWordTokenizer(texts);
  const config = presetConfig("nano", new Tokenizer(files).vocabularySize);
  const parameters = new FlatParameters(runtime, storedShapes(config));
  const model = new Qwen2Model(launcher, config, parameters);
  model.initialise(new Random(1));
  const tensors = parameterShapes(config).map(({ name, shape }) => ({
    name,
    shape,
    data: () => parameters.read(name),
  }));
  await writeModelFolder(path, { config, tensors, tokenizer: files });
  for (const one of [model, parameters]) one.release();
  return path;
}
