/**
 * From a domain and a problem to ground actions over numbered atoms, the way planners do it: static facts are folded in,
 * actions that can never apply and effects that can never show are dropped.
 */
import { ActionTable, type EffectRows } from "./action_table.js";
import type { AtomTable, ObjectTable } from "./atom_table.js";
import { type ActionFormula, type EffectFormula, formulasOf } from "./formula.js";
import { alternativesOf, type GroundCondition } from "./ground_condition.js";
import { Instantiation } from "./instantiation.js";
import { Lists } from "./lists.js";
import type { Domain, Problem } from "./pddl.js";
import { Rows } from "./rows.js";

/** Everything about a game's rules that does not change while playing. */
export interface GroundModel {
  readonly objects: ObjectTable;
  readonly atoms: AtomTable;
  /** Atoms true at the start. */
  readonly initial: ReadonlySet<number>;
  /** Predicates that some action can change. */
  readonly fluents: ReadonlySet<string>;
  readonly actions: ActionTable;
  readonly goal: GroundCondition;
}

/** Instances of the domain's actions, as far as unchanging facts allow them: each has its effects once for all alternatives. */
interface Drafts {
  /** By draft. */
  readonly formulas: ActionFormula[];
  readonly args: Rows;
  readonly effects: EffectRows;
  /** By alternative. */
  readonly owner: number[];
  readonly positive: Rows;
  readonly negative: Rows;
}

/**
 * Grounds a problem.
 * @param where how messages name the game
 * @throws DataError when the problem is too large to ground
 */
export function groundProblem(domain: Domain, problem: Problem, where: string): GroundModel {
  const { numbering, actions } = formulasOf(domain);
  const instantiation = new Instantiation(domain, problem, numbering, where);
  const { args, positive, negative, effects, owner } = new ActionTable();
  const drafts: Drafts = { formulas: [], args, effects, owner, positive, negative };
  for (const formula of actions) addInstances(drafts, formula, instantiation, where);
  const reachable = reachableAtoms(drafts, instantiation);
  return {
    objects: instantiation.objects,
    atoms: instantiation.atoms,
    initial: instantiation.initial,
    fluents: numbering.fluents,
    actions: usefulActions(drafts, reachable),
    goal: instantiation.ground(instantiation.goal),
  };
}

/** Adds an action's ground instances. */
function addInstances(
  drafts: Drafts,
  formula: ActionFormula,
  instantiation: Instantiation,
  where: string,
): void {
  const { slots, quantifier, precondition, effects } = formula;
  const { formulas, args, owner, positive, negative } = drafts;
  instantiation.enumerate(quantifier, () => {
    const plain = instantiation.writeConjunction(precondition, positive, negative);
    if (plain !== true) {
      positive.drop();
      negative.drop();
    }
    if (plain === false) return;
    const before = owner.length;
    if (plain) {
      positive.close();
      negative.close();
      owner.push(formulas.length);
    } else {
      for (const alternative of alternativesOf(instantiation.ground(precondition), where)) {
        for (const atom of alternative.positive) positive.push(atom);
        positive.close();
        for (const atom of alternative.negative) negative.push(atom);
        negative.close();
        owner.push(formulas.length);
      }
    }
    if (owner.length === before) return;
    formulas.push(formula);
    for (const slot of slots) args.push(instantiation.value(slot));
    args.close();
    for (const effect of effects) addEffect(drafts.effects, effect, instantiation);
    drafts.effects.codes.close();
  });
}

function addEffect(effects: EffectRows, formula: EffectFormula, instantiation: Instantiation): void {
  const { quantifier } = formula;
  if (quantifier.variables.length === 0) addBoundEffect(effects, formula, instantiation);
  else instantiation.enumerate(quantifier, () => addBoundEffect(effects, formula, instantiation));
}

function addBoundEffect(
  effects: EffectRows,
  { add, atom, condition }: EffectFormula,
  instantiation: Instantiation,
): void {
  const grounded = condition === undefined || instantiation.ground(condition);
  if (grounded === false) return;
  const number = instantiation.atomOf(atom);
  if (number !== undefined) effects.push(number, add, grounded);
}

/** By atom: 1 if it can become true when atoms, once true, are never taken away: a superset of the truly reachable ones. */
function reachableAtoms(drafts: Drafts, { atoms, initial }: Instantiation): Uint8Array {
  const { owner, effects } = drafts;
  const { needs, adds } = rulesOf(drafts);
  const reachable = new Uint8Array(atoms.size);
  const queue = new Int32Array(atoms.size);
  let waiting = 0;
  const reach = (atom: number): void => {
    if (reachable[atom] === 1) return;
    reachable[atom] = 1;
    queue[waiting++] = atom;
  };
  const fire = (rule: number): void => {
    if (rule >= owner.length) {
      reach(adds[rule - owner.length]);
      return;
    }
    const { items, ends } = effects.codes;
    for (let at = effects.codes.start(owner[rule]); at < ends[owner[rule]]; at++) {
      if (items[at] % 2 === 1 && effects.condition(at) === true) reach(items[at] >> 1);
    }
  };
  for (const atom of initial) reach(atom);
  /** How many needs of each rule are not reached yet. */
  const missing = new Int32Array(needs.count);
  for (let rule = 0; rule < needs.count; rule++) {
    missing[rule] = needs.length(rule);
    if (missing[rule] === 0) fire(rule);
  }
  const users = new Lists(atoms.size, needs);
  while (waiting > 0) {
    const atom = queue[--waiting];
    for (let at = users.starts[atom]; at < users.starts[atom + 1]; at++) {
      const rule = users.items[at];
      if (--missing[rule] === 0) fire(rule);
    }
  }
  return reachable;
}

/**
 * What atoms are reached by: when all atoms in row n of `needs` are reached, those that alternative n always adds are. Rows
 * behind those of the alternatives are of conditional adds, one atom each, which `adds` holds.
 */
function rulesOf({ formulas, owner, positive, effects }: Drafts): { needs: Rows; adds: number[] } {
  const adds: number[] = [];
  if (!effects.hasConditions) return { needs: positive, adds };
  const needs = new Rows();
  for (let alternative = 0; alternative < owner.length; alternative++) needs.copy(positive, alternative);
  const { items, ends } = effects.codes;
  for (let alternative = 0; alternative < owner.length; alternative++) {
    const draft = owner[alternative];
    for (let at = effects.codes.start(draft); at < ends[draft]; at++) {
      const condition = effects.condition(at);
      if (items[at] % 2 === 0 || condition === true) continue;
      for (const extra of alternativesOf(condition, formulas[draft].action.name)) {
        for (const atom of new Set([...positive.row(alternative), ...extra.positive])) needs.push(atom);
        needs.close();
        adds.push(items[at] >> 1);
      }
    }
  }
  return { needs, adds };
}

/** The actions that can ever apply and then change anything. */
function usefulActions(drafts: Drafts, reachable: Uint8Array): ActionTable {
  const { formulas, args, owner, positive, negative } = drafts;
  const table = new ActionTable();
  for (let alternative = 0; alternative < owner.length; alternative++) {
    const draft = owner[alternative];
    if (isReachable(positive, alternative, reachable) && addVisible(table, drafts, alternative, reachable)) {
      table.positive.copy(positive, alternative);
      table.negative.copy(negative, alternative);
      table.effects.codes.close();
    }
    if (owner[alternative + 1] === draft || table.owner.length === table.positive.count) continue;
    table.args.copy(args, draft);
    table.close(formulas[draft].action);
  }
  return table;
}

function isReachable(positive: Rows, row: number, reachable: Uint8Array): boolean {
  const end = positive.ends[row];
  for (let at = positive.start(row); at < end; at++) if (reachable[positive.items[at]] === 0) return false;
  return true;
}

/**
 * Adds the effects of one alternative that can change anything: without those that its precondition already guarantees or
 * rules out, deletes of atoms never true, and deletes of what the same action adds. False when there are none.
 */
function addVisible(
  { effects }: ActionTable,
  drafts: Drafts,
  alternative: number,
  reachable: Uint8Array,
): boolean {
  const { owner, positive, negative } = drafts;
  const draft = owner[alternative];
  const { codes } = drafts.effects;
  let found = false;
  for (let at = codes.start(draft); at < codes.ends[draft]; at++) {
    const atom = codes.items[at] >> 1;
    if (codes.items[at] % 2 === 1) {
      if (positive.has(alternative, atom)) continue;
    } else if (
      reachable[atom] === 0 ||
      negative.has(alternative, atom) ||
      addsAlways(drafts.effects, draft, atom)
    ) {
      continue;
    }
    const condition = drafts.effects.condition(at);
    if (condition !== true) {
      const excluded = literalsOf(condition).some((literal) =>
        (literal.positive ? negative : positive).has(alternative, literal.atom),
      );
      if (excluded) continue;
    }
    effects.push(atom, codes.items[at] % 2 === 1, condition);
    found = true;
  }
  return found;
}

function addsAlways(effects: EffectRows, draft: number, atom: number): boolean {
  const { codes } = effects;
  for (let at = codes.start(draft); at < codes.ends[draft]; at++) {
    if (codes.items[at] === 2 * atom + 1 && effects.condition(at) === true) return true;
  }
  return false;
}

/** The literals that a condition, if it is a plain conjunction, demands. */
function literalsOf(condition: GroundCondition): { readonly atom: number; readonly positive: boolean }[] {
  if (typeof condition === "boolean" || condition.kind === "or") return [];
  return condition.kind === "literal" ? [condition] : condition.parts.flatMap(literalsOf);
}
