/** A hand-written game of two cupboards and a lamp that has every trap of the engine in it. */

export const smallDomain = `
; a cottage
(define (domain Cottage)
 (:requirements :adl :typing)
 (:types agent location receptacle object rtype)
 (:predicates
  (atLocation ?a - agent ?l - location)
  (stands ?r - receptacle ?l - location)
  (lies ?o - object ?l - location)
  (openable ?r - receptacle) (opened ?r - receptacle)
  (in ?o - object ?r - receptacle)
  (kind ?r - receptacle ?t - rtype)
  (holds ?a - agent ?o - object) (holdsAny ?a - agent)
  (isClean ?o - object) (isDirty ?o - object)
  (lamp ?o - object) (isOn ?o - object) (isToggled ?o - object)
  (seen ?x) (likes ?a - agent ?b - agent))
 (:action look :parameters (?a - agent ?l - location)
  :precondition (atLocation ?a ?l) :effect (seen ?l))
 (:action bag :parameters (?a - agent) :precondition () :effect (and (seen ?a)))
 (:action walk :parameters (?a - agent ?from - location ?to - location ?r - receptacle)
  :precondition (and (atLocation ?a ?from) (stands ?r ?to))
  :effect (and (not (atLocation ?a ?from)) (atLocation ?a ?to) (increase (total-cost) 1)))
 (:action open :parameters (?a - agent ?l - location ?r - receptacle)
  :precondition (and (openable ?r) (atLocation ?a ?l) (stands ?r ?l) (forall (?x - receptacle) (not (opened ?x))))
  :effect (opened ?r))
 (:action close :parameters (?a - agent ?l - location ?r - receptacle)
  :precondition (and (atLocation ?a ?l) (stands ?r ?l) (opened ?r)) :effect (not (opened ?r)))
 (:action take :parameters (?a - agent ?l - location ?o - object ?r - receptacle)
  :precondition (and (atLocation ?a ?l) (stands ?r ?l) (in ?o ?r) (not (holdsAny ?a))
   (or (not (openable ?r)) (opened ?r)))
  :effect (and (not (in ?o ?r)) (not (lies ?o ?l)) (holds ?a ?o) (holdsAny ?a)))
 (:action drop :parameters (?a - agent ?l - location ?o - object ?r - receptacle)
  :precondition (and (holds ?a ?o) (atLocation ?a ?l) (stands ?r ?l) (or (not (openable ?r)) (opened ?r)))
  :effect (and (in ?o ?r) (lies ?o ?l) (not (holds ?a ?o)) (not (holdsAny ?a))))
 (:action examine :parameters (?a - agent ?o - object)
  :precondition (or
   (exists (?l - location, ?r - receptacle) (and (atLocation ?a ?l) (stands ?r ?l) (in ?o ?r)))
   (holds ?a ?o))
  :effect (seen ?o))
 (:action peek :parameters (?a - agent ?r - receptacle)
  :precondition (exists (?l - location) (and (atLocation ?a ?l) (stands ?r ?l))) :effect (seen ?r))
 (:action wash :parameters (?a - agent ?o - object)
  :precondition (holds ?a ?o) :effect (and (isClean ?o) (not (isDirty ?o))))
 (:action flip :parameters (?a - agent ?o - object)
  :precondition (and (lamp ?o) (not (holdsAny ?a)))
  :effect (and (when (isOn ?o) (not (isOn ?o))) (when (not (isOn ?o)) (isOn ?o)) (isToggled ?o)))
 (:action wait :parameters (?a - agent ?l - location)
  :precondition (atLocation ?a ?l) :effect (and (atLocation ?a ?l) (not (seen ?l)) (seen ?l))))
`;

export const smallProblem = `
(define (problem evening) (:domain cottage)
 (:objects Me - agent
   Shelf_bar_1 Shelf_bar_2 Box_bar_1 - receptacle
   Hall_bar_0 Spot_bar_1 Spot_bar_2 - location
   Cup_bar_1 Cup_bar_2 Sink_bar_basin_1 Lamp_bar_1 - object
   BoxType ShelfType - rtype)
 (:init (atLocation Me Hall_bar_0)
   (stands Shelf_bar_1 Spot_bar_1) (stands Shelf_bar_2 Spot_bar_1) (stands Box_bar_1 Spot_bar_2)
   (openable Box_bar_1) (kind Box_bar_1 BoxType) (kind Shelf_bar_1 ShelfType) (kind Shelf_bar_2 ShelfType)
   (in Cup_bar_1 Shelf_bar_1) (lies Cup_bar_1 Spot_bar_1)
   (in Cup_bar_2 Box_bar_1) (lies Cup_bar_2 Spot_bar_2)
   (lies Sink_bar_basin_1 Spot_bar_2) (lamp Lamp_bar_1) (lies Lamp_bar_1 Hall_bar_0)
   (= (total-cost) 0))
 (:goal (exists (?r - receptacle ?o - object ?p - object)
   (and (kind ?r BoxType) (in ?o ?r) (in ?p ?r) (not (= ?o ?p)) (not (opened ?r))))))
`;

export const smallGrammar = `
# the cottage speaks
grammar :: """
{
  # a comment line
  "intro": [{"rhs": "Evening.\\n\\n#look.feedback#\\n#task#"}],
  "task": [{"rhs": "Your task is to: put two cup in box."}],
  "list_empty": [{"rhs": "nothing"}],
  "list_separator": [{"rhs": "; "}],
  "list_last_separator": [{"rhs": "; and "}],
  "content": [
    {"condition": "openable(r:receptacle) & opened(r:receptacle)", "rhs": "\\nInside: [{#thing(o)# | in(o:object, r:receptacle)}]."},
    {"condition": "openable(r:receptacle)", "rhs": "It is shut."},
    {"rhs": "On it: [{o.indefinite + ' ' + o.name | in(o:object, r:receptacle)}]."}
  ],
  "thing(o)": [{"rhs": "{o.definite} {o.name or o.id}"}]
}
""";
action look {
  template :: "look";
  feedback :: "#look.feedback#";
  grammar :: """{
    "look.feedback": [
      {"condition": "atlocation(a:agent, l:location) & stands(r:receptacle, l:location)",
       "rhs": "Before you: [{r.name | atlocation(a:agent, l:location) & stands(r:receptacle, l:location)}]. Beside: [{#thing(o)# | atlocation(a:agent, l:location) & lies(o:object, l:location) & stands(r:receptacle, l:location) & not_in(o:object, r:receptacle)}]."},
      {"rhs": "You see [{r.name | stands(r:receptacle, l:location)}]."}
    ]
  }""";
}
action bag { template :: "bag"; feedback :: "You hold [{o | holds(a:agent, o:object)}]."; }
action walk { template :: "go to [{r.name | stands(r:receptacle, to:location)}]"; feedback :: "You are at {r.name}. #content#"; }
action open { template :: "open {r}"; feedback :: "Opened. #content#"; }
action close { template :: "close {r}"; feedback :: "Closed."; }
action take { template :: "take {o} from {r}"; feedback :: "Taken."; pddl :: """(unused)"""; }
action drop { template :: "drop {o} in {r}"; feedback :: "Dropped."; }
action examine { template :: "examine {o}"; feedback :: "{'A ' + o.name}[{o2 | in(o2:object, o:object)}]"; }
action peek { template :: "examine {r}"; feedback :: "#content#"; }
action wash { template :: "wash {o}"; feedback :: "Washed."; }
action flip { template :: "flip {o}"; feedback :: "#flip.feedback#";
  grammar :: """{"flip.feedback": [
    {"condition": "not_ison(o:object)", "rhs": "{o.type} {o.id}: written off"},
    {"rhs": "on"}]}""";
}
action wait { template :: "wait"; feedback :: "Time passes."; }
action unknown { template :: "never"; feedback :: "never"; }
`;

/** Commands that solve it. */
export const smallWalkthrough: readonly string[] = [
  "go to shelf 2",
  "take cup 2 from shelf 2",
  "go to box 1",
  "open box 1",
  "drop cup 2 in box 1",
  "close box 1",
];

/** Content of its `game.tw-pddl`, with parts replaced. */
export function smallGameText(changes: Record<string, unknown> = {}): string {
  return JSON.stringify({
    pddl_domain: smallDomain,
    grammar: smallGrammar,
    pddl_problem: smallProblem,
    solvable: true,
    walkthrough: smallWalkthrough,
    ...changes,
  });
}
