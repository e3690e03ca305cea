/** How long the texts of a grammar can get: rules that refer twice to rules that refer twice ... double with each level. */
import { DataError } from "../../core/errors.js";
import type { Grammar } from "./grammar.js";
import type { Piece, Template } from "./text_template.js";

/** Most parts that a text is put together from; texts of ALFWorld have some hundreds. */
export const MAX_PARTS = 100_000;

/** The rule that a part of a text refers to. */
export function ruleOf(piece: Piece): string | undefined {
  if (piece.kind === "rule") return piece.rule;
  return piece.kind !== "text" && piece.content.kind === "rule" ? piece.content.rule : undefined;
}

export function fullTextError(file: string): DataError {
  return new DataError(
    `[${file}] a text has no end: got over ${MAX_PARTS} parts, expected fewer. Simplify the rules that refer to others.`,
  );
}

/**
 * Refuses texts that have too many parts however the state is, lists counted with one entry. What lists add is known when a
 * text is written.
 * @param name of the rule or action that the texts are of
 * @param texts of a grammar without circles
 * @throws DataError naming the rule or action, and one on the way that doubles
 */
export function checkExpansion(grammar: Grammar, name: string, texts: readonly Template[]): void {
  const known = new Map<string, number>();
  const partsOf = (template: Template): number =>
    template.reduce((sum, piece) => {
      const rule = ruleOf(piece);
      return sum + 1 + (rule === undefined ? 0 : partsOfRule(rule));
    }, 0);
  const partsOfRule = (rule: string): number => {
    let parts = known.get(rule);
    if (parts === undefined) {
      const alternatives = grammar.rules.get(rule) ?? [];
      parts = alternatives.reduce((most, { text }) => Math.max(most, partsOf(text)), 0);
      known.set(rule, parts);
      if (parts > MAX_PARTS) {
        throw new DataError(
          `[${grammar.file}] rule "${rule}" of "${name}" has no end: got over ${MAX_PARTS} parts, expected fewer. Simplify the ` +
            "rules that it refers to.",
        );
      }
    }
    return parts;
  };
  for (const text of texts) if (partsOf(text) > MAX_PARTS) throw fullTextError(grammar.file);
}
