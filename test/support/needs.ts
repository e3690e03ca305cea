/** Tests that need what a clone alone does not have: real games, or an adapter with a feature. */
import { describe, test } from "vitest";

/** Something that not every machine has. */
export interface Need {
  /** What it is, as the last line of a test run names it. */
  readonly what: string;
  readonly isThere: boolean;
  /** How to get it. */
  readonly cure: string;
}

/** @returns `test` and `describe` for what needs it. Without it one test stands for each of them, skipped with a note
 *    that `not_run_reporter.ts` prints; where tests must run, that reporter makes the skip a failure. */
export function needing({ what, isThere, cure }: Need): {
  test(title: string, body: () => void | Promise<void>): void;
  describe(title: string, define: () => void): void;
} {
  const standIn = (title: string): void => test(title, ({ skip }) => skip(`${what}. ${cure}`));
  return {
    test: (title, body) => (isThere ? test(title, body) : standIn(title)),
    describe: (title, define) => (isThere ? describe(title, define) : standIn(title)),
  };
}

/** Storage and arithmetic in 16 bits.
 *  @param features of the adapter in use */
export const halfPrecision = (features: ReadonlySet<string>): Need => ({
  what: "an adapter with the feature shader-f16",
  isThere: features.has("shader-f16"),
  cure: "Use a GPU or lavapipe: see the platforms in README.md.",
});
