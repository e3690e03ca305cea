/** Rollouts in worlds that are slow, throw, hang or lie: no other episode and no environment is lost. */
import { expect, test } from "vitest";
import { hashText } from "../../src/core/hash.js";
import { Random } from "../../src/core/random.js";
import { hostTimer } from "../../src/host/run/timer.js";
import type { GenerationRequest } from "../../src/model/generate.js";
import { Tokenizer } from "../../src/model/tokenizer.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { PromptBuilder } from "../../src/rl/play/prompt.js";
import {
  playRules,
  type RolloutOptions,
  RolloutWorker,
  type WorkerOptions,
  workerOptions,
} from "../../src/rl/play/rollout.js";
import { CORRIDOR_COMMANDS, CorridorWorld, type Trouble } from "../support/corridor_world.js";

const tokenizer = new Tokenizer(buildWordTokenizer(new CorridorWorld().sampleTexts()));
const endToken = tokenizer.eosTokenId as number;

/** Says something that depends on nothing but seed and stream, as a policy does under one prompt. */
class SeededSampler {
  readonly batches: number[] = [];
  /** By batch: streams, as they came. */
  readonly streams: number[][] = [];

  async generate(requests: readonly GenerationRequest[], { seed }: { readonly seed: number }) {
    this.batches.push(requests.length);
    this.streams.push(requests.map(({ stream }) => stream));
    return requests.map(({ stream }) => {
      const random = Random.of(seed, stream);
      // rarely an end, so that episodes have different lengths
      const word =
        random.uniform() < 0.75 ? random.pick(CORRIDOR_COMMANDS.slice(0, 3)) : random.pick(CORRIDOR_COMMANDS);
      const tokens = [...tokenizer.encode(word), endToken];
      return { tokens, logProbs: tokens.map(() => random.uniform()), finished: stream % 5 !== 0 };
    });
  }
}

interface Setting {
  readonly trouble?: Trouble;
  readonly world?: CorridorWorld;
  readonly worker?: WorkerOptions;
  readonly play?: Partial<RolloutOptions>;
  readonly sampler?: SeededSampler;
}

const requests = ["one", "two", "three"].flatMap((taskId, group) =>
  [0, 1, 2, 3].map((member) => ({ taskId, taskType: "t", group, episode: 4 * group + member })),
);

async function play({ trouble, worker: options, play: given, ...rest }: Setting) {
  const world = rest.world ?? new CorridorWorld(trouble);
  const sampler = rest.sampler ?? new SeededSampler();
  const prompts = new PromptBuilder(tokenizer, { format: "message", history: 2, admissible: false });
  const worker = new RolloutWorker(world, prompts, sampler, endToken, { timer: hostTimer, ...options });
  const playing = worker.play(requests, {
    maxSteps: 8,
    sampling: { temperature: 1, maxNewTokens: 4 },
    seed: 5,
    label: "test",
    ...given,
  });
  return { world, worker, sampler, playing };
}

async function closed({ world, worker }: { readonly world: CorridorWorld; readonly worker: RolloutWorker }) {
  await worker.close();
  expect(world.closed).toBe(world.opened);
}

const quick = await (await play({})).playing;

test("episodes say how they ended, and rows carry the outcome of the whole episode", () => {
  const ends = quick.map(({ ended }) => ended);
  for (const end of ["won", "lost", "truncated"]) expect(ends).toContain(end);
  for (const { ended, rows } of quick) {
    const last = rows.at(-1)?.action;
    expect(ended).toBe(last === "win" ? "won" : last === "leave" ? "lost" : "truncated");
    expect(rows.length).toBeLessThanOrEqual(8);
    if (ended === "truncated") expect(rows.length).toBe(8);
    for (const [step, row] of rows.entries()) {
      expect(row).toMatchObject({ kind: "policy", step, outcome: Number(ended === "won") });
      const stream = hashText(`test/${row.group}/${row.episode}/${step}`);
      expect(row.truncated).toBe(stream % 5 === 0);
      expect(row.stepReward).toBe(Number(row.action === "win"));
      expect(row.valid).toBe(row.action !== "shout");
      expect(row.anchorKey).toBe(row.observation);
      expect(row.text.text).toContain(row.observation.split(" . task")[0].toLowerCase().slice(4));
    }
  }
});

test("an episode that is done at the start has no steps; one that its world stops ends there", async () => {
  const isDone = (task: string) => task === "one";
  const stops = (task: string, step: number) => task === "two" && step === 2;
  const { playing } = await play({ trouble: { isDone, stops } });
  for (const { taskId, ended, rows, ...rest } of await playing) {
    expect(rest.failure).toBeUndefined();
    if (taskId === "one") expect([ended, rows]).toEqual(["won", []]);
    if (taskId !== "two") continue;
    const whole = quick.find(({ episode }) => episode === rest.episode)?.rows ?? [];
    expect(rows.map(({ action }) => action)).toEqual(whole.slice(0, 2).map(({ action }) => action));
    if (whole.length > 2) expect(ended).toBe("truncated");
  }
});

test("slow worlds, few environments and any batches give the same rows", async () => {
  let calls = 0;
  const delay = (): number => [0, 3, 30, 1][calls++ % 4];
  const slow = await play({ trouble: { delay }, worker: { patience: 5 } });
  expect(await slow.playing).toEqual(quick);
  // nobody waited for the slowest
  expect(slow.sampler.batches.length).toBeGreaterThan(8);
  // whoever came first, a batch is in the order of the episodes
  const episodeOf = new Map(
    requests.flatMap(({ group, episode }) =>
      Array.from({ length: 8 }, (_, step) => [hashText(`test/${group}/${episode}/${step}`), episode]),
    ),
  );
  const drawn = slow.sampler.streams.flat();
  expect(new Set(drawn).size).toBe(drawn.length);
  for (const streams of slow.sampler.streams) {
    const order = streams.map((stream) => episodeOf.get(stream) as number);
    expect(order).not.toContain(undefined);
    expect(order).toEqual([...order].sort((a, b) => a - b));
  }
  await closed(slow);
  for (const maxEnvironments of [1, 5]) {
    const few = await play({ worker: { maxEnvironments } });
    expect(await few.playing).toEqual(quick);
    expect(few.world.most).toBe(maxEnvironments);
    await closed(few);
  }
  const own = await play({
    world: new CorridorWorld({}, { maxEnvironments: 2 }),
    worker: { maxEnvironments: 7 },
  });
  expect(await own.playing).toEqual(quick);
  expect(own.world.most).toBe(2);
});

test("episodes play in step, whatever their worlds take; worlds that answer at once do with patience, too", async () => {
  const lengths = quick.map(({ rows }) => rows.length);
  const inStep = Array.from({ length: 8 }, (_, step) => lengths.filter((length) => length > step).length);
  const delay = (task: string, step: number): number => (task === "two" ? 40 * (step % 2) : 1);
  const settings: Setting[] = [
    { worker: { patience: 1 } },
    { worker: { timer: undefined } },
    { trouble: { delay } },
  ];
  for (const setting of settings) {
    const { sampler, playing } = await play(setting);
    await playing;
    expect(sampler.batches).toEqual(inStep.filter((count) => count > 0));
  }
});

test.each([1, 3, 12])(
  "on %i environments batches are the same however fast the world is",
  async (maxEnvironments) => {
    const streams = [];
    for (const seed of [1, 2, 3]) {
      const random = Random.of(seed, "delays");
      const delay = () => (random.uniform() < 0.3 ? 0 : 15 * random.uniform());
      const { sampler, playing } = await play({ trouble: { delay }, worker: { maxEnvironments } });
      expect(await playing).toEqual(quick);
      streams.push(sampler.streams);
    }
    expect(streams[1]).toEqual(streams[0]);
    expect(streams[2]).toEqual(streams[0]);
  },
);

test("resets run side by side", async () => {
  const { world, playing } = await play({ trouble: { delay: (_, step) => (step === 0 ? 20 : 0) } });
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(world.calls.length).toBe(requests.length);
  await playing;
});

test.each(["throws", "rejects", "hangs"] as const)(
  "a world that %s in one task loses that task alone",
  async (kind) => {
    const fault: Trouble["fault"] = (task, step) => (task === "two" && step === 1 ? kind : undefined);
    const bad = await play({ trouble: { fault }, worker: { timeLimit: 20 } });
    const episodes = await bad.playing;
    episodes.forEach((episode, index) => {
      if (episode.taskId !== "two") expect(episode).toEqual(quick[index]);
      else {
        expect(episode).toMatchObject({ ended: "failed", rows: [] });
        expect(episode.failure).toMatch(
          kind === "hangs" ? /step: got no answer in 20 ms/ : /step: the floor gave way/,
        );
      }
    });
    // a broken environment is not used again
    expect(bad.world.opened - bad.world.closed).toBe(8);
    await closed(bad);
  },
);

test("a world that fails at reset, on one environment, is opened again for the next task", async () => {
  const fault: Trouble["fault"] = (task, step) => (task === "one" && step === 0 ? "throws" : undefined);
  const bad = await play({ trouble: { fault }, worker: { maxEnvironments: 1 } });
  const episodes = await bad.playing;
  const failed = episodes.filter(({ ended }) => ended === "failed");
  expect(failed.length).toBe(4);
  for (const { failure } of failed) expect(failure).toMatch(/reset: the floor gave way/);
  expect(episodes.slice(4)).toEqual(quick.slice(4));
  expect(bad.world.most).toBe(1);
  expect(bad.world.opened).toBe(5);
  await closed(bad);
});

test.each(["throws", "hangs"] as const)("closing that %s too is told with the failure", async (closing) => {
  const fault: Trouble["fault"] = (task, step) => (task === "two" && step === 1 ? "rejects" : undefined);
  const { playing } = await play({ trouble: { fault, closing }, worker: { timeLimit: 20 } });
  const failed = (await playing).filter(({ ended }) => ended === "failed");
  expect(failed.length).toBe(4);
  for (const { failure } of failed) expect(failure).toMatch(/gave way later; then close: /);
});

test("a world that fails everywhere is an error, and nothing stays open", async () => {
  const bad = await play({ trouble: { fault: () => "throws" } });
  await expect(bad.playing).rejects.toThrow(/every episode failed.*task `one`.*the floor gave way/);
  await closed(bad);
});

test("an error of the sampler ends play, and nothing stays open", async () => {
  const sampler = new SeededSampler();
  sampler.generate = async () => {
    throw new Error("device lost");
  };
  const broken = await play({
    sampler,
    trouble: { delay: (task) => (task === "one" ? 0 : 5) },
    worker: { patience: 1 },
  });
  await expect(broken.playing).rejects.toThrow("device lost");
  await closed(broken);
});

test("a stop ends play even in a world that hangs, and environments are closed", async () => {
  const controller = new AbortController();
  const fault: Trouble["fault"] = (task) => (task === "three" ? "hangs" : undefined);
  const stopped = await play({ trouble: { fault }, play: { signal: controller.signal } });
  setTimeout(() => controller.abort(new Error("enough")), 30);
  await expect(stopped.playing).rejects.toThrow("enough");
  // those of the task that hangs at least; the others may have ended before
  expect(stopped.world.closed).toBeGreaterThanOrEqual(4);
  await closed(stopped);
});

test("episodes of a group must start alike", async () => {
  const unequal = await play({ trouble: { opening: (number) => (number === 2 ? " !" : "") } });
  await expect(unequal.playing).rejects.toThrow(/episodes of group 0 start differently/);
  await closed(unequal);
});

test("a group that mixes tasks is refused, and a world that plays another task, even where they read alike", async () => {
  const alike = (taskOf: (task: string, opened: number) => string) => {
    const world = new CorridorWorld();
    const create = world.create.bind(world);
    world.create = () => {
      const environment = create();
      const { opened } = world;
      const reset = environment.reset.bind(environment);
      environment.reset = async (options) => {
        const first = await reset(options);
        return {
          ...first,
          obs: "A room.",
          info: { ...first.info, taskId: taskOf(first.info.taskId, opened) },
        };
      };
      return environment;
    };
    return world;
  };
  const other = await play({ world: alike(() => "four") });
  await expect(other.playing).rejects.toThrow(
    'episodes of group 0 start differently: got task `four` with "A room.", expected task `one` with "A room.". ' +
      "The world must start alike",
  );
  const second = await play({ world: alike((task, opened) => (opened === 2 ? "four" : task)) });
  await expect(second.playing).rejects.toThrow(/group 0 start differently: got task `four`/);
  const { worker, playing } = await play({ world: alike((task) => task) });
  await playing;
  const mixed = ["one", "two"].map((taskId, episode) => ({ taskId, taskType: "t", group: 0, episode }));
  await expect(
    worker.play(mixed, {
      maxSteps: 2,
      sampling: { temperature: 1, maxNewTokens: 4 },
      seed: 1,
      label: "mixed",
    }),
  ).rejects.toThrow(/episodes of group 0 start differently: got task `two`/);
});

test("errors of closing are told when the worker closes, after all have been closed, within the time limit", async () => {
  for (const [closing, message] of [
    ["throws", "close: the door is stuck"],
    ["hangs", "close: got no answer in 20 ms"],
  ] as const) {
    const { world, worker, playing } = await play({ trouble: { closing }, worker: { timeLimit: 20 } });
    await playing;
    await expect(worker.close()).rejects.toThrow(message);
    expect(world.closed).toBe(world.opened);
    // closed once
    await worker.close();
    expect(world.closed).toBe(world.opened);
  }
});

test("a stop does not wait for closing that hangs longer than the time limit", async () => {
  const controller = new AbortController();
  const stopped = await play({
    trouble: { fault: () => "hangs", closing: "hangs" },
    worker: { timeLimit: 300 },
    play: { signal: controller.signal },
  });
  controller.abort(new Error("enough"));
  await expect(stopped.playing).rejects.toThrow("enough");
  expect(stopped.world.closed).toBe(stopped.world.opened);
});

test("the sampler is told the settings of the call and every token that ends an answer, once; nothing to play is nothing", async () => {
  const told: unknown[] = [];
  class Listening extends SeededSampler {
    override async generate(requests: readonly GenerationRequest[], options: { readonly seed: number }) {
      told.push(options);
      return super.generate(requests, options);
    }
  }
  const { worker, playing } = await play({ sampler: new Listening() });
  await playing;
  for (const options of told)
    expect(options).toEqual({ temperature: 1, maxNewTokens: 4, seed: 5, endTokens: [endToken] });
  const other = tokenizer.encode("leave")[0];
  const prompts = new PromptBuilder(tokenizer, { format: "message", history: 0, admissible: false });
  const two = new RolloutWorker(new CorridorWorld(), prompts, new SeededSampler(), other);
  expect(two.endTokens).toEqual([other, endToken]);
  const none = { maxSteps: 1, sampling: { temperature: 1, maxNewTokens: 4 }, seed: 1, label: "none" };
  expect(await worker.play([], none)).toEqual([]);
});

test("a failed episode is told to the logger", async () => {
  const warned: string[] = [];
  const logger = { info: () => {}, warn: (text: string) => void warned.push(text) };
  const fault: Trouble["fault"] = (task, step) => (task === "two" && step === 1 ? "throws" : undefined);
  await (await play({ trouble: { fault }, worker: { logger } })).playing;
  expect(warned).toEqual(Array(4).fill("[rollout] an episode of task two failed: step: the floor gave way"));
});

test.each(["episode", "step"] as const)(
  "an episode in context %s keeps a conversation of its own, if any, to its end",
  async (context) => {
    const counts = { opened: 0, closed: 0 };
    const seen = new Set<unknown>();
    class Keeping extends SeededSampler {
      open() {
        counts.opened++;
        return { close: () => void counts.closed++ } as never;
      }
      override async generate(requests: readonly GenerationRequest[], options: { readonly seed: number }) {
        for (const { conversation } of requests) seen.add(conversation);
        return super.generate(requests, options);
      }
    }
    const prompts = new PromptBuilder(tokenizer, {
      format: "message",
      history: 0,
      admissible: false,
      context,
    });
    const worker = new RolloutWorker(new CorridorWorld(), prompts, new Keeping(), endToken);
    await worker.play(requests, {
      maxSteps: 3,
      sampling: { temperature: 1, maxNewTokens: 4 },
      seed: 5,
      label: "test",
    });
    const count = context === "episode" ? requests.length : 0;
    expect(counts).toEqual({ opened: count, closed: count });
    expect([...seen].filter((one) => one !== undefined).length).toBe(count);
  },
);

test("what a configuration says about playing and environments; times are seconds there", () => {
  const world = { anchor: "none", outcome: "score", max_environments: 3, step_time_limit: 2, patience: null };
  const config = { world, prompt: { valid_action: "well_formed" } } as never;
  expect(playRules(config)).toEqual({ anchor: "none", valid: "well_formed", outcome: "score" });
  expect(workerOptions(config, { timer: hostTimer })).toEqual({
    timer: hostTimer,
    maxEnvironments: 3,
    timeLimit: 2000,
    patience: null,
  });
  const patient = { world: { ...world, step_time_limit: null, patience: 0.5 } } as never;
  expect(workerOptions(patient, {})).toEqual({ maxEnvironments: 3, timeLimit: null, patience: 500 });
});

test("limits that make no sense are refused", () => {
  const prompts = new PromptBuilder(tokenizer, { format: "message", history: 0, admissible: false });
  const make = (options: WorkerOptions) => () =>
    new RolloutWorker(new CorridorWorld(), prompts, new SeededSampler(), endToken, options);
  expect(make({ maxEnvironments: 0 })).toThrow(/number of environments: got 0/);
  expect(make({ timeLimit: 5 })).toThrow(/a time limit or patience needs a timer/);
  expect(make({ patience: 5 })).toThrow(/a time limit or patience needs a timer/);
});

test("anchors, validity, outcome and instructions follow their rules", async () => {
  const world = () => new CorridorWorld({}, { score: true });
  const rows = async (given: Partial<RolloutOptions>) =>
    (await (await play({ world: world(), play: given })).playing).flatMap((episode) => episode.rows);
  for (const row of await rows({ anchor: "none" })) expect(row.anchorKey).toBeUndefined();
  for (const row of await rows({ anchor: "state_key" })) expect(row.anchorKey).toBe(row.stateKey);
  for (const row of await rows({ anchor: "observation_inventory" }))
    expect(row.anchorKey).toBe(`${row.step % 2 === 0 ? "nothing" : "a lamp"}\n${row.observation}`);
  const free = await rows({ valid: "well_formed" });
  expect(free.every(({ valid }) => valid)).toBe(true);
  expect(free.filter(({ admissible }) => !admissible).map(({ action }) => action)).toContain("shout");
  const graded = await rows({ outcome: "score" });
  expect(new Set(graded.map(({ outcome }) => outcome)).size).toBeGreaterThan(2);
  await expect((await play({ play: { outcome: "score" } })).playing).rejects.toThrow(
    /outcome does not fit the world/,
  );
  const told = await rows({ instructions: ({ taskId }) => (taskId === "two" ? "left ! right" : undefined) });
  for (const { taskId, text } of told) {
    expect(text.blocks.map(({ name }) => name).slice(0, 2)).toEqual(
      taskId === "two" ? ["task", "instructions"] : ["task", text.blocks[1].name],
    );
    expect(text.text.includes("left ! right")).toBe(taskId === "two");
  }
});
