/**
 * From a domain and a problem to ground actions over numbered atoms, the way planners do it: static facts are folded in,
 * actions that can never apply and effects that can never show are dropped.
 */
import type { AtomTable, ObjectTable } from "./atom_table.js";
import { alternativesOf, type Conjunction, type GroundCondition } from "./ground_condition.js";
import { type Binding, Instantiation } from "./instantiation.js";
import type { Action, Domain, Problem } from "./pddl.js";

/** One literal effect of a ground action. */
interface GroundEffect {
  readonly atom: number;
  readonly add: boolean;
  /** `true` = unconditional. */
  readonly condition: GroundCondition;
}

/** One way to be applicable (disjunctive preconditions give several), with what then happens. */
export interface Alternative extends Conjunction {
  readonly effects: readonly GroundEffect[];
}

/** An action with objects for its declared parameters. */
interface GroundAction {
  readonly action: Action;
  /** Object numbers, in the order of the parameters. */
  readonly args: readonly number[];
  /** The first that holds is the one that happens. */
  readonly alternatives: readonly Alternative[];
}

/** Everything about a game's rules that does not change while playing. */
export interface GroundModel {
  readonly objects: ObjectTable;
  readonly atoms: AtomTable;
  /** Atoms true at the start. */
  readonly initial: ReadonlySet<number>;
  /** Predicates that some action can change. */
  readonly fluents: ReadonlySet<string>;
  /** In the domain's action order. */
  readonly actions: readonly GroundAction[];
  readonly goal: GroundCondition;
}

interface Draft {
  readonly action: Action;
  readonly args: readonly number[];
  readonly alternatives: readonly Conjunction[];
  readonly effects: readonly GroundEffect[];
}

/**
 * Grounds a problem.
 * @param where how messages name the game
 * @throws DataError when the problem is too large to ground
 */
export function groundProblem(domain: Domain, problem: Problem, where: string): GroundModel {
  const instantiation = new Instantiation(domain, problem, where);
  const drafts = [...domain.actions.values()].flatMap((action) => instancesOf(action, instantiation, where));
  const reachable = reachableAtoms(drafts, instantiation);
  const actions = drafts.flatMap(({ action, args, effects, alternatives }) => {
    const kept = alternatives.flatMap((conjunction) => {
      if (!conjunction.positive.every((atom) => reachable.has(atom))) return [];
      const visible = visibleEffects(effects, conjunction, reachable);
      return visible.length === 0 ? [] : [{ ...conjunction, effects: visible }];
    });
    return kept.length === 0 ? [] : [{ action, args, alternatives: kept }];
  });
  return {
    objects: instantiation.objects,
    atoms: instantiation.atoms,
    initial: instantiation.initial,
    fluents: instantiation.fluents,
    actions,
    goal: instantiation.ground(problem.goal, new Map()),
  };
}

/** Ground actions as far as unchanging facts allow them. */
function instancesOf(action: Action, instantiation: Instantiation, where: string): Draft[] {
  const drafts: Draft[] = [];
  const binding: Binding = new Map();
  instantiation.enumerate(action.parameters, [action.precondition], binding, () => {
    const alternatives = alternativesOf(instantiation.ground(action.precondition, binding), where);
    if (alternatives.length === 0) return;
    drafts.push({
      action,
      args: action.parameters.map(({ name }) => binding.get(name) as number),
      alternatives,
      effects: effectsOf(action, instantiation, binding),
    });
  });
  return drafts;
}

function effectsOf(action: Action, instantiation: Instantiation, binding: Binding): GroundEffect[] {
  const effects: GroundEffect[] = [];
  for (const { add, atom, variables, condition } of action.effects) {
    instantiation.enumerate(variables, condition === undefined ? [] : [condition], binding, () => {
      const args = instantiation.argumentsOf(atom.args, binding);
      const grounded = condition === undefined || instantiation.ground(condition, binding);
      if (args === undefined || grounded === false) return;
      effects.push({ atom: instantiation.atoms.intern(atom.predicate, args), add, condition: grounded });
    });
  }
  return effects;
}

/** Atoms that can become true when atoms, once true, are never taken away: a superset of the truly reachable ones. */
function reachableAtoms(drafts: readonly Draft[], instantiation: Instantiation): Set<number> {
  const reachable = new Set<number>(instantiation.initial);
  const waiting = new Map<number, Rule[]>();
  const queue: number[] = [...reachable];
  const fire = (rule: Rule): void => {
    for (const { atom, add, condition } of rule.effects) {
      if (!add || condition !== true || reachable.has(atom)) continue;
      reachable.add(atom);
      queue.push(atom);
    }
  };
  for (const rule of drafts.flatMap(rulesOf)) {
    for (const atom of rule.needs) {
      const list = waiting.get(atom);
      if (list === undefined) waiting.set(atom, [rule]);
      else list.push(rule);
    }
    if (rule.missing === 0) fire(rule);
  }
  for (let atom = queue.pop(); atom !== undefined; atom = queue.pop()) {
    for (const rule of waiting.get(atom) ?? []) if (--rule.missing === 0) fire(rule);
  }
  return reachable;
}

/** When all of `needs` are reached, the unconditional adds among `effects` are. */
interface Rule {
  readonly needs: readonly number[];
  readonly effects: readonly GroundEffect[];
  /** How many of `needs` are not reached yet. */
  missing: number;
}

function rulesOf({ action, alternatives, effects }: Draft): Rule[] {
  const rules: Rule[] = alternatives.map(({ positive }) => ({
    needs: positive,
    effects,
    missing: positive.length,
  }));
  for (const { atom, add, condition } of effects) {
    if (!add || condition === true) continue;
    for (const { positive } of alternativesOf(condition, action.name)) {
      for (const alternative of alternatives) {
        const needs = [...new Set([...alternative.positive, ...positive])];
        rules.push({ needs, effects: [{ atom, add, condition: true }], missing: needs.length });
      }
    }
  }
  return rules;
}

/**
 * Effects of one alternative that can change anything: without those that its precondition already guarantees or rules
 * out, deletes of atoms never true, and deletes of what the same action adds.
 */
function visibleEffects(
  effects: readonly GroundEffect[],
  { positive, negative }: Conjunction,
  reachable: ReadonlySet<number>,
): GroundEffect[] {
  return effects.filter(({ atom, add, condition }) => {
    if (add && positive.includes(atom)) return false;
    if (!add && (!reachable.has(atom) || negative.includes(atom) || addsAlways(effects, atom))) return false;
    if (condition === true) return true;
    return literalsOf(condition).every(
      (literal) => !(literal.positive ? negative : positive).includes(literal.atom),
    );
  });
}

function addsAlways(effects: readonly GroundEffect[], atom: number): boolean {
  return effects.some((effect) => effect.add && effect.atom === atom && effect.condition === true);
}

/** The literals that a condition, if it is a plain conjunction, demands. */
function literalsOf(condition: GroundCondition): { readonly atom: number; readonly positive: boolean }[] {
  if (typeof condition === "boolean" || condition.kind === "or") return [];
  return condition.kind === "literal" ? [condition] : condition.parts.flatMap(literalsOf);
}
