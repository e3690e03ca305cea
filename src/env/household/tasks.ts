/** The six task types: what each asks for, in which room it can be set, and how a scripted player solves it. */
import type { TASK_TYPES } from "../alfworld/game.js";
import { hasDoor, nameOf, type PlacedItem, type Thing } from "./house.js";
import type { RoomKind, Treatment } from "./rooms.js";

export type HouseholdTaskType = (typeof TASK_TYPES)[number];

/** What a task type needs of a house. */
export interface TaskShape {
  readonly rooms: readonly RoomKind[];
  /** What is to be done to the item before it is put down. */
  readonly treatment?: Treatment;
  /** How many items of the wanted kind are to be brought. */
  readonly count: 1 | 2;
  /** The item is to be held in the light of a lamp and not to be put anywhere. */
  readonly light?: boolean;
}

export const taskShapes: Readonly<Record<HouseholdTaskType, TaskShape>> = {
  pick_and_place_simple: { rooms: ["kitchen", "living", "bedroom", "bath"], count: 1 },
  look_at_obj_in_light: { rooms: ["living", "bedroom"], count: 1, light: true },
  pick_clean_then_place_in_recep: { rooms: ["kitchen", "bath"], count: 1, treatment: "clean" },
  pick_heat_then_place_in_recep: { rooms: ["kitchen"], count: 1, treatment: "heat" },
  pick_cool_then_place_in_recep: { rooms: ["kitchen"], count: 1, treatment: "cool" },
  pick_two_obj_and_place: { rooms: ["kitchen", "living", "bedroom", "bath"], count: 2 },
};

/** Word for the wanted state, as in `put a hot mug on the table`. */
const stateWords: Readonly<Record<Treatment, string>> = { clean: "clean", heat: "hot", cool: "cool" };
const statePredicates: Readonly<Record<Treatment, string>> = {
  clean: "isClean",
  heat: "isHot",
  cool: "isCool",
};

/** A task set in a house: what to bring, and things that make it possible. */
export interface HouseholdTask {
  readonly type: HouseholdTaskType;
  /** The items that the scripted player uses, all of one kind. */
  readonly wanted: readonly PlacedItem[];
  /** Where they go; absent for tasks in the light. */
  readonly target?: Thing;
  readonly appliance?: Thing;
  readonly lamp?: PlacedItem;
}

/** The task sentence, without its full stop. */
export function sentenceOf(task: HouseholdTask): string {
  const kind = task.wanted[0].kind;
  const shape = taskShapes[task.type];
  if (task.target === undefined) return `look at the ${kind} under the lamp`;
  const state = shape.treatment ? ` ${stateWords[shape.treatment]}` : "";
  const article = shape.count === 2 ? "two" : "a";
  return `put ${article}${state} ${kind} ${hasDoor(task.target.kind) ? "in" : "on"} the ${task.target.kind}`;
}

/** The goal as a PDDL condition. */
export function goalOf(task: HouseholdTask): string {
  const kind = `${task.wanted[0].kind}Type`;
  if (task.target === undefined) {
    return `(exists (?a - agent ?l - location ?o - item ?s - item ?r - receptacle)
      (and (itemType ?o ${kind}) (holds ?a ?o) (itemType ?s lampType) (isOn ?s)
           (inReceptacle ?s ?r) (receptacleAtLocation ?r ?l) (atLocation ?a ?l)))`;
  }
  const { treatment, count } = taskShapes[task.type];
  const first = `(itemType ?o ${kind}) (inReceptacle ?o ?r)`;
  const state = treatment ? ` (${statePredicates[treatment]} ?o)` : "";
  const second = count === 2 ? ` (not (= ?o ?p)) (itemType ?p ${kind}) (inReceptacle ?p ?r)` : "";
  const variables = count === 2 ? "?o - item ?p - item" : "?o - item";
  return `(exists (?r - receptacle ${variables})
      (and (receptacleType ?r ${task.target.kind}Type) ${first}${state}${second}))`;
}

/** A winning command sequence from the start of the game: bring the wanted items one after the other. */
export function walkthroughOf(task: HouseholdTask): readonly string[] {
  const commands: string[] = [];
  const opened = new Set<string>();
  let here: string | undefined;
  const goTo = (place: Thing, withOpenDoor: boolean): string => {
    const name = nameOf(place);
    if (here !== name) commands.push(`go to ${name}`);
    here = name;
    if (withOpenDoor && hasDoor(place.kind) && !opened.has(name)) {
      commands.push(`open ${name}`);
      opened.add(name);
    }
    return name;
  };
  for (const item of task.wanted) {
    const name = nameOf(item);
    commands.push(`take ${name} from ${goTo(item.place, true)}`);
    if (task.appliance) {
      const appliance = goTo(task.appliance, false);
      commands.push(`${taskShapes[task.type].treatment} ${name} with ${appliance}`);
    }
    if (task.target) commands.push(`move ${name} to ${goTo(task.target, true)}`);
    if (task.lamp) {
      goTo(task.lamp.place, false);
      commands.push(`use ${nameOf(task.lamp)}`);
    }
  }
  return commands;
}
