/** The sections of a training configuration, apart from those of the two stages. Descriptions are the documentation. */
import { z } from "zod";
import type { MatrixStorage } from "../autograd/parameter_slots.js";
import { TASK_TYPES } from "../env/alfworld/game.js";
import { difficulties } from "../env/household/house.js";
import { MATMUL_PRECISIONS } from "../gpu/device_facts.js";
import { PRESETS } from "../gpu/presets.js";
import { PRESET_NAMES } from "../model/config.js";
import {
  choice,
  flag,
  fraction,
  integerFrom,
  integerRange,
  listOfTexts,
  MANY,
  numberFrom,
  positiveFraction,
  seconds,
  section,
  seedNumber,
  text,
} from "./fields.js";

export const deviceSection = section({
  adapter: text()
    .nullable()
    .default(null)
    .describe("auto (also null), gpu, lavapipe, swiftshader or a part of an adapter's name"),
  preset: choice(PRESETS as ["checked", "fast"])
    .default("checked")
    .describe("Dawn toggles: with its guards (checked) or without (fast)"),
  matmul: choice(MATMUL_PRECISIONS as ["f32", "split_f16", "f16"])
    .default("f32")
    .describe(
      "factors of matrix products: f32, or f16 (two of them: split_f16) where matrix hardware is right",
    ),
  tune: flag()
    .default(true)
    .describe("choose kernels by what was measured on this adapter; on a GPU, measure at its first use"),
});

const DIFFICULTIES = Object.keys(difficulties) as ["easy", "normal", "hard"];

function taskTypes() {
  return z
    .array(choice(TASK_TYPES), "a list of task types")
    .min(1, "a list of at least one task type")
    .nullable()
    .default(null);
}

const householdSection = section({
  seed: seedNumber().default(0).describe("seed of the generator: other seeds, other games"),
  difficulty: choice(DIFFICULTIES)
    .default("normal")
    .describe("sizes of the houses; the three fields at the end override single values"),
  train: integerFrom(0, MANY).default(256).describe("games of the split train; 0 = no such split"),
  seen_houses: integerFrom(0, MANY)
    .default(0)
    .describe("games of the split seen_houses: new games in houses of train; 0 = no such split"),
  in_domain: integerFrom(0, MANY)
    .default(64)
    .describe("games of the split in_domain: other houses, trained task types"),
  out_of_domain: integerFrom(0, MANY)
    .default(64)
    .describe("games of the split out_of_domain: other houses, other task types"),
  task_types: section({
    train: taskTypes(),
    seen_houses: taskTypes(),
    in_domain: taskTypes(),
    out_of_domain: taskTypes(),
  })
    .prefault({})
    .describe(
      "task types of the games of each split; null = the four of pick, look, clean and heat, out_of_domain the other two",
    ),
  receptacles: integerRange()
    .nullable()
    .default(null)
    .describe("fewest and most receptacles of a house, 3 to 14"),
  items: integerRange()
    .nullable()
    .default(null)
    .describe("fewest and most movable items of a house, 3 to 14"),
  doors: fraction()
    .nullable()
    .default(null)
    .describe("chance that a game may keep items behind doors or want them there"),
});

const scienceSection = section({
  simplifications: text()
    .default("easy")
    .describe(
      "easy (all that suit the task), none, or names joined by commas: teleportAction, openDoors, openContainers, " +
        "selfWateringFlowerPots, noElectricalAction",
    ),
  commands: choice(["none", "templates", "valid"])
    .default("none")
    .describe(
      "what counts as admissible: nothing, patterns of actions and the objects in sight, or every valid command, " +
        "which takes longer than the step itself",
    ),
  max_moves: integerFrom(1)
    .nullable()
    .default(100)
    .describe("moves of the simulator after which it ends an episode; null = never"),
});

export const worldSection = section({
  id: choice(["household", "alfworld", "scienceworld", "external", "openenv"])
    .default("household")
    .describe(
      "which text world; external = a program of yours, named by command; openenv = the server at url",
    ),
  path: text()
    .nullable()
    .default(null)
    .describe("folder with ALFWorld's data; null = the environment variable ALFWORLD_DATA"),
  domain: text()
    .nullable()
    .default(null)
    .describe("file of a PDDL domain to play the games by; null = each game's own"),
  grammar: text()
    .nullable()
    .default(null)
    .describe("file of a TextWorld grammar to print the games by; null = each game's own"),
  splits: z
    .record(
      text(),
      section({
        of: text().describe("split that has the tasks"),
        task_types: listOfTexts().nullable().default(null).describe("those of its tasks; null = all"),
      }),
      "a section with one section for each split",
    )
    .default({})
    .describe(
      "further splits by name, each the tasks of some types of another one: `L2: {of: valid_unseen, task_types: [...]}`",
    ),
  train_split: text().default("train").describe("split whose tasks are trained on"),
  task_types: listOfTexts()
    .nullable()
    .default(null)
    .describe("task types to train on, for example [pick_and_place_simple]; null = all"),
  max_tasks: integerFrom(1)
    .nullable()
    .default(null)
    .describe("use only that many tasks of the training split, the first ones; null = all"),
  max_steps: integerFrom(1).default(30).describe("actions after which an episode is cut off (truncated)"),
  command: listOfTexts()
    .nullable()
    .default(null)
    .describe("program and arguments of an external world, for example [python3, world.py]"),
  url: text()
    .nullable()
    .default(null)
    .describe("address of an OpenEnv server, for example http://127.0.0.1:8000"),
  token_file: text()
    .nullable()
    .default(null)
    .describe("file that holds the token of the OpenEnv server; null = it asks for none"),
  action_field: text().default("command").describe("field of the OpenEnv server's actions for the command"),
  text_field: text().default("text").describe("field of the OpenEnv server's observations that is read"),
  max_environments: integerFrom(1, MANY)
    .nullable()
    .default(null)
    .describe(
      "environments at a time; null = one for each episode, or the world's own limit (processes: by memory and cores)",
    ),
  step_time_limit: seconds()
    .nullable()
    .default(null)
    .describe(
      "seconds for one answer of an environment, after which its episode has failed; null = no limit",
    ),
  patience: seconds()
    .nullable()
    .default(null)
    .describe(
      "seconds that answered episodes wait for slower ones before the policy goes on without them; null = it waits for all, so that equal seeds give equal bits however fast the world is",
    ),
  outcome: choice(["won", "score"])
    .default("won")
    .describe(
      "outcome of an episode: won = 1 where the goal was reached, else 0; score = graded, where the world tells it",
    ),
  anchor: choice(["observation", "observation_inventory", "state_key", "none"])
    .default("observation")
    .describe(
      "which steps of a group count as taken in one state: equal observations; and equal inventories; equal states by the world's own key; none",
    ),
  jar: text()
    .nullable()
    .default(null)
    .describe(
      "ScienceWorld's jar; null = the environment variable SCIENCEWORLD_JAR, else that of an installed Python package",
    ),
  process_time_limit: seconds()
    .min(1, "a number, 1 or more")
    .default(120)
    .describe(
      "seconds that a process of a world may take to answer, after which another one plays its game again",
    ),
  household: householdSection.prefault({}).describe("generator of the household world"),
  scienceworld: scienceSection.prefault({}).describe("ScienceWorld's games"),
});

/**
 * How a policy is stored while it trains: all of it as f32, or matrices and activations as f16 beside f32 masters, or the
 * matrices below an adapter as bf16.
 */
export const PRECISIONS = ["f32", "mixed", "bf16"] as const;

/** How parameters are stored for a precision. */
export function storageOf(precision: (typeof PRECISIONS)[number] | undefined): MatrixStorage {
  return precision === "mixed" ? "f16" : (precision ?? "f32");
}

export const modelSection = section({
  path: text()
    .nullable()
    .default(null)
    .describe("folder of a Qwen2 checkpoint in Hugging Face's layout; null = fresh weights of `preset`"),
  preset: choice(PRESET_NAMES as [string, ...string[]])
    .default("nano")
    .describe("shape of the policy when `path` is null"),
  seed: seedNumber().default(0).describe("seed of fresh weights"),
  precision: choice(PRECISIONS)
    .default("f32")
    .describe(
      "storage while training: f32, or mixed = f16 matrices and activations, f32 master weights and sums, dynamic loss scaling, or bf16 = the matrices below an adapter as checkpoints have them, all else f32",
    ),
  fused: flag()
    .default(true)
    .describe(
      "kernels that compute several ops at once; false = plain ops one after the other, slower and with more memory: for debugging",
    ),
  gradient_checkpointing: flag()
    .default(false)
    .describe(
      "keep of each layer its result alone and compute the layer again in backward: the same bits for one more forward pass, and the activations of one layer rather than of all",
    ),
  tokenizer: choice(["word"])
    .default("word")
    .describe("tokenizer of a fresh policy: word = one token for each word of the world"),
});

export const PROMPT_FORMATS = ["plain", "message", "chat"] as const;

export const promptSection = section({
  format: choice(PROMPT_FORMATS)
    .default("message")
    .describe(
      "plain = text as it is, without a template; message = the same text as one user message in the tokenizer's chat " +
        "template; chat = the same with worded instructions, for pretrained policies",
    ),
  history: integerFrom(0).default(2).describe("how many of the last (action, observation) pairs are shown"),
  admissible: flag().default(false).describe("list the admissible actions"),
  context: choice(["step", "episode"])
    .default("step")
    .describe(
      "step = each prompt is written anew; episode = it goes on from the one before, token by token, and each token is computed once (history, past_actions and recent_answers have no effect)",
    ),
  answer: choice(["command", "think", "tags", "tag"])
    .default("command")
    .describe(
      "command = the bare command; think = <think> and <action> (verl-agent); tags = one of <planning>, <explore>, <reflection>, <monitor>, and <action> (RLVMR); tag = the tag as a word, then the command (RLVMR for policies from scratch)",
    ),
  answer_rule: choice(["strict", "loose"])
    .default("strict")
    .describe(
      "think and tags: strict = exactly one thought, then exactly one action; loose = at least one of each",
    ),
  valid_action: choice(["well_formed", "admissible"])
    .default("admissible")
    .describe("valid steps: those with a well-formed answer, or those whose action is admissible besides"),
  wording: choice(["household", "scienceworld"])
    .default("household")
    .describe("chat: whose commands are explained; household is for ALFWorld too"),
  past_actions: flag()
    .default(false)
    .describe("show the actions of all earlier steps too, without their observations"),
  recent_answers: integerFrom(0)
    .default(0)
    .describe("chat: how many of the last answers are shown as they were given (RLVMR: 3)"),
  max_tokens: integerFrom(1)
    .nullable()
    .default(null)
    .describe(
      "longest prompt, never beyond what the model reads: step = the oldest observations, then answers, then actions are left out until it fits; where that does not suffice, and with episode, the episode is truncated; null = what the model reads",
    ),
});

export const evaluationSection = section({
  at_start: flag().default(true).describe("evaluate before the first update, too"),
  every: integerFrom(0)
    .default(0)
    .describe("evaluate after every so many GRPO updates; 0 = only before and after each stage"),
  episodes: integerFrom(1, MANY).default(64).describe("episodes for each split, one for each task in turn"),
  splits: z
    .array(text(), "a list of split names")
    .nullable()
    .default(null)
    .describe("splits to evaluate on; null = every split of the world but the training split, [] = none"),
  task_types: listOfTexts()
    .nullable()
    .default(null)
    .describe("task types to evaluate on; null = all, also where training is limited to some"),
  modes: z
    .array(choice(["greedy", "sampled"]), "a list of modes")
    .min(1)
    .default(["greedy", "sampled"])
    .describe("greedy = the likeliest token always; sampled = with the two fields below"),
  samples: integerFrom(1, MANY)
    .default(1)
    .describe("sampled episodes for each task: gives avg@k and pass@k for that many and fewer"),
  temperature: numberFrom(0, 1e6).default(0.4).describe("of sampled evaluation"),
  top_p: positiveFraction().default(1).describe("of sampled evaluation"),
  seed: seedNumber().default(1000).describe("seed of evaluation: the same episodes every time"),
});

export const checkpointSection = section({
  save_steps: integerFrom(0)
    .default(25)
    .describe("updates between checkpoints; 0 = only at the end of a stage and when stopped"),
  save_total_limit: integerFrom(1)
    .nullable()
    .default(2)
    .describe("how many checkpoints stay, the newest ones; null = all"),
});

export const logSection = section({
  rollouts: flag().default(false).describe("write every step of every rollout to rollouts/step_*.jsonl"),
  evaluation_episodes: integerFrom(0, MANY)
    .default(8)
    .describe("episodes of each split and mode that are written step by step to evaluations/step_*.jsonl"),
});
