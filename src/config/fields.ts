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

/** Number from `low` up, `low` included. */
export function numberFrom(low: number) {
  const expected = `a number, ${low} or more`;
  return z.number(expected).min(low, expected);
}

/** Number above `low`. */
export function numberAbove(low: number) {
  const expected = `a number above ${low}`;
  return z.number(expected).gt(low, expected);
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
