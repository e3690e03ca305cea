/** Kinds of configuration values. A schema's message is what was expected, as the second half of an error. */
import { RE2JS } from "re2js";
import { z } from "zod";

/** Counts of things that are all made or kept at once: far above any use, far below what memory holds. */
export const MANY = 1_000_000;

/** Whole number from `low` up. @param most default: far above any use */
export function integerFrom(low: number, most = 1_000_000_000) {
  const expected = `an integer, ${low} or more`;
  return z.int(expected).min(low, expected).max(most, `an integer from ${low} to ${most}`);
}

/** Seed of anything: every whole number that a double holds. */
export function seedNumber() {
  return integerFrom(0, Number.MAX_SAFE_INTEGER);
}

/** Learning rate: AdamW moves every weight by about that much in an update, and weights are below 1. */
export function learningRate() {
  const expected = "a number from 0 to 1";
  return z.number(expected).min(0, expected).max(1, expected);
}

/** Numbers go to the GPU as f32: larger ones are infinite there, smaller ones 0. */
const LARGEST = 3.4e38;
const SMALLEST = 1.2e-38;

/** Number from `low` up, `low` included. @param most default: what f32 holds */
export function numberFrom(low: number, most = LARGEST) {
  const expected = `a number, ${low} or more`;
  return z.number(expected).min(low, expected).max(most, `a number from ${low} to ${most}`);
}

/** Number above `low`, that f32 can tell from it. */
export function numberAbove(low: number) {
  const expected = `a number above ${low}`;
  const least = low === 0 ? SMALLEST : low;
  return z
    .number(expected)
    .gt(low, expected)
    .min(least, `a number above ${low}, ${least} or more`)
    .max(LARGEST, `a number above ${low}, at most ${LARGEST}`);
}

/** What logits are divided by. Sharper or flatter ones cannot be told from the likeliest token, or from none. */
export function temperature() {
  return z.number("a number above 0").gt(0, "a number above 0").min(1e-6, WARMTH).max(1e6, WARMTH);
}

const WARMTH = "a number from 0.000001 to 1000000";

/** Seconds until something is called off: system timers hold no more than 24 days. */
export function seconds() {
  const expected = "a number above 0, at most 2000000 seconds";
  return z.number(expected).gt(0, expected).max(2_000_000, expected);
}

/** Share of a weight that AdamW takes from it in an update, over the learning rate. */
export function weightDecay() {
  return numberFrom(0, 1000);
}

/** Number from 0 to 1, both included. */
export function fraction() {
  const expected = "a number from 0 to 1";
  return z.number(expected).min(0, expected).max(1, expected);
}

/** Number above 0, up to 1. */
export function positiveFraction() {
  const expected = "a number above 0, up to 1";
  return z.number(expected).gt(0, expected).max(1, expected);
}

export function flag() {
  return z.boolean("true or false");
}

export function text() {
  const expected = "a text that is not empty";
  return z.string(expected).min(1, expected);
}

/** Source of a regular expression. */
export function regularExpression() {
  const expected = "a regular expression in RE2's syntax, without back references and looking around";
  return z.string(expected).refine(isRegularExpression, expected);
}

/** RE2 takes time in proportion to the text, whatever the pattern: backtracking may never end. */
function isRegularExpression(source: string): boolean {
  try {
    RE2JS.compile(source);
    return source.length <= 1000;
  } catch {
    return false;
  }
}

/** One of a few words. */
export function choice<const T extends readonly [string, ...string[]]>(words: T) {
  const last = words[words.length - 1];
  return z.enum(words, words.length === 1 ? last : `${words.slice(0, -1).join(", ")} or ${last}`);
}

export function listOfTexts() {
  return z.array(text(), "a list of texts").min(1, "a list of at least one text");
}

/** `[low, high]`. */
export function integerRange() {
  const expected = "a list of two integers, low and high";
  return z.tuple([z.int(expected), z.int(expected)], expected);
}

/** A group of fields, every one of which has a default: all of it may be left out. Unknown keys are errors. */
export function section<T extends z.core.$ZodShape>(shape: T) {
  return z.strictObject(shape, "a section of `key: value` lines");
}

/** Whether a value is a section of settings, and no list or single value. */
export function isSection(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
