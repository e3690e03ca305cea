/**
 * Chat templates as transformers renders them: Jinja2 with trimmed blocks and loop controls. The library `@huggingface/jinja`
 * reads and runs them; here is what it does otherwise than Jinja2: scopes of loops and macros, `break` and `continue`, how
 * values are printed and compared, texts by code points. What neither renders as Jinja2 does is refused by name.
 */
import { Interpreter, parse, tokenize } from "@huggingface/jinja";
import { refuseChains, refuseLikenesses } from "./jinja_source.js";
import {
  type Arguments,
  contains,
  equal,
  FILTERS,
  isList,
  isMapping,
  isText,
  isUndefined,
  type JinjaValue,
  newScope,
  REFUSED_FILTERS,
  type Scope,
  TESTS,
  TEXT_METHODS,
  TemplateError,
  textOf,
  toValue,
} from "./jinja_values.js";

/** A node of the library's syntax tree, as far as it is looked at here. */
interface Node {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** The method of the library that prints a list of statements, which all others call. */
interface BlockPrinter {
  evaluateBlock(statements: readonly Node[], environment: Scope): JinjaValue;
}

/** `break` or `continue` on its way to its loop, with what the iteration has printed so far. */
class LoopControl {
  constructor(
    readonly kind: "Break" | "Continue",
    readonly text: string,
  ) {}
}

/** Statements that print nothing themselves. */
const SILENT = new Set(["Set", "Macro", "Comment"]);
/** Jinja2's sandbox allows ranges of this length. */
const LONGEST_RANGE = 100_000;
/** Nodes evaluated and items looped over for one text: a template that needs more does not end in a useful time. */
const MOST_NODES = 300_000;

/** The library's interpreter, whose own types do not resolve. */
interface Library {
  run(program: unknown): JinjaValue;
  evaluate(node: Node | undefined, scope: Scope): JinjaValue;
}
const LibraryInterpreter = Interpreter as unknown as new (scope: Scope) => Library;

class TemplateInterpreter extends LibraryInterpreter {
  #nodes = 0;

  constructor(environment: Scope) {
    super(environment);
    const printer = this as unknown as BlockPrinter;
    printer.evaluateBlock = (statements, scope) => toValue(this.#print(statements, scope));
  }

  override evaluate(node: Node | undefined, scope: Scope): JinjaValue {
    return this.#evaluate(node, scope);
  }

  #library(node: Node, scope: Scope): JinjaValue {
    return super.evaluate(node, scope);
  }

  #evaluate(node: Node | undefined, scope: Scope): JinjaValue {
    this.#count(1);
    if (node === undefined) return toValue(undefined);
    switch (node.type) {
      // stands for an operand that was evaluated already
      case "Evaluated":
        return node.result as JinjaValue;
      case "Break":
      case "Continue":
        throw new LoopControl(node.type, "");
      case "For":
        return toValue(this.#loop(node, scope));
      case "Macro":
        return this.#macro(node, scope);
      case "BinaryExpression":
        return this.#binary(node, scope);
      case "FilterExpression":
      case "FilterStatement":
        return this.#filter(node, scope);
      case "TestExpression":
        return this.#test(node, scope);
      case "CallExpression":
        return this.#call(node, scope);
      case "MemberExpression":
        return this.#member(node, scope);
      default:
        return this.#library(node, scope);
    }
  }

  #count(nodes: number): void {
    this.#nodes += nodes;
    if (this.#nodes > MOST_NODES) throw new TemplateError("it does not end");
  }

  #print(statements: readonly Node[], scope: Scope): string {
    let text = "";
    for (const statement of statements) {
      try {
        const value = this.#evaluate(statement, scope);
        if (!SILENT.has(statement.type)) text += textOf(value);
      } catch (error) {
        if (error instanceof LoopControl) throw new LoopControl(error.kind, text + error.text);
        throw error;
      }
    }
    return text;
  }

  #items(value: JinjaValue): readonly JinjaValue[] {
    if (isList(value)) return value.value;
    if (isMapping(value)) return [...value.value.keys()].map(toValue);
    if (isText(value)) return Array.from(value.value, toValue);
    if (isUndefined(value)) return [];
    throw new TemplateError(`a loop over a ${value.type}`);
  }

  #loop(node: Node, scope: Scope): string {
    const source = node.iterable as Node;
    const hasTest = source.type === "SelectExpression";
    const all = this.#items(this.#evaluate(hasTest ? (source.lhs as Node) : source, scope));
    const chosen = all.filter((item) => {
      if (!hasTest) return true;
      const inner = newScope(scope);
      this.#assign(node.loopvar as Node, item, inner);
      return this.#evaluate(source.test as Node, inner).__bool__().value;
    });
    let text = "";
    let isDone = false;
    this.#count(all.length);
    for (const [index, item] of chosen.entries()) {
      // each iteration has a scope of its own: what it sets is gone in the next one
      const inner = newScope(scope);
      this.#assign(node.loopvar as Node, item, inner);
      inner.variables.set("loop", loopVariable(chosen, index));
      try {
        text += this.#print(node.body as Node[], inner);
        isDone = true;
      } catch (error) {
        if (!(error instanceof LoopControl)) throw error;
        text += error.text;
        if (error.kind === "Break") break;
      }
    }
    // as in Jinja2, iterations that were cut short do not count
    return isDone ? text : text + this.#print(node.defaultBlock as Node[], scope);
  }

  #assign(target: Node, value: JinjaValue, scope: Scope): void {
    if (target.type === "Identifier") {
      scope.variables.set(target.value as string, value);
      return;
    }
    const names = target.value as readonly Node[];
    const parts = this.#items(value);
    if (parts.length !== names.length) {
      throw new TemplateError(`${parts.length} values for ${names.length} names of a loop`);
    }
    for (const [i, name] of names.entries()) this.#assign(name, parts[i], scope);
  }

  /** A macro sees the names of the place where it stands, not of the place that calls it. */
  #macro(node: Node, scope: Scope): JinjaValue {
    const result = this.#library(node, scope);
    const { value: name } = node.name as { value: string };
    const macro = scope.variables.get(name) as unknown as {
      value: (args: unknown[], from: Scope) => unknown;
    };
    const run = macro.value;
    macro.value = (args, from) => {
      const inner = newScope(scope);
      const caller = from.variables.get("caller");
      if (caller !== undefined) inner.variables.set("caller", caller);
      return run(args, inner);
    };
    return result;
  }

  #binary(node: Node, scope: Scope): JinjaValue {
    const { value: operator } = node.operator as { value: string };
    if (operator === "and" || operator === "or") return this.#library(node, scope);
    const left = node.left as Node;
    const [a, b] = [this.#evaluate(left, scope), this.#evaluate(node.right as Node, scope)];
    switch (operator) {
      case "==":
        return toValue(equal(a, b));
      case "!=":
        return toValue(!equal(a, b));
      case "in":
        return toValue(contains(b, a));
      case "not in":
        return toValue(!contains(b, a));
      case "~":
        // Jinja2 joins before it adds, the library after
        if (isSum(left) && !isText(a)) throw new TemplateError("`+` or `-` before `~`");
        return toValue(textOf(a) + textOf(b));
      case "%":
      case "//":
        return division(operator, a, b);
      case "+":
        if (isText(a) !== isText(b)) throw new TemplateError(`\`+\` between ${a.type} and ${b.type}`);
    }
    return this.#library({ ...node, left: evaluated(a), right: evaluated(b) }, scope);
  }

  #arguments(nodes: readonly Node[], scope: Scope): Arguments {
    const list: JinjaValue[] = [];
    const named = new Map<string, JinjaValue>();
    for (const node of nodes) {
      if (node.type === "KeywordArgumentExpression") {
        named.set((node.key as { value: string }).value, this.#evaluate(node.value as Node, scope));
      } else if (node.type.endsWith("SpreadExpression")) {
        throw new TemplateError("arguments by * or **");
      } else list.push(this.#evaluate(node, scope));
    }
    return { list, named };
  }

  #filter(node: Node, scope: Scope): JinjaValue {
    const filter = node.filter as Node;
    const called = filter.type === "CallExpression";
    const name = String((called ? (filter.callee as Node) : filter).value);
    const operand =
      node.type === "FilterStatement"
        ? toValue(this.#print(node.body as Node[], scope))
        : this.#evaluate(node.operand as Node, scope);
    if (Object.hasOwn(FILTERS, name)) {
      return FILTERS[name](operand, this.#arguments(called ? (filter.args as Node[]) : [], scope));
    }
    if (name === "items") return this.#entries(operand);
    if (name.endsWith("attr") && called && (filter.args as Node[])[1]?.value === "undefined") {
      throw new TemplateError(`the filter ${name} with the test undefined`);
    }
    const isRefused = name === "list" ? !isList(operand) : REFUSED_FILTERS.has(name);
    if (isRefused) throw new TemplateError(`the filter ${name}`);
    return this.#library({ type: "FilterExpression", operand: evaluated(operand), filter }, scope);
  }

  #test(node: Node, scope: Scope): JinjaValue {
    const { value: name } = node.test as { value: string };
    const operand = this.#evaluate(node.operand as Node, scope);
    if (Object.hasOwn(TESTS, name)) return toValue(TESTS[name](operand) !== (node.negate === true));
    return this.#library({ ...node, operand: evaluated(operand) }, scope);
  }

  #call(node: Node, scope: Scope): JinjaValue {
    const callee = node.callee as Node;
    const property =
      callee.type === "MemberExpression" && !callee.computed ? (callee.property as Node) : undefined;
    if (property === undefined) {
      const called = this.#evaluate(callee, scope);
      if (isUndefined(called)) throw new TemplateError(`the function ${nameOf(callee)}`);
      return this.#library({ ...node, callee: evaluated(called) }, scope);
    }
    const owner = this.#evaluate(callee.object as Node, scope);
    const name = String(property.value);
    if (isText(owner) && Object.hasOwn(TEXT_METHODS, name)) {
      return TEXT_METHODS[name](owner.value, this.#arguments(node.args as Node[], scope));
    }
    if (isMapping(owner) && name === "items") return this.#entries(owner);
    const called = this.#evaluate({ ...callee, object: evaluated(owner) }, scope);
    if (isUndefined(called)) throw new TemplateError(`the method ${name}() of a ${owner.type}`);
    return this.#library({ ...node, callee: evaluated(called) }, scope);
  }

  /** The items of a mapping, as pairs. */
  #entries(mapping: JinjaValue): JinjaValue {
    if (!isMapping(mapping)) throw new TemplateError(`items of a ${mapping.type}`);
    const pairs = [...mapping.value].map(([key, value]) => ({
      type: "TupleLiteral",
      value: [evaluated(toValue(key)), evaluated(value)],
    }));
    return this.#library({ type: "ArrayLiteral", value: pairs }, newScope());
  }

  #member(node: Node, scope: Scope): JinjaValue {
    const owner = this.#evaluate(node.object as Node, scope);
    if (isUndefined(owner)) {
      throw new TemplateError(`a part of ${nameOf(node.object as Node)}, which is undefined`);
    }
    const property = node.property as Node;
    const isIndex = node.computed === true && property.type !== "SliceExpression";
    if (isText(owner) && isIndex) {
      const index = this.#evaluate(property, scope);
      if (typeof index.value === "number") return toValue(Array.from(owner.value).at(index.value));
    }
    return this.#library({ ...node, object: evaluated(owner) }, scope);
  }
}

const evaluated = (result: JinjaValue): Node => ({ type: "Evaluated", result });

function isSum(node: Node): boolean {
  return node.type === "BinaryExpression" && "+-".includes((node.operator as { value: string }).value);
}

function nameOf(node: Node): string {
  return node.type === "Identifier" ? `\`${String(node.value)}\`` : "a value";
}

/** Rounded down, the remainder with the sign of the divisor. */
function division(operator: "%" | "//", a: JinjaValue, b: JinjaValue): JinjaValue {
  const [x, y] = [a.value, b.value];
  if (a.type !== "IntegerValue" || b.type !== "IntegerValue" || y === 0) {
    throw new TemplateError(`\`${operator}\` between ${a.type} and ${b.type}${y === 0 ? " 0" : ""}`);
  }
  const quotient = Math.floor(Number(x) / Number(y));
  return toValue(operator === "//" ? quotient : Number(x) - quotient * Number(y));
}

function loopVariable(items: readonly JinjaValue[], index: number): JinjaValue {
  const { length } = items;
  const loop = toValue({
    index: index + 1,
    index0: index,
    revindex: length - index,
    revindex0: length - index - 1,
    first: index === 0,
    last: index === length - 1,
    length,
    // Jinja2 counts recursive loops only
    depth: 1,
    depth0: 0,
  });
  const fields = loop.value as Map<string, JinjaValue>;
  fields.set("previtem", items[index - 1] ?? toValue(undefined));
  fields.set("nextitem", items[index + 1] ?? toValue(undefined));
  return loop;
}

function range(...bounds: number[]): number[] {
  const [start, stop, step = 1] = bounds.length === 1 ? [0, bounds[0]] : bounds;
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (!(length <= LONGEST_RANGE)) throw new TemplateError(`a range of more than ${LONGEST_RANGE} numbers`);
  return Array.from({ length }, (_, i) => start + i * step);
}

const GLOBALS = {
  true: true,
  false: false,
  none: null,
  True: true,
  False: false,
  None: null,
  range,
  raise_exception: (message: unknown) => {
    throw new Error(String(message));
  },
};

/** Reads a template. @returns what renders it @throws SyntaxError or TemplateError when it cannot be read */
export function compileTemplate(source: string): (variables: Readonly<Record<string, unknown>>) => string {
  // Jinja2 reads all line ends alike
  const text = source.replace(/\r\n?/g, "\n");
  refuseLikenesses(text);
  const tokens = tokenize(text, { lstrip_blocks: true, trim_blocks: true });
  refuseChains(tokens);
  const program = parse(tokens);
  return (variables) => {
    const environment = newScope();
    for (const [name, value] of Object.entries({ ...GLOBALS, ...variables })) environment.set(name, value);
    return textOf(new TemplateInterpreter(environment).run(program));
  };
}
