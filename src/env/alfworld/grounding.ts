/**
 * From a domain and a problem to ground actions over numbered atoms, the way planners do it: static facts are folded in,
 * actions that can never apply and effects that can never show are dropped.
 */
import type { AtomTable, ObjectTable } from "./atom_table.js";
import { alternativesOf, type Conjunction, type GroundCondition } from "./ground_condition.js";
import { type Binding, Instantiation } from "./instantiation.js";
import type { Action, Domain, Problem } from "./pddl.js";

/** One literal effect of a ground action. */
export interface GroundEffect {
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
export interface GroundAction {
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
  const drawn = drafts.flatMap((draft) => {
    const alternatives = draft.alternatives.flatMap((conjunction) => {
      if (!conjunction.positive.every((atom) => reachable.has(atom))) return [];
      return [{ ...conjunction, effects: visibleEffects(draft.effects, conjunction, reachable) }];
    });
    return alternatives.length === 0 ? [] : [{ action: draft.action, args: draft.args, alternatives }];
  });
  return {
    objects: instantiation.objects,
    atoms: instantiation.atoms,
    initial: instantiation.initial,
    fluents: instantiation.fluents,
    actions: withoutLastingEffects(drawn, instantiation.initial),
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
    for (const atom of rule.adds) {
      if (reachable.has(atom)) continue;
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

interface Rule {
  readonly needs: readonly number[];
  readonly adds: readonly number[];
  /** How many of `needs` are not reached yet. */
  missing: number;
}

function rulesOf(draft: Draft): Rule[] {
  const always = draft.effects
    .filter((effect) => effect.add && effect.condition === true)
    .map((effect) => effect.atom);
  const conditional = draft.effects.filter((effect) => effect.add && effect.condition !== true);
  return draft.alternatives.flatMap(({ positive }) => {
    const rules: Rule[] = [{ needs: positive, adds: always, missing: positive.length }];
    for (const effect of conditional) {
      for (const conjunction of alternativesOf(effect.condition, draft.action.name)) {
        const needs = [...new Set([...positive, ...conjunction.positive])];
        rules.push({ needs, adds: [effect.atom], missing: needs.length });
      }
    }
    return rules;
  });
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

/** Drops adds of atoms that are true at the start and that nothing takes away, and actions left without any effect. */
function withoutLastingEffects(
  actions: readonly GroundAction[],
  initial: ReadonlySet<number>,
): GroundAction[] {
  const deleted = new Set<number>();
  for (const { alternatives } of actions) {
    for (const { effects } of alternatives) for (const { atom, add } of effects) if (!add) deleted.add(atom);
  }
  const lasting = (effect: GroundEffect): boolean =>
    effect.add && initial.has(effect.atom) && !deleted.has(effect.atom);
  return actions.flatMap((action) => {
    if (!action.alternatives.some(({ effects }) => effects.length === 0 || effects.some(lasting)))
      return [action];
    const alternatives = action.alternatives.flatMap((alternative) => {
      const effects = alternative.effects.filter((effect) => !lasting(effect));
      return effects.length === 0 ? [] : [{ ...alternative, effects }];
    });
    return alternatives.length === 0 ? [] : [{ ...action, alternatives }];
  });
}
