/**
 * PDDL domain and problem as plain data. Every name is lower-case. A term is a string: `?x` is a variable, anything else
 * an object. The subset is what text games use: `:adl :typing`, with action costs read over.
 */
import {
  type Atom,
  type Condition,
  type Effect,
  FormulaReader,
  type Parameter,
  symbolOf,
  typedListOf,
} from "./pddl_formula.js";
import { type ListNode, type Node, nodeName, readList, SourceText } from "./s_expression.js";

export type { Atom, Condition, Parameter } from "./pddl_formula.js";

export interface Action {
  readonly name: string;
  readonly parameters: readonly Parameter[];
  readonly precondition: Condition;
  /** In file order; costs are left out. */
  readonly effects: readonly Effect[];
}

export interface Domain {
  readonly name: string;
  /** Type to parent type, in file order. The root `object` is a key too, with parent undefined. */
  readonly types: ReadonlyMap<string, string | undefined>;
  /** Objects that every problem of the domain has, to their types. */
  readonly constants: ReadonlyMap<string, string>;
  /** Predicate to its declared number of arguments. Declared argument types bind nothing, as in planners. */
  readonly predicates: ReadonlyMap<string, number>;
  /** By name, in file order. */
  readonly actions: ReadonlyMap<string, Action>;
}

export interface Problem {
  readonly name: string;
  /** Object id (lower-case) to type, in file order, domain constants included. */
  readonly objects: ReadonlyMap<string, string>;
  /** Atoms true at the start, in file order without repeats; everything else is false. */
  readonly init: readonly Atom[];
  readonly goal: Condition;
}

/** `predicate(arg,arg)`: identity of an atom as text. */
function atomText(atom: Atom): string {
  return `${atom.predicate}(${atom.args.join(",")})`;
}

/** Whether `type` is `ancestor` or lies below it. Nothing lies below a type that the domain does not know. */
export function isSubtype(domain: Domain, type: string, ancestor: string): boolean {
  if (!domain.types.has(ancestor)) return false;
  if (ancestor === "object") return true;
  for (let t: string | undefined = type; t !== undefined; t = domain.types.get(t)) {
    if (t === ancestor) return true;
  }
  return false;
}

/**
 * Parses a domain.
 * @param text PDDL text
 * @param file how messages name it
 * @throws DataError with file, line and column
 */
export function parseDomain(text: string, file: string): Domain {
  const source = new SourceText(text, file);
  const { name, sections } = definition(source, "domain");
  const types = new Map<string, string | undefined>([["object", undefined]]);
  const constants = new Map<string, string>();
  const predicates = new Map<string, number>();
  for (const { keyword, section, rest } of sections) {
    if (keyword === ":types") addTypes(source, rest, types);
    else if (keyword === ":predicates") for (const node of rest) addPredicate(source, node, predicates);
    else if (keyword === ":constants") {
      for (const { name: id, type } of typedListOf(source, rest, "constant")) constants.set(id, type);
    } else if (keyword !== ":requirements" && keyword !== ":functions" && keyword !== ":action") {
      const expected = ":types, :constants, :predicates, :functions or :action";
      throw source.error(
        section.at,
        `unsupported section: got \`${keyword}\`, expected ${expected}. Remove it.`,
      );
    }
  }
  // Predicates may be declared after the actions that use them.
  const reader = new FormulaReader(source, predicates);
  const actions = new Map<string, Action>();
  for (const { keyword, section } of sections) {
    if (keyword !== ":action") continue;
    const action = actionOf(source, section, reader);
    if (actions.has(action.name)) {
      throw source.error(
        section.at,
        `action \`${action.name}\` is defined twice: expected once. Remove or rename one.`,
      );
    }
    actions.set(action.name, action);
  }
  if (actions.size === 0)
    throw source.error(0, "no action: expected at least one `(:action ...)`. Get the whole file.");
  return { name, types, constants, predicates, actions };
}

/** Most objects of a problem, constants included; games of ALFWorld have some 400. */
const MAX_OBJECTS = 5000;

/**
 * Parses a problem of `domain`.
 * @param text PDDL text
 * @param file how messages name it
 * @throws DataError with file, line and column; also when it names another domain, type, predicate or object
 */
export function parseProblem(text: string, domain: Domain, file: string): Problem {
  const source = new SourceText(text, file);
  const { name, sections } = definition(source, "problem");
  const reader = new FormulaReader(source, domain.predicates);
  const objects = new Map<string, string>(domain.constants);
  const atoms: Node[] = [];
  let goal: Condition | undefined;
  for (const { keyword, section, rest } of sections) {
    if (keyword === ":domain") {
      const wanted = symbolOf(source, rest[0], section, "a domain name");
      if (wanted !== domain.name) {
        throw source.error(
          section.at,
          `other domain: got \`${wanted}\`, expected \`${domain.name}\`. Pair the files.`,
        );
      }
    } else if (keyword === ":objects") {
      for (const { name: id, type, at } of typedListOf(source, rest, "object")) {
        if (!domain.types.has(type)) {
          throw source.error(
            at,
            `object \`${id}\`: got type \`${type}\`, expected one of the domain. Pair the files.`,
          );
        }
        objects.set(id, type);
        if (objects.size > MAX_OBJECTS) {
          throw source.error(
            at,
            `too many objects: got over ${MAX_OBJECTS}, expected fewer. Use a smaller game.`,
          );
        }
      }
    } else if (keyword === ":init") {
      for (const atom of rest) atoms.push(atom);
    } else if (keyword === ":goal") {
      if (rest.length !== 1)
        throw source.error(section.at, `got ${rest.length} goals, expected 1. Correct the text.`);
      goal = reader.condition(rest[0], []);
    } else if (keyword !== ":requirements" && keyword !== ":metric") {
      throw source.error(
        section.at,
        `unsupported section: got \`${keyword}\`, expected :init or the like. Remove it.`,
      );
    }
  }
  for (const part of [":objects", ":init", ":goal"]) {
    if (sections.some(({ keyword }) => keyword === part)) continue;
    throw source.error(0, `no \`(${part} ...)\`: expected one. Get the whole file.`);
  }
  return { name, objects, init: initOf(source, atoms, reader, objects), goal: goal as Condition };
}

interface Section {
  readonly keyword: string;
  readonly section: ListNode;
  readonly rest: readonly Node[];
}

/** Takes `(define (<what> NAME) (:keyword ...) ...)` apart. */
function definition(source: SourceText, what: string): { name: string; sections: Section[] } {
  const root = readList(source);
  const [define, header, ...sections] = root.items;
  if (define?.kind !== "symbol" || define.text !== "define" || header?.kind !== "list") {
    throw source.error(
      root.at,
      `got ${nodeName(root)}, expected \`(define (${what} ...\`. Use a PDDL ${what}.`,
    );
  }
  const kind = symbolOf(source, header.items[0], header, `\`${what}\``);
  if (kind !== what)
    throw source.error(header.at, `got a \`${kind}\`, expected a \`${what}\`. Use a PDDL ${what}.`);
  const name = symbolOf(source, header.items[1], header, `the name of the ${what}`);
  return {
    name,
    sections: sections.map((section) => {
      if (section.kind === "symbol") {
        throw source.error(
          section.at,
          `got ${nodeName(section)}, expected a section \`(:...)\`. Correct the text.`,
        );
      }
      const keyword = symbolOf(source, section.items[0], section, "a section keyword");
      return { keyword, section, rest: section.items.slice(1) };
    }),
  };
}

function addTypes(source: SourceText, nodes: readonly Node[], types: Map<string, string | undefined>): void {
  for (const { name, type, at } of typedListOf(source, nodes, "type")) {
    if (name === "object") continue;
    types.set(name, type);
    if (!types.has(type)) types.set(type, "object");
    for (let t: string | undefined = type; t !== undefined; t = types.get(t)) {
      if (t === name)
        throw source.error(at, `type \`${name}\` is its own ancestor: expected a tree. Break the cycle.`);
    }
  }
}

function addPredicate(source: SourceText, node: Node, predicates: Map<string, number>): void {
  if (node.kind === "symbol") {
    throw source.error(
      node.at,
      `got ${nodeName(node)}, expected a predicate \`(name ?x - type)\`. Correct the text.`,
    );
  }
  const predicate = symbolOf(source, node.items[0], node, "a predicate name");
  predicates.set(predicate, typedListOf(source, node.items.slice(1), "argument").length);
}

function actionOf(source: SourceText, section: ListNode, reader: FormulaReader): Action {
  const name = symbolOf(source, section.items[1], section, "an action name");
  const parts = new Map<string, Node>();
  for (let i = 2; i < section.items.length; i += 2) {
    const key = section.items[i];
    const keyword = symbolOf(source, key, section, "a keyword");
    if (keyword !== ":parameters" && keyword !== ":precondition" && keyword !== ":effect") {
      const expected = ":parameters, :precondition or :effect";
      throw source.error(
        key.at,
        `action \`${name}\`: got \`${keyword}\`, expected ${expected}. Correct the text.`,
      );
    }
    const value = section.items[i + 1];
    if (value === undefined) {
      throw source.error(
        key.at,
        `action \`${name}\`: got nothing after \`${keyword}\`, expected a list. Complete it.`,
      );
    }
    parts.set(keyword, value);
  }
  const parameterNode = parts.get(":parameters");
  const parameters = parameterNode === undefined ? [] : reader.variables(parameterNode);
  const scope = parameters.map((parameter) => parameter.name);
  const precondition = parts.get(":precondition");
  const effect = parts.get(":effect");
  return {
    name,
    parameters,
    precondition:
      precondition === undefined ? { kind: "and", parts: [] } : reader.condition(precondition, scope),
    effects: effect === undefined ? [] : reader.effects(effect, scope),
  };
}

/** Positive init atoms without repeats; numeric values `(= (cost) 0)` and `(not ...)` say nothing and are left out. */
function initOf(
  source: SourceText,
  nodes: readonly Node[],
  reader: FormulaReader,
  objects: ReadonlyMap<string, string>,
): Atom[] {
  const result = new Map<string, Atom>();
  for (const node of nodes) {
    const head = node.kind === "list" ? node.items[0] : undefined;
    if (head?.kind === "symbol" && (head.text === "=" || head.text === "not")) continue;
    const atom = reader.atom(node, []);
    const unknown = atom.args.find((arg) => !objects.has(arg));
    if (unknown !== undefined) {
      throw source.error(
        node.at,
        `unknown object: got \`${unknown}\`, expected one of :objects. Pair the right files.`,
      );
    }
    result.set(atomText(atom), atom);
  }
  return [...result.values()];
}
