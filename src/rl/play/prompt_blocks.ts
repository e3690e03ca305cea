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

/** How many of the last steps a prompt shows, in three ways. */
export interface PastShown {
  /** With observation and action. */
  readonly history: number;
  /** With the answer as it was given. */
  readonly answers: number;
  /** With the action alone, out of those before `history`. */
  readonly actions: number;
}

/**
 * What a prompt may show of the past, from all that is asked for down to nothing: first the oldest observations go, then the
 * oldest answers, then the oldest actions.
 */
export function pastsOf({ turns }: PromptState, options: PromptOptions): PastShown[] {
  const { length } = turns;
  const history = Math.min(options.history, length);
  const answers = Math.min(options.recent_answers ?? 0, length);
  const actions = options.past_actions ? length : 0;
  const down = (most: number) => Array.from({ length: most }, (_, index) => most - 1 - index);
  return [
    { history, answers, actions },
    ...down(history).map((fewer) => ({ history: fewer, answers, actions })),
    ...down(answers).map((fewer) => ({ history: 0, answers: fewer, actions })),
    ...down(actions).map((fewer) => ({ history: 0, answers: 0, actions: fewer })),
  ];
}

/** What the policy sees of the past. */
interface Past {
  /** Steps shown in full. */
  readonly shown: readonly Turn[];
  /** Steps before them. */
  readonly hidden: readonly Turn[];
  /** Index of the first hidden step whose action is shown. */
  readonly firstAction: number;
  /** Steps whose answers are shown. */
  readonly answered: readonly Turn[];
}

/**
 * Blocks of a prompt that stands by itself.
 * @param past one of `pastsOf`
 */
export function blocksOf(
  state: PromptState,
  options: PromptOptions,
  { history, answers, actions }: PastShown,
): Block[] {
  const { turns } = state;
  const first = turns.length - history;
  const past: Past = {
    shown: turns.slice(first),
    hidden: turns.slice(0, first),
    firstAction: Math.max(0, first - actions),
    answered: turns.slice(turns.length - answers),
  };
  return options.format === "chat" ? chatBlocks(state, past, options) : plainBlocks(state, past, options);
}

/** Blocks of a step that follows others in one text: what is new. */
export function nextBlocks(
  { observation, admissibleCommands }: Pick<PromptState, "observation" | "admissibleCommands">,
  options: PromptOptions,
): Block[] {
  const blocks: Block[] = [{ name: "observation", text: observation }];
  const isListed = options.admissible && (options.format !== "chat" || admissibleCommands.length > 0);
  if (isListed) blocks.push(admissibleBlock(admissibleCommands, options));
  return blocks;
}

/** @remarks `help` of ALFWorld's games lists commands and brings nobody on: as in verl-agent, chat models are not shown it. */
function admissibleBlock(commands: readonly string[], { format, wording }: PromptOptions): Block {
  if (format !== "chat") return { name: "admissible", text: commands.join(" ; ") };
  const shown = wording === "scienceworld" ? commands : commands.filter((command) => command !== "help");
  return { name: "admissible", text: `Commands possible now:\n${shown.join("\n")}` };
}

/** Observations as they are shown: the task in the first one has a block of its own. */
function shownText(state: PromptState, observation: string): string {
  return observation === state.opening ? roomOf(state) : observation;
}

function instructionBlocks({ instructions }: PromptState): Block[] {
  return instructions ? [{ name: "instructions", text: instructions }] : [];
}

function plainBlocks(
  state: PromptState,
  { shown, hidden, firstAction }: Past,
  options: PromptOptions,
): Block[] {
  const blocks: Block[] = [{ name: "task", text: taskOf(state) }, ...instructionBlocks(state)];
  // the opening may still be among the shown turns or be the observation itself
  if (hidden.length > 0) blocks.push({ name: "room", text: roomOf(state) });
  for (const { action } of hidden.slice(firstAction)) blocks.push({ name: "history", text: `> ${action}` });
  for (const { observation, action } of shown)
    blocks.push({ name: "history", text: `${shownText(state, observation)}\n> ${action}` });
  blocks.push({ name: "observation", text: shownText(state, state.observation) });
  if (options.admissible) blocks.push(admissibleBlock(state.admissibleCommands, options));
  return blocks;
}

const ROLES = {
  household: "You act in a text world.",
  scienceworld: "You act in a text world where experiments of school science are made.",
} as const;

/** Forms of commands, for prompts that do not list those possible now. The household's are ALFWorld's, too. */
const COMMANDS = {
  household: `Commands have these forms (THING and PLACE stand for names that you read, with their numbers):
go to PLACE, open PLACE, close PLACE, take THING from PLACE, put THING in/on PLACE (in some games: move THING to PLACE),
clean THING with PLACE, heat THING with PLACE, cool THING with PLACE, use THING, slice THING with THING, examine THING,
look, inventory`,
  scienceworld: `Commands have these forms (THING and PLACE stand for names that you read):
open THING, close THING, activate THING, deactivate THING, connect THING to THING, disconnect THING,
use THING on THING, look around, look at THING, look in THING, read THING, move THING to THING, pick up THING,
put down THING, pour THING into THING, dunk THING into THING, mix THING, go to PLACE, teleport to PLACE, eat THING,
flush THING, focus on THING (says which thing the task is about), wait (ten ticks), wait1 (one tick), inventory`,
} as const;

function chatBlocks(state: PromptState, past: Past, options: PromptOptions): Block[] {
  const wording = options.wording ?? "household";
  const answer = options.answer ?? "command";
  // worlds may list none, and are told about by forms then
  const isListed = options.admissible && state.admissibleCommands.length > 0;
  const blocks: Block[] = [
    { name: "task", text: `${ROLES[wording]} Your task: ${taskOf(state)}` },
    ...(isListed ? [] : [{ name: "commands", text: COMMANDS[wording] } as const]),
    ...instructionBlocks(state),
    ...pastBlocks(state, past),
  ];
  const now = shownText(state, state.observation);
  blocks.push({ name: "observation", text: `Step ${state.turns.length + 1}. You see: ${now}` });
  if (isListed) blocks.push(admissibleBlock(state.admissibleCommands, options));
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

function pastBlocks(state: PromptState, { shown, hidden, firstAction, answered }: Past): Block[] {
  const blocks: Block[] = [];
  if (hidden.length > 0) blocks.push({ name: "room", text: `The world at the start: ${roomOf(state)}` });
  const lines = [
    ...hidden
      .slice(firstAction)
      .map(({ action }, index) => `Step ${firstAction + index + 1}. You did: ${action}`),
    ...shown.map(
      ({ observation, action }, index) =>
        `Step ${hidden.length + index + 1}. You saw: ${shownText(state, observation)}\nYou did: ${action}`,
    ),
  ];
  if (lines.length > 0) blocks.push({ name: "history", text: lines.join("\n") });
  if (answered.length > 0) {
    const texts = answered.map(({ answer, action }) => answer ?? action);
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
