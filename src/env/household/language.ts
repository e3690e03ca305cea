/**
 * The rules and the words of our household games: a PDDL domain and a TWL2 grammar, played by the same engine as
 * ALFWorld files. Sentences are short on purpose: small policies pay for every token they read.
 */

/** PDDL domain of every household game. Problems supply the objects, the initial facts and the goal. */
export const householdDomain = `(define (domain household)
  (:requirements :adl :typing)
  (:types agent location receptacle item rtype itype)
  (:predicates
    (atLocation ?a - agent ?l - location)
    (receptacleAtLocation ?r - receptacle ?l - location)
    (receptacleType ?r - receptacle ?t - rtype)
    (itemType ?o - item ?t - itype)
    (fits ?o - item ?r - receptacle)
    (inReceptacle ?o - item ?r - receptacle)
    (holds ?a - agent ?o - item)
    (handsFull ?a - agent)
    (pickupable ?o - item)
    (openable ?r - receptacle)
    (opened ?r - receptacle)
    (cleans ?r - receptacle)
    (heats ?r - receptacle)
    (cools ?r - receptacle)
    (cleanable ?o - item)
    (heatable ?o - item)
    (coolable ?o - item)
    (switchable ?o - item)
    (isClean ?o - item)
    (isHot ?o - item)
    (isCool ?o - item)
    (isOn ?o - item)
    (noticed ?x - object))

  (:action look
    :parameters (?a - agent ?l - location)
    :precondition (atLocation ?a ?l)
    :effect (noticed ?l))

  (:action inventory
    :parameters (?a - agent)
    :precondition ()
    :effect (noticed ?a))

  (:action inspect
    :parameters (?a - agent ?l - location ?r - receptacle)
    :precondition (and (atLocation ?a ?l) (receptacleAtLocation ?r ?l))
    :effect (noticed ?r))

  (:action examine
    :parameters (?a - agent ?o - item)
    :precondition (holds ?a ?o)
    :effect (noticed ?o))

  (:action walk
    :parameters (?a - agent ?from - location ?to - location ?r - receptacle)
    :precondition (and (atLocation ?a ?from) (receptacleAtLocation ?r ?to) (not (= ?from ?to)))
    :effect (and (not (atLocation ?a ?from)) (atLocation ?a ?to)))

  (:action open
    :parameters (?a - agent ?l - location ?r - receptacle)
    :precondition (and (atLocation ?a ?l) (receptacleAtLocation ?r ?l) (openable ?r) (not (opened ?r)))
    :effect (opened ?r))

  (:action close
    :parameters (?a - agent ?l - location ?r - receptacle)
    :precondition (and (atLocation ?a ?l) (receptacleAtLocation ?r ?l) (opened ?r))
    :effect (not (opened ?r)))

  (:action take
    :parameters (?a - agent ?l - location ?o - item ?r - receptacle)
    :precondition (and (atLocation ?a ?l) (receptacleAtLocation ?r ?l) (inReceptacle ?o ?r) (pickupable ?o)
                       (not (handsFull ?a)) (or (not (openable ?r)) (opened ?r)))
    :effect (and (not (inReceptacle ?o ?r)) (holds ?a ?o) (handsFull ?a)))

  (:action place
    :parameters (?a - agent ?l - location ?o - item ?r - receptacle)
    :precondition (and (atLocation ?a ?l) (receptacleAtLocation ?r ?l) (holds ?a ?o) (fits ?o ?r)
                       (or (not (openable ?r)) (opened ?r)))
    :effect (and (inReceptacle ?o ?r) (not (holds ?a ?o)) (not (handsFull ?a))))

  (:action clean
    :parameters (?a - agent ?l - location ?o - item ?r - receptacle)
    :precondition (and (atLocation ?a ?l) (receptacleAtLocation ?r ?l) (holds ?a ?o) (cleans ?r) (cleanable ?o))
    :effect (isClean ?o))

  (:action heat
    :parameters (?a - agent ?l - location ?o - item ?r - receptacle)
    :precondition (and (atLocation ?a ?l) (receptacleAtLocation ?r ?l) (holds ?a ?o) (heats ?r) (heatable ?o))
    :effect (and (isHot ?o) (not (isCool ?o))))

  (:action cool
    :parameters (?a - agent ?l - location ?o - item ?r - receptacle)
    :precondition (and (atLocation ?a ?l) (receptacleAtLocation ?r ?l) (holds ?a ?o) (cools ?r) (coolable ?o))
    :effect (and (isCool ?o) (not (isHot ?o))))

  (:action switch
    :parameters (?a - agent ?l - location ?o - item ?r - receptacle)
    :precondition (and (atLocation ?a ?l) (receptacleAtLocation ?r ?l) (inReceptacle ?o ?r) (switchable ?o))
    :effect (isOn ?o)))
`;

/** A rule of the grammar: its text, and the query that must have an answer for the rule to be chosen. */
interface Rule {
  readonly condition?: string;
  readonly rhs: string;
}

const contents = "[{o.name | inreceptacle(o:item, r:receptacle)}]";

/** Every sentence that the games print, by rule name; the task sentence is added for each game. */
const sentences: Readonly<Record<string, readonly Rule[]>> = {
  intro: [{ rhs: "#around#\n\n#task#" }],
  around: [
    {
      rhs: "You see [{r.name | receptacleatlocation(r:receptacle, l:location)}].",
    },
  ],
  look: [
    {
      condition: "atlocation(a:agent, l:location) & receptacleatlocation(r:receptacle, l:location)",
      rhs: "You are at [{r.name | receptacleatlocation(r:receptacle, l:location)}].",
    },
    { rhs: "You are in the middle of the room." },
  ],
  receptacle: [
    {
      condition: "openable(r:receptacle) & opened(r:receptacle)",
      rhs: `In {r.name}: ${contents}.`,
    },
    { condition: "openable(r:receptacle)", rhs: "{r.name} is closed." },
    { rhs: `On {r.name}: ${contents}.` },
  ],
  inventory: [
    {
      condition: "handsfull(a:agent)",
      rhs: "You hold [{o.name | holds(a:agent, o:item)}].",
    },
    { rhs: "You hold nothing." },
  ],
  item: [
    { condition: "isclean(o:item) & ishot(o:item)", rhs: "{o.name} is clean, hot." },
    { condition: "isclean(o:item) & iscool(o:item)", rhs: "{o.name} is clean, cool." },
    { condition: "isclean(o:item)", rhs: "{o.name} is clean." },
    { condition: "ishot(o:item)", rhs: "{o.name} is hot." },
    { condition: "iscool(o:item)", rhs: "{o.name} is cool." },
    { rhs: "{o.name} is as ever." },
  ],
  opening: [{ rhs: `You open {r.name}. In it: ${contents}.` }],
  list_empty: [{ rhs: "nothing" }],
  list_separator: [{ rhs: ", " }],
  list_last_separator: [{ rhs: ", " }],
};

/** Command text and answer of each action of the domain. */
const actions: Readonly<Record<string, readonly [template: string, feedback: string]>> = {
  look: ["look", "#look#"],
  inventory: ["inventory", "#inventory#"],
  inspect: ["examine {r}", "#receptacle#"],
  examine: ["examine {o}", "#item#"],
  walk: ["go to {r}", "#receptacle#"],
  open: ["open {r}", "#opening#"],
  close: ["close {r}", "You close {r.name}."],
  take: ["take {o} from {r}", "You take {o.name}."],
  place: ["move {o} to {r}", "You move {o.name} to {r.name}."],
  clean: ["clean {o} with {r}", "You clean {o.name} in {r.name}."],
  heat: ["heat {o} with {r}", "You heat {o.name} in {r.name}."],
  cool: ["cool {o} with {r}", "You cool {o.name} in {r.name}."],
  switch: ["use {o}", "You turn on {o.name}."],
};

/**
 * TWL2 grammar of one game.
 * @param task the task sentence without its full stop, for example `put a mug on the shelf`
 */
export function householdGrammar(task: string): string {
  const rules = JSON.stringify({ ...sentences, task: [{ rhs: `Your task is to: ${task}.` }] }, null, 1);
  const blocks = Object.entries(actions).map(
    ([name, [template, feedback]]) =>
      `action ${name} {\n  template :: "${template}";\n  feedback :: "${feedback}";\n}\n`,
  );
  return `grammar :: """\n${rules}\n""";\n\n${blocks.join("\n")}`;
}
