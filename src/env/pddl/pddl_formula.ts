/** Conditions, effects and typed lists of PDDL: their types, and the reader that turns nodes into them. */
import { type Node, nodeName, type SourceText } from "./s_expression.js";

/** A ground atom, or one over variables inside a formula: `predicate(args)`. */
export interface Atom {
  readonly predicate: string;
  readonly args: readonly string[];
}

/** A typed variable `?x - type`. A type that the domain does not know has no objects (it is not an error). */
export interface Parameter {
  /** With its leading `?`. */
  readonly name: string;
  readonly type: string;
}

/** A condition tree. Terms starting with `?` are variables; `imply` arrives as `or` of a `not`. */
export type Condition =
  | { readonly kind: "and" | "or"; readonly parts: readonly Condition[] }
  | { readonly kind: "not"; readonly part: Condition }
  | { readonly kind: "exists" | "forall"; readonly variables: readonly Parameter[]; readonly part: Condition }
  | { readonly kind: "equal"; readonly left: string; readonly right: string }
  | { readonly kind: "atom"; readonly predicate: string; readonly args: readonly string[] };

/** One literal effect. `when` and `forall` around it are unfolded into `condition` and `variables`. */
export interface Effect {
  /** True adds the atom, false deletes it. */
  readonly add: boolean;
  readonly atom: Atom;
  /** Variables of the `forall`s around it, outermost first; usually none. */
  readonly variables: readonly Parameter[];
  /** Conjunction of the `when`s around it; undefined = unconditional. */
  readonly condition: Condition | undefined;
}

/** An entry of a typed list with its place. */
export interface TypedName {
  readonly name: string;
  readonly type: string;
  readonly at: number;
}

/** The text of a node that must be a symbol. `near` gives the place when the node is absent. */
export function symbolOf(source: SourceText, node: Node | undefined, near: Node, expected: string): string {
  if (node?.kind === "symbol") return node.text;
  const got = node === undefined ? "nothing" : nodeName(node);
  throw source.error((node ?? near).at, `got ${got}, expected ${expected}. Correct the text.`);
}

/** Reads `a b - type c - other d`; names without a type are of type `object`. */
export function typedListOf(source: SourceText, nodes: readonly Node[], what: string): TypedName[] {
  const result: TypedName[] = [];
  let pending: { name: string; at: number }[] = [];
  for (let i = 0; i < nodes.length; i++) {
    const node = nodes[i];
    const name = symbolOf(source, node, node, `a ${what} name`);
    if (name !== "-") {
      pending.push({ name, at: node.at });
      continue;
    }
    const type = symbolOf(source, nodes[++i], node, `a type name after \`-\``);
    for (const entry of pending) result.push({ name: entry.name, type, at: entry.at });
    pending = [];
  }
  for (const entry of pending) result.push({ name: entry.name, type: "object", at: entry.at });
  return result;
}

/** Reads formulas of one text, checking predicates, argument counts and that variables are in scope. */
export class FormulaReader {
  readonly #source: SourceText;
  readonly #predicates: ReadonlyMap<string, number>;

  /** @param predicates declared predicates and their numbers of arguments */
  constructor(source: SourceText, predicates: ReadonlyMap<string, number>) {
    this.#source = source;
    this.#predicates = predicates;
  }

  /**
   * @param scope variables bound around this condition
   * @throws DataError with line and column
   */
  condition(node: Node, scope: readonly string[]): Condition {
    if (node.kind === "symbol") {
      throw this.#source.error(
        node.at,
        `got ${nodeName(node)}, expected a condition \`(...)\`. Correct the text.`,
      );
    }
    if (node.items.length === 0) return { kind: "and", parts: [] };
    const head = symbolOf(this.#source, node.items[0], node, "a condition keyword or predicate");
    const rest = node.items.slice(1);
    switch (head) {
      case "and":
      case "or":
        return { kind: head, parts: rest.map((part) => this.condition(part, scope)) };
      case "not":
        this.#count(node, rest, 1);
        return { kind: "not", part: this.condition(rest[0], scope) };
      case "imply": {
        this.#count(node, rest, 2);
        const premise: Condition = { kind: "not", part: this.condition(rest[0], scope) };
        return { kind: "or", parts: [premise, this.condition(rest[1], scope)] };
      }
      case "exists":
      case "forall": {
        this.#count(node, rest, 2);
        const variables = this.variables(rest[0]);
        const inner = [...scope, ...variables.map((variable) => variable.name)];
        return { kind: head, variables, part: this.condition(rest[1], inner) };
      }
      case "=": {
        this.#count(node, rest, 2);
        const [left, right] = rest.map((term) => this.#term(term, node, scope)) as [string, string];
        return { kind: "equal", left, right };
      }
      default:
        return { kind: "atom", ...this.atom(node, scope) };
    }
  }

  /** Literal effects in file order; `increase` and its kin (costs) are left out. @throws DataError with place */
  effects(node: Node, scope: readonly string[]): Effect[] {
    const result: Effect[] = [];
    this.#effects(node, scope, [], [], result);
    return result;
  }

  #effects(
    node: Node,
    scope: readonly string[],
    variables: readonly Parameter[],
    conditions: readonly Condition[],
    result: Effect[],
  ): void {
    if (node.kind === "symbol") {
      throw this.#source.error(
        node.at,
        `got ${nodeName(node)}, expected an effect \`(...)\`. Correct the text.`,
      );
    }
    if (node.items.length === 0) return;
    const head = symbolOf(this.#source, node.items[0], node, "an effect keyword or predicate");
    const rest = node.items.slice(1);
    if (head === "increase" || head === "decrease" || head === "assign") return;
    if (head === "and") {
      for (const part of rest) this.#effects(part, scope, variables, conditions, result);
    } else if (head === "when") {
      this.#count(node, rest, 2);
      const condition = this.condition(rest[0], scope);
      this.#effects(rest[1], scope, variables, [...conditions, condition], result);
    } else if (head === "forall") {
      this.#count(node, rest, 2);
      const added = this.variables(rest[0]);
      const inner = [...scope, ...added.map((variable) => variable.name)];
      this.#effects(rest[1], inner, [...variables, ...added], conditions, result);
    } else {
      const add = head !== "not";
      if (!add) this.#count(node, rest, 1);
      const atom = this.atom(add ? node : rest[0], scope);
      const condition: Condition | undefined =
        conditions.length === 0 ? undefined : { kind: "and", parts: conditions };
      result.push({ add, atom, variables, condition });
    }
  }

  /** Reads `(predicate term ...)`. @throws DataError on an undeclared predicate or a wrong number of arguments */
  atom(node: Node, scope: readonly string[]): Atom {
    if (node.kind === "symbol") {
      throw this.#source.error(
        node.at,
        `got ${nodeName(node)}, expected an atom \`(predicate ...)\`. Correct the text.`,
      );
    }
    const predicate = symbolOf(this.#source, node.items[0], node, "a predicate");
    const expected = this.#predicates.get(predicate);
    if (expected === undefined) {
      throw this.#source.error(
        node.at,
        `undeclared predicate: got \`${predicate}\`, expected one of the domain's :predicates. Pair the right files.`,
      );
    }
    const terms = node.items.slice(1);
    if (terms.length !== expected) {
      throw this.#source.error(
        node.at,
        `predicate \`${predicate}\`: got ${terms.length} arguments, expected ${expected}. Correct the text.`,
      );
    }
    return { predicate, args: terms.map((term) => this.#term(term, node, scope)) };
  }

  /** Reads a variable list `(?x - type ...)`. */
  variables(node: Node): Parameter[] {
    if (node.kind === "symbol") {
      throw this.#source.error(
        node.at,
        `got ${nodeName(node)}, expected a variable list \`(?x - type)\`. Fix it.`,
      );
    }
    return typedListOf(this.#source, node.items, "variable").map(({ name, type, at }) => {
      if (name.startsWith("?")) return { name, type };
      throw this.#source.error(at, `got \`${name}\`, expected a variable \`?name\`. Correct the text.`);
    });
  }

  #term(node: Node, near: Node, scope: readonly string[]): string {
    const term = symbolOf(this.#source, node, near, "an object or variable");
    if (term.startsWith("?") && !scope.includes(term)) {
      const bound = scope.join(" ") || "none";
      throw this.#source.error(
        node.at,
        `unbound variable: got \`${term}\`, expected one of: ${bound}. Declare it.`,
      );
    }
    return term;
  }

  #count(node: Node, rest: readonly Node[], expected: number): void {
    if (rest.length === expected) return;
    throw this.#source.error(
      node.at,
      `${nodeName(node)}: got ${rest.length} parts, expected ${expected}. Correct the text.`,
    );
  }
}
