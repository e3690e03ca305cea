/** From what a policy answered to the command that the world gets: bare commands, or tagged parts parsed strictly. */

/** The kinds of step that a policy can announce. @source RLVMR (2507.22844), section 3 */
export const STEP_TAGS = ["planning", "explore", "reflection", "monitor"] as const;
export type StepTag = (typeof STEP_TAGS)[number];

/**
 * What an answer is made of.
 * `command`: the command and nothing else.
 * `think`: a thought in <think>, a command in <action>, as verl-agent asks for.
 * `tags`: a thought in one of the four step tags, a command in <action>, as RLVMR asks for.
 * `tag`: the word of a step tag, then the command: RLVMR for policies that cannot write thoughts. Ours.
 */
export type AnswerFormat = "command" | "think" | "tags" | "tag";

/**
 * When an answer in tags is well formed.
 * `strict`: exactly one thought that is not empty, then exactly one command. RLVMR's rule for ALFWorld.
 * `loose`: at least one pair of tags of either kind. verl-agent's rule, and RLVMR's for ScienceWorld, where of several
 * thoughts the first one counts.
 * Both refuse Chinese, Japanese and Korean characters, into which some chat models stray.
 */
export type AnswerRule = "strict" | "loose";

/** Which steps count as valid: those with a well-formed answer, or those whose command is admissible besides. */
export type ValidRule = "well_formed" | "admissible";

export interface ParsedAnswer {
  /** What the world gets. */
  readonly command: string;
  readonly isWellFormed: boolean;
  /** The step tag, where the answer has one; also in answers that are not well formed otherwise. */
  readonly tag?: StepTag;
  /** What stands in the thought's tags. */
  readonly thought?: string;
}

/** Characters at the end of an answer without an action that are sent as its command. @source verl-agent */
const TAIL = 30;

const CJK = /[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]/;

interface Part {
  readonly name: string;
  readonly content: string;
  /** Places of the first character and one past the last, tags included. */
  readonly start: number;
  readonly end: number;
}

/** Pairs of tags with these names, in order; an opening tag within a pair belongs to its content. */
function partsOf(text: string, names: readonly string[]): Part[] {
  const pattern = new RegExp(`<(${names.join("|")})>([\\s\\S]*?)</\\1>`, "g");
  return [...text.matchAll(pattern)].map((match) => ({
    name: match[1],
    content: match[2].trim(),
    start: match.index,
    end: match.index + match[0].length,
  }));
}

/** How often an opening or closing tag with one of these names occurs. */
function countTags(text: string, names: readonly string[]): number {
  return text.match(new RegExp(`</?(?:${names.join("|")})>`, "g"))?.length ?? 0;
}

/**
 * Reads an answer. Never fails: a malformed answer has a command too, its last 30 characters, which worlds answer as they
 * answer any nonsense.
 * @param text the decoded answer without end token
 */
export function parseAnswer(text: string, format: AnswerFormat, rule: AnswerRule = "strict"): ParsedAnswer {
  const whole = text.trim();
  if (format === "command") return { command: whole, isWellFormed: true };
  if (format === "tag") return parseTagged(whole);
  const names = format === "think" ? ["think"] : STEP_TAGS;
  const thoughts = partsOf(whole, names);
  const actions = partsOf(whole, ["action"]);
  const [thought] = thoughts;
  const [action] = actions;
  const isWellFormed =
    thought !== undefined &&
    action !== undefined &&
    !CJK.test(whole) &&
    (rule === "loose" ||
      (countTags(whole, names) === 2 &&
        countTags(whole, ["action"]) === 2 &&
        thought.content !== "" &&
        action.content !== "" &&
        thought.end <= action.start));
  return {
    command: action?.content ?? whole.slice(-TAIL).trim(),
    isWellFormed,
    ...(thought && format === "tags" && { tag: thought.name as StepTag }),
    ...(thought && { thought: thought.content }),
  };
}

function parseTagged(whole: string): ParsedAnswer {
  const [word, ...rest] = whole.split(/\s+/);
  const tag = STEP_TAGS.find((one) => one === word);
  const command = tag === undefined ? whole : rest.join(" ");
  return { command, isWellFormed: tag !== undefined && command !== "", ...(tag && { tag }) };
}

/** The words of the step tags at the start of an answer of format `tag`, with the space behind. */
const LEADING_TAG = new RegExp(`^\\s*(?:${STEP_TAGS.join("|")})\\s+`);

/**
 * Where the command stands in an answer, by the rules of `parseAnswer`.
 * @returns places of its first character and one past its last; of what stands inside <action>, spaces at its ends included
 */
export function commandSpan(text: string, format: AnswerFormat): readonly [number, number] {
  if (format === "command") return [0, text.length];
  if (format === "tag") return [text.match(LEADING_TAG)?.[0].length ?? 0, text.length];
  const [action] = partsOf(text, ["action"]);
  if (action) return [action.start + "<action>".length, action.end - "</action>".length];
  const { length } = text.trimEnd();
  return [Math.max(0, length - TAIL), length];
}

/**
 * A well-formed answer with a command, for rows that are imitated. Thoughts are a sentence of ours: an expert has none.
 * @param tag kind of the step, for the formats that name one
 */
export function writeAnswer(command: string, tag: StepTag, format: AnswerFormat): string {
  const thought = `The next command is ${command}.`;
  switch (format) {
    case "command":
      return command;
    case "tag":
      return `${tag} ${command}`;
    case "think":
      return `<think>${thought}</think><action>${command}</action>`;
    case "tags":
      return `<${tag}>${thought}</${tag}><action>${command}</action>`;
  }
}
