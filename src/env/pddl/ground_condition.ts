/** Conditions without variables: simplified trees over atom numbers, their truth, and their disjunctive normal form. */
import { DataError } from "../../core/errors.js";

export type GroundCondition =
  | boolean
  | { readonly kind: "literal"; readonly atom: number; readonly positive: boolean }
  | { readonly kind: "and" | "or"; readonly parts: readonly GroundCondition[] };

/** A conjunction of literals: atoms that must be true and atoms that must be false. */
export interface Conjunction {
  readonly positive: readonly number[];
  readonly negative: readonly number[];
}

/** More alternatives than this in one condition are refused: no real game comes near. */
const MAX_ALTERNATIVES = 20_000;

/** Conjunction or disjunction with constants folded and nested ones of the same kind flattened. */
export function combine(kind: "and" | "or", parts: readonly GroundCondition[]): GroundCondition {
  const absorbing = kind === "or";
  const kept: GroundCondition[] = [];
  for (const part of parts) {
    if (part === absorbing) return absorbing;
    if (typeof part === "boolean") continue;
    if (part.kind === kind) kept.push(...part.parts);
    else kept.push(part);
  }
  if (kept.length === 0) return !absorbing;
  return kept.length === 1 ? kept[0] : { kind, parts: kept };
}

/** Truth of a condition, given the truth of atoms. */
export function holds(condition: GroundCondition, isTrue: (atom: number) => boolean): boolean {
  if (typeof condition === "boolean") return condition;
  if (condition.kind === "literal") return isTrue(condition.atom) === condition.positive;
  const any = condition.kind === "or";
  for (const part of condition.parts) if (holds(part, isTrue) === any) return any;
  return !any;
}

/** The condition as alternatives of which one must hold; contradictory ones are left out. */
export function alternativesOf(condition: GroundCondition, where: string): Conjunction[] {
  const plain = typeof condition === "boolean" ? undefined : plainConjunction(condition);
  if (plain !== undefined) return plain;
  return expand(condition, where).map((literals) => {
    const positive: number[] = [];
    const negative: number[] = [];
    for (const [atom, value] of literals) (value ? positive : negative).push(atom);
    return { positive, negative };
  });
}

/** The common case without `or`: one alternative, or none when it contradicts itself. */
function plainConjunction(condition: Exclude<GroundCondition, boolean>): Conjunction[] | undefined {
  const positive: number[] = [];
  const negative: number[] = [];
  for (const part of condition.kind === "and" ? condition.parts : [condition]) {
    if (typeof part === "boolean" || part.kind !== "literal") return undefined;
    const list = part.positive ? positive : negative;
    if (!list.includes(part.atom)) list.push(part.atom);
  }
  return positive.some((atom) => negative.includes(atom)) ? [] : [{ positive, negative }];
}

function expand(condition: GroundCondition, where: string): ReadonlyMap<number, boolean>[] {
  if (typeof condition === "boolean") return condition ? [new Map()] : [];
  if (condition.kind === "literal") return [new Map([[condition.atom, condition.positive]])];
  const expanded = condition.parts.map((part) => expand(part, where));
  if (condition.kind === "or") return bounded(expanded.flat(), where);
  let result: ReadonlyMap<number, boolean>[] = [new Map()];
  for (const choices of expanded) {
    const next: ReadonlyMap<number, boolean>[] = [];
    for (const left of result) {
      for (const right of choices) {
        const merged = merge(left, right);
        if (merged !== undefined) next.push(merged);
      }
      bounded(next, where);
    }
    result = next;
  }
  return result;
}

function merge(
  left: ReadonlyMap<number, boolean>,
  right: ReadonlyMap<number, boolean>,
): ReadonlyMap<number, boolean> | undefined {
  const merged = new Map(left);
  for (const [atom, value] of right) {
    if (merged.get(atom) === !value) return undefined;
    merged.set(atom, value);
  }
  return merged;
}

function bounded<T>(list: T[], where: string): T[] {
  if (list.length <= MAX_ALTERNATIVES) return list;
  throw new DataError(
    `[${where}] condition too large: got over ${MAX_ALTERNATIVES} alternatives, expected fewer. Simplify its \`or\`s.`,
  );
}
