/**
 * The blocks of a prompt. Contents and their order follow the prompts of verl-agent and RLVMR as algorithms descriptions give
 * them; the words are ours.
 */
import { STEP_TAGS, type StepTag } from "./action.js";
import {
  type Block,
  type PromptOptions,
  type PromptState,
  roomOf,
  type Turn,
  taskOf,
} from "./prompt_state.js";

/** What the policy sees of the past. */
interface Past {
  /** Steps shown in full. */
  readonly shown: readonly Turn[];
  /** Steps before them. */
  readonly hidden: readonly Turn[];
}

/**
 * Blocks of a prompt that stands by itself.
 * @param history steps shown in full, at most those there are
 */
export function blocksOf(state: PromptState, options: PromptOptions, history: number): Block[] {
  const first = state.turns.length - history;
  const past: Past = { shown: state.turns.slice(first), hidden: state.turns.slice(0, first) };
  return options.format === "chat" ? chatBlocks(state, past, options) : plainBlocks(state, past, options);
}

/** Blocks of a step that follows others in one text: what is new. */
export function nextBlocks(
  { observation, admissibleCommands }: Pick<PromptState, "observation" | "admissibleCommands">,
  { format, admissible }: PromptOptions,
): Block[] {
  const blocks: Block[] = [{ name: "observation", text: observation }];
  if (admissible) blocks.push(admissibleBlock(admissibleCommands, format));
  return blocks;
}

function admissibleBlock(commands: readonly string[], format: PromptOptions["format"]): Block {
  const text = format === "chat" ? `Commands possible now:\n${commands.join("\n")}` : commands.join(" ; ");
  return { name: "admissible", text };
}

/** Observations as they are shown: the task in the first one has a block of its own. */
function shownText(state: PromptState, observation: string): string {
  return observation === state.opening ? roomOf(state) : observation;
}

function instructionBlocks({ instructions }: PromptState): Block[] {
  return instructions ? [{ name: "instructions", text: instructions }] : [];
}

function plainBlocks(state: PromptState, { shown, hidden }: Past, options: PromptOptions): Block[] {
  const blocks: Block[] = [{ name: "task", text: taskOf(state) }, ...instructionBlocks(state)];
  // the opening may still be among the shown turns or be the observation itself
  if (hidden.length > 0) blocks.push({ name: "room", text: roomOf(state) });
  if (options.past_actions)
    for (const { action } of hidden) blocks.push({ name: "history", text: `> ${action}` });
  for (const { observation, action } of shown)
    blocks.push({ name: "history", text: `${shownText(state, observation)}\n> ${action}` });
  blocks.push({ name: "observation", text: shownText(state, state.observation) });
  if (options.admissible) blocks.push(admissibleBlock(state.admissibleCommands, "plain"));
  return blocks;
}

const ROLES = {
  household: "You act in a text world.",
  scienceworld: "You act in a text world where experiments of school science are made.",
} as const;

/** Commands of ScienceWorld. Those of the household are read from its answers or listed as admissible. */
const SCIENCE_COMMANDS = `Commands have these forms (THING and PLACE stand for names that you read):
open THING, close THING, activate THING, deactivate THING, connect THING to THING, disconnect THING,
use THING on THING, look around, look at THING, look in THING, read THING, move THING to THING, pick up THING,
put down THING, pour THING into THING, dunk THING into THING, mix THING, go to PLACE, teleport to PLACE, eat THING,
flush THING, focus on THING (says which thing the task is about), wait (ten ticks), wait1 (one tick), inventory`;

function chatBlocks(state: PromptState, past: Past, options: PromptOptions): Block[] {
  const wording = options.wording ?? "household";
  const answer = options.answer ?? "command";
  const blocks: Block[] = [
    { name: "task", text: `${ROLES[wording]} Your task: ${taskOf(state)}` },
    ...instructionBlocks(state),
    ...pastBlocks(state, past, options),
  ];
  if (wording === "scienceworld") blocks.splice(1, 0, { name: "commands", text: SCIENCE_COMMANDS });
  const now = shownText(state, state.observation);
  blocks.push({ name: "observation", text: `Step ${state.turns.length + 1}. You see: ${now}` });
  if (options.admissible) blocks.push(admissibleBlock(state.admissibleCommands, "chat"));
  if (answer === "tags" && options.context !== "episode") {
    const plan = state.turns.findLast((turn) => turn.plan !== undefined)?.plan;
    blocks.push({
      name: "plan",
      text: `Your plan so far: ${plan ?? "none yet"}. Keep to it while it holds.`,
    });
  }
  blocks.push({ name: "answer_format", text: answerFormat(answer) });
  return blocks;
}

function pastBlocks(state: PromptState, { shown, hidden }: Past, options: PromptOptions): Block[] {
  const blocks: Block[] = [];
  if (hidden.length > 0) blocks.push({ name: "room", text: `The world at the start: ${roomOf(state)}` });
  const lines = [
    ...(options.past_actions
      ? hidden.map(({ action }, index) => `Step ${index + 1}. You did: ${action}`)
      : []),
    ...shown.map(
      ({ observation, action }, index) =>
        `Step ${hidden.length + index + 1}. You saw: ${shownText(state, observation)}\nYou did: ${action}`,
    ),
  ];
  if (lines.length > 0) blocks.push({ name: "history", text: lines.join("\n") });
  const recent = options.recent_answers ? state.turns.slice(-options.recent_answers) : [];
  if (recent.length > 0) {
    const texts = recent.map(({ answer, action }) => answer ?? action);
    blocks.push({ name: "answers", text: `Your last answers were:\n${texts.join("\n")}` });
  }
  return blocks;
}

const TAG_USES: Readonly<Record<StepTag, string>> = {
  planning: "the steps that lead to the goal, at the start or when the plan has to change",
  explore: "what is still unknown and where you look for it",
  reflection: "what went wrong in the step before and what you do about it",
  monitor: "how far you are in your plan",
};

function answerFormat(answer: NonNullable<PromptOptions["answer"]>): string {
  switch (answer) {
    case "command":
      return "Answer with one command and nothing else.";
    case "think":
      return (
        "First think about what to do, between <think> and </think>. Then give one command of those possible, between " +
        "<action> and </action>."
      );
    case "tag":
      return `Answer with the kind of the step, ${STEP_TAGS.join(", ")}, and then one command.`;
    case "tags": {
      const uses = STEP_TAGS.map((tag) => `<${tag}> ${TAG_USES[tag]} </${tag}>`);
      return (
        `First say in one short sentence what this step is for, in exactly one of these tags:\n${uses.join("\n")}\n` +
        "Then give exactly one command, with the names as you read them, between <action> and </action>."
      );
    }
  }
}
