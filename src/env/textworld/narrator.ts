/** Writes texts from a grammar: picks rule alternatives, fills in names and lists from what the fact view shows. */
import { DataError } from "../../core/errors.js";
import type { EntityNames } from "../alfworld/naming.js";
import type { ObjectTable } from "../pddl/atom_table.js";
import type { Action, Domain } from "../pddl/pddl.js";
import { checkExpansion, fullTextError, MAX_PARTS, ruleOf } from "./expansion.js";
import type { ActionTexts, Grammar, RuleAlternative } from "./grammar.js";
import type { Bound, FactView, Placeholder, Query, QueryEngine } from "./query.js";
import type { Content, Expression, Template } from "./text_template.js";

/** The rule of a game's first text. */
const INTRO_RULE = "intro";

/** Rules that lists are put together with. */
const LIST_EMPTY = "list_empty";
const LIST_SEPARATOR = "list_separator";
const LIST_LAST_SEPARATOR = "list_last_separator";

/** Writes the texts of one game. */
export class Narrator {
  readonly #grammar: Grammar;
  readonly #queries: QueryEngine;
  readonly #objects: ObjectTable;
  readonly #names: readonly string[];
  readonly #fluentRules = new Map<string, boolean>();
  /** Parts that the text which is being written may still have. */
  #left = MAX_PARTS;

  constructor(grammar: Grammar, queries: QueryEngine, objects: ObjectTable, names: EntityNames) {
    this.#grammar = grammar;
    this.#queries = queries;
    this.#objects = objects;
    this.#names = objects.ids.map((id) => names.nameOf(id));
  }

  /** The game's first text. */
  intro(view: FactView): string {
    this.#left = MAX_PARTS;
    return this.#rule(INTRO_RULE, view, []);
  }

  /** An action's command. @param args object numbers in the order of its parameters */
  command(action: Action, args: readonly number[], view: FactView): string {
    this.#left = MAX_PARTS;
    return this.#write(this.#textsOf(action).template, view, bind(action, args));
  }

  /** What the game says after an action; `view` is the state after it. */
  feedback(action: Action, args: readonly number[], view: FactView): string {
    this.#left = MAX_PARTS;
    return this.#write(this.#textsOf(action).feedback, view, bind(action, args));
  }

  /**
   * The parameters, by their place, whose objects an action's command text depends on; undefined when the text also depends
   * on the state.
   */
  parametersOfCommand(action: Action): readonly number[] | undefined {
    const { template } = this.#textsOf(action);
    if (this.#mentionsFluents(template)) return undefined;
    const mentioned = new Set<string>();
    const places = action.parameters.map((_, place) => place);
    const isOwn = ({ name, type }: Placeholder): boolean =>
      action.parameters.some((parameter) => parameter.name === `?${name}` && parameter.type === type);
    // What a query finds for another variable depends on all objects that are taken.
    if (!collectMentioned(template, isOwn, this.#hasPlainLists(), mentioned)) return places;
    return places.filter((place) => mentioned.has(action.parameters[place].name.slice(1)));
  }

  /** Whether what lists are put together with is literal text. */
  #hasPlainLists(): boolean {
    return [LIST_EMPTY, LIST_SEPARATOR, LIST_LAST_SEPARATOR].every((rule) =>
      this.#alternatives(rule).every(
        ({ condition, text }) => condition === undefined && text.every(({ kind }) => kind === "text"),
      ),
    );
  }

  #textsOf(action: Action): ActionTexts {
    // `checkGrammar` has seen to it that every action has its texts.
    return this.#grammar.actions.get(action.name) as ActionTexts;
  }

  #mentionsFluents(template: Template): boolean {
    return template.some((piece) => {
      if (piece.kind === "text") return false;
      if (piece.kind !== "rule" && piece.query !== undefined && this.#queries.isFluent(piece.query))
        return true;
      const rule = ruleOf(piece);
      return rule !== undefined && this.#isFluentRule(rule);
    });
  }

  /** Asked once a rule: a rule that is reached in many ways would be looked through as many times. */
  #isFluentRule(rule: string): boolean {
    let isFluent = this.#fluentRules.get(rule);
    if (isFluent === undefined) {
      isFluent = this.#alternatives(rule).some(
        ({ condition, text }) =>
          (condition !== undefined && this.#queries.isFluent(condition)) || this.#mentionsFluents(text),
      );
      this.#fluentRules.set(rule, isFluent);
    }
    return isFluent;
  }

  #alternatives(rule: string): readonly RuleAlternative[] {
    return this.#grammar.rules.get(rule) ?? [];
  }

  #rule(rule: string, view: FactView, bound: readonly Bound[]): string {
    for (const { condition, text } of this.#alternatives(rule)) {
      if (condition === undefined || this.#queries.matches(view, condition, bound)) {
        return this.#write(text, view, bound);
      }
    }
    return "";
  }

  #write(template: Template, view: FactView, bound: readonly Bound[]): string {
    let result = "";
    this.#left -= template.length;
    // lists can hold lists: how long they get depends on the state
    if (this.#left < 0) throw fullTextError(this.#grammar.file);
    for (const piece of template) {
      if (piece.kind === "text") result += piece.text;
      else if (piece.kind === "rule") result += this.#rule(piece.rule, view, bound);
      else if (piece.query === undefined) result += this.#content(piece.content, view, bound);
      else result += this.#fill(piece.content, piece.query, piece.kind === "list", view, bound);
    }
    return result;
  }

  /** One text for each match joined as a list, or the text of the first match alone. */
  #fill(content: Content, query: Query, list: boolean, view: FactView, bound: readonly Bound[]): string {
    const items: string[] = [];
    this.#queries.match(view, query, bound, (match) => {
      items.push(this.#content(content, view, match));
      return list;
    });
    if (!list || items.length === 1) return items[0] ?? "";
    const last = items.pop();
    if (last === undefined) return this.#rule(LIST_EMPTY, view, bound);
    const separator = this.#rule(LIST_SEPARATOR, view, bound);
    return items.join(separator) + this.#rule(LIST_LAST_SEPARATOR, view, bound) + last;
  }

  #content(content: Content, view: FactView, bound: readonly Bound[]): string {
    return content.kind === "rule" ? this.#rule(content.rule, view, bound) : this.#value(content, bound);
  }

  #value(expression: Expression, bound: readonly Bound[]): string {
    switch (expression.kind) {
      case "text":
        return expression.text;
      case "concatenation":
        return expression.parts.map((part) => this.#value(part, bound)).join("");
      case "firstNonEmpty": {
        const values = expression.parts.map((part) => this.#value(part, bound));
        return values.find((value) => value !== "") ?? (values.at(-1) as string);
      }
      case "variable": {
        const object = bound.findLast(({ name }) => name === expression.name)?.object as number;
        if (expression.attribute === "name") return this.#names[object];
        if (expression.attribute === "id") return this.#objects.ids[object];
        if (expression.attribute === "type") return this.#objects.types[object];
        return expression.attribute === "indefinite" ? "a" : "the";
      }
    }
  }
}

/** Collects names of variables in a text; false when it also depends on others, through rules or queries of its own. */
function collectMentioned(
  template: Template,
  isOwn: (placeholder: Placeholder) => boolean,
  hasPlainLists: boolean,
  names: Set<string>,
): boolean {
  return template.every((piece) => {
    if (piece.kind === "text") return true;
    if (piece.kind === "rule" || piece.content.kind === "rule") return false;
    if (piece.kind === "list" && !hasPlainLists) return false;
    for (const name of variablesIn(piece.content)) names.add(name);
    const placeholders = (piece.query ?? []).flatMap(({ args }) => args);
    for (const { name } of placeholders) names.add(name);
    return placeholders.every(isOwn);
  });
}

function variablesIn(expression: Expression): string[] {
  if (expression.kind === "text") return [];
  return expression.kind === "variable" ? [expression.name] : expression.parts.flatMap(variablesIn);
}

function bind(action: Action, args: readonly number[]): Bound[] {
  return action.parameters.map(({ name, type }, i) => ({
    name: name.slice(1),
    type,
    object: args[i],
  }));
}

/**
 * Makes sure that no text a game can reach fails while playing.
 * @throws DataError when an action has no texts, a rule is missing or refers to itself, a text uses an unbound variable, or
 *   rules refer to each other so often that their text has no end in practice
 */
export function checkGrammar(grammar: Grammar, domain: Domain, file: string): void {
  const checker = new GrammarChecker(grammar, file);
  checker.rule(INTRO_RULE, [], []);
  checkExpansion(grammar, INTRO_RULE, grammar.rules.get(INTRO_RULE)?.map(({ text }) => text) ?? []);
  for (const action of domain.actions.values()) {
    const texts = grammar.actions.get(action.name);
    if (texts === undefined) {
      throw new DataError(
        `[${file}] action \`${action.name}\` of the domain has no texts: expected \`action ${action.name} {...}\`. Pair the \
domain with its own grammar.`,
      );
    }
    const scope = action.parameters.map(({ name }) => name.slice(1));
    checker.template(texts.template, scope, []);
    checker.template(texts.feedback, scope, []);
    checkExpansion(grammar, action.name, [texts.template, texts.feedback]);
  }
}

/** Ways through the rules that are looked at, and how long a way may be. */
const MOST_WAYS = 100_000;
const LONGEST_WAY = 100;

class GrammarChecker {
  readonly #grammar: Grammar;
  readonly #file: string;
  readonly #seen = new Set<string>();
  #ways = 0;

  constructor(grammar: Grammar, file: string) {
    this.#grammar = grammar;
    this.#file = file;
  }

  rule(rule: string, scope: readonly string[], path: readonly string[]): void {
    const alternatives = this.#grammar.rules.get(rule);
    const within = path.length === 0 ? "" : ` (in ${path.join(" > ")})`;
    if (alternatives === undefined) {
      throw new DataError(
        `[${this.#file}] no rule: got "#${rule}#"${within}, expected a rule of that name. Add it.`,
      );
    }
    if (path.includes(rule)) {
      throw new DataError(
        `[${this.#file}] rule "${rule}" refers to itself${within}: expected no circle. Break it.`,
      );
    }
    if (path.length > LONGEST_WAY || ++this.#ways > MOST_WAYS) {
      throw new DataError(
        `[${this.#file}] rules refer to each other too often: got over ${path.length > LONGEST_WAY ? LONGEST_WAY : MOST_WAYS} ` +
          `${path.length > LONGEST_WAY ? "in a row" : "ways through them"}, at rule "${rule}", expected fewer. Simplify the grammar.`,
      );
    }
    const key = `${rule}\n${[...new Set(scope)].sort().join(" ")}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    for (const { text } of alternatives) this.template(text, scope, [...path, rule]);
  }

  template(template: Template, scope: readonly string[], path: readonly string[]): void {
    for (const piece of template) {
      if (piece.kind === "text") continue;
      if (piece.kind === "rule") {
        this.rule(piece.rule, scope, path);
        continue;
      }
      const found = (piece.query ?? []).flatMap(({ args }) => args.map(({ name }) => name));
      const inner = [...scope, ...found];
      if (piece.content.kind === "rule") this.rule(piece.content.rule, inner, path);
      else this.#expression(piece.content, inner, path);
      if (piece.kind === "list") {
        for (const rule of [LIST_EMPTY, LIST_SEPARATOR, LIST_LAST_SEPARATOR]) this.rule(rule, scope, path);
      }
    }
  }

  #expression(expression: Expression, scope: readonly string[], path: readonly string[]): void {
    if (expression.kind === "text") return;
    if (expression.kind !== "variable") {
      for (const part of expression.parts) this.#expression(part, scope, path);
      return;
    }
    if (scope.includes(expression.name)) return;
    const within = path.length === 0 ? "" : ` in rule "${path.at(-1)}"`;
    throw new DataError(
      `[${this.#file}] unbound variable${within}: got \`${expression.name}\`, expected one of: \
${scope.join(", ") || "none"}. Correct the grammar.`,
    );
  }
}
