/** Which cells a command line means. */
import { ConfigError } from "../../core/errors.js";
import type { PlannedCell } from "../../host/experiment/plan.js";

/**
 * Cells whose name, or name with seed (`grpo+gcd__s0`), matches one of the patterns. `*` stands for any letters.
 * @param patterns undefined: all cells
 * @throws ConfigError for a pattern that no cell matches
 */
export function cellsNamed(
  cells: readonly PlannedCell[],
  patterns: readonly string[] | undefined,
): readonly PlannedCell[] {
  if (patterns === undefined) return cells;
  const matchers = patterns.map((pattern) => {
    const expression = pattern.split("*").map((text) => text.replaceAll(/[.+\\^$?()[\]{}|]/g, "\\$&"));
    const matcher = new RegExp(`^${expression.join(".*")}$`);
    const matches = ({ id, cell }: PlannedCell) => matcher.test(cell.name) || matcher.test(id);
    if (cells.some(matches)) return matches;
    const names = [...new Set(cells.map(({ cell }) => cell.name))];
    throw new ConfigError(
      `[--only] no cell has the name: got "${pattern}", expected one of ${names.join(", ")}, perhaps with __s and a seed, or ` +
        "a part of one with *. Change it.",
    );
  });
  return cells.filter((cell) => matchers.some((matches) => matches(cell)));
}
