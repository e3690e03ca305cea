/**
 * Conditions made ready for grounding, once for a domain: variables are slots of one array, predicates and constants are
 * numbers, and what no action can change is known.
 */
import type { Action, Atom, Condition, Domain, Parameter } from "./pddl.js";

/** Slot of a variable, or -1 - n for constant n. */
export type Term = number;

export interface AtomFormula {
  readonly kind: "atom";
  /** Place of the predicate in the domain's list. */
  readonly predicate: number;
  readonly args: readonly Term[];
  /** Whether some action can change it. */
  readonly isFluent: boolean;
}

export interface QuantifiedFormula {
  readonly kind: "exists" | "forall";
  readonly quantifier: Quantifier;
  readonly part: Formula;
}

/** A condition with numbered terms. */
export type Formula =
  | { readonly kind: "and" | "or"; readonly parts: readonly Formula[] }
  | { readonly kind: "not"; readonly part: Formula }
  | { readonly kind: "equal"; readonly left: Term; readonly right: Term }
  | QuantifiedFormula
  | AtomFormula;

/** Variables to enumerate, and the unchanging conditions that narrow them. */
export interface Quantifier {
  readonly variables: readonly {
    readonly slot: number;
    readonly type: string;
    /** Unchanging conditions in which this is the only variable that is not bound before. */
    readonly own: readonly Formula[];
  }[];
  /** Unchanging atoms that must hold: bindings are joined over the facts that match them. */
  readonly guides: readonly AtomFormula[];
}

/** An effect with numbered terms; see `Effect`. */
export interface EffectFormula {
  readonly add: boolean;
  readonly atom: AtomFormula;
  readonly quantifier: Quantifier;
  readonly condition: Formula | undefined;
}

/** An action with numbered terms. */
export interface ActionFormula {
  readonly action: Action;
  /** Slot of each declared parameter. */
  readonly slots: readonly number[];
  readonly quantifier: Quantifier;
  readonly precondition: Formula;
  readonly effects: readonly EffectFormula[];
}

/** Variable name to slot. */
type Scope = ReadonlyMap<string, number>;

/** Gives numbers to the terms of a domain, and to those of a goal on top of these. */
export class Numbering {
  /** Constant to number. */
  readonly constants: Map<string, number>;
  slotCount: number;
  /** Predicates that some action can change. */
  readonly fluents: ReadonlySet<string>;
  readonly #predicates: ReadonlyMap<string, number>;

  /** @param base a numbering of the same domain to go on from; it is not changed */
  constructor(domain: Domain, base?: Numbering) {
    this.constants = new Map(base?.constants);
    this.slotCount = base?.slotCount ?? 0;
    this.fluents =
      base?.fluents ??
      new Set(
        [...domain.actions.values()].flatMap(({ effects }) => effects.map(({ atom }) => atom.predicate)),
      );
    this.#predicates = new Map([...domain.predicates.keys()].map((name, number) => [name, number]));
  }

  action(action: Action): ActionFormula {
    const { parameters, precondition, effects } = action;
    const { quantifier, inner } = this.#quantify(parameters, [precondition], new Map());
    return {
      action,
      slots: parameters.map(({ name }) => inner.get(name) as number),
      quantifier,
      precondition: this.formula(precondition, inner),
      effects: effects.map(({ add, atom, variables, condition }) => {
        const own = this.#quantify(variables, condition === undefined ? [] : [condition], inner);
        return {
          add,
          atom: this.#atom(atom, own.inner),
          quantifier: own.quantifier,
          condition: condition && this.formula(condition, own.inner),
        };
      }),
    };
  }

  /** @param scope slots of the variables bound around the condition */
  formula(condition: Condition, scope: Scope): Formula {
    switch (condition.kind) {
      case "and":
      case "or":
        return { kind: condition.kind, parts: condition.parts.map((part) => this.formula(part, scope)) };
      case "not":
        return { kind: "not", part: this.formula(condition.part, scope) };
      case "equal":
        return {
          kind: "equal",
          left: this.#term(condition.left, scope),
          right: this.#term(condition.right, scope),
        };
      case "exists":
      case "forall": {
        // Where the unchanging atoms of an `exists` do not hold its body is false, so those bindings can be passed over.
        const guides = condition.kind === "exists" ? [condition.part] : [];
        const { quantifier, inner } = this.#quantify(condition.variables, guides, scope);
        return { kind: condition.kind, quantifier, part: this.formula(condition.part, inner) };
      }
      case "atom":
        return this.#atom(condition, scope);
    }
  }

  #quantify(
    variables: readonly Parameter[],
    guides: readonly Condition[],
    scope: Scope,
  ): { quantifier: Quantifier; inner: Scope } {
    const inner = new Map(scope);
    for (const name of new Set(variables.map((variable) => variable.name))) inner.set(name, this.slotCount++);
    const isBound = (name: string): boolean => scope.has(name) && scope.get(name) === inner.get(name);
    const demanded = guides.flatMap(conjuncts).filter((part) => this.#isStatic(part));
    const quantifier: Quantifier = {
      variables: variables.map(({ name, type }) => {
        const own = demanded.filter((condition) => {
          const free = freeVariables(condition).filter((variable) => !isBound(variable));
          return free.length > 0 && free.every((variable) => variable === name);
        });
        return {
          slot: inner.get(name) as number,
          type,
          own: own.map((condition) => this.formula(condition, inner)),
        };
      }),
      guides: demanded.flatMap((part) => (part.kind === "atom" ? [this.#atom(part, inner)] : [])),
    };
    return { quantifier, inner };
  }

  #atom({ predicate, args }: Atom, scope: Scope): AtomFormula {
    return {
      kind: "atom",
      predicate: this.#predicates.get(predicate) as number,
      args: args.map((term) => this.#term(term, scope)),
      isFluent: this.fluents.has(predicate),
    };
  }

  #term(term: string, scope: Scope): Term {
    if (term.startsWith("?")) return scope.get(term) as number;
    let constant = this.constants.get(term);
    if (constant === undefined) {
      constant = this.constants.size;
      this.constants.set(term, constant);
    }
    return -1 - constant;
  }

  /** Whether no action can change the truth of a condition. */
  #isStatic(condition: Condition): boolean {
    switch (condition.kind) {
      case "and":
      case "or":
        return condition.parts.every((part) => this.#isStatic(part));
      case "atom":
        return !this.fluents.has(condition.predicate);
      case "equal":
        return true;
      default:
        return this.#isStatic(condition.part);
    }
  }
}

/** The parts of a conjunction, nested ones included. */
function conjuncts(condition: Condition): Condition[] {
  return condition.kind === "and" ? condition.parts.flatMap(conjuncts) : [condition];
}

/** Variables of a condition that it does not bind itself, with repeats. */
function freeVariables(condition: Condition): string[] {
  switch (condition.kind) {
    case "and":
    case "or":
      return condition.parts.flatMap(freeVariables);
    case "not":
      return freeVariables(condition.part);
    case "equal":
      return [condition.left, condition.right].filter((term) => term.startsWith("?"));
    case "atom":
      return condition.args.filter((term) => term.startsWith("?"));
    default: {
      const own = new Set(condition.variables.map(({ name }) => name));
      return freeVariables(condition.part).filter((name) => !own.has(name));
    }
  }
}

/** What grounding needs of a domain. */
export interface DomainFormulas {
  readonly numbering: Numbering;
  /** In the domain's order. */
  readonly actions: readonly ActionFormula[];
}

const known = new WeakMap<Domain, DomainFormulas>();

/** Formulas of a domain, worked out on first use: games of a set share their domain. */
export function formulasOf(domain: Domain): DomainFormulas {
  let formulas = known.get(domain);
  if (formulas === undefined) {
    const numbering = new Numbering(domain);
    formulas = {
      numbering,
      actions: [...domain.actions.values()].map((action) => numbering.action(action)),
    };
    known.set(domain, formulas);
  }
  return formulas;
}
