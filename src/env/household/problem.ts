/** Writes a house and a goal as a PDDL problem of the household domain. */
import type { House, Thing } from "./house.js";
import { fits, itemKinds, receptacleKinds, type Treatment } from "./rooms.js";

/** The engine numbers the ids of a kind from the highest down, in the order of their text. */
const highestNumber = 99;

/** Object id of a thing; the engine prints it under the thing's own name. */
function idOf(thing: Thing): string {
  return `${thing.kind}_bar_${highestNumber - thing.number}`;
}

const treatmentFacts: Readonly<Record<Treatment, readonly [item: string, receptacle: string]>> = {
  clean: ["cleanable", "cleans"],
  heat: ["heatable", "heats"],
  cool: ["coolable", "cools"],
};

/**
 * PDDL text of a problem. Every receptacle stands at a location of its own; the agent starts at one where nothing stands.
 * @param goal PDDL condition
 */
export function problemText(house: House, goal: string): string {
  const objects: string[] = ["agent1 - agent", "place_bar_0 - location"];
  const init: string[] = ["(atLocation agent1 place_bar_0)"];
  const kinds = (things: readonly Thing[]) => [...new Set(things.map(({ kind }) => kind))];
  for (const kind of kinds(house.receptacles)) objects.push(`${kind}Type - rtype`);
  for (const kind of kinds(house.items)) objects.push(`${kind}Type - itype`);
  for (const [place, receptacle] of house.receptacles.entries()) {
    const id = idOf(receptacle);
    const { openable, appliance } = receptacleKinds[receptacle.kind];
    objects.push(`place_bar_${place + 1} - location`, `${id} - receptacle`);
    init.push(`(receptacleAtLocation ${id} place_bar_${place + 1})`);
    init.push(`(receptacleType ${id} ${receptacle.kind}Type)`);
    if (openable) init.push(`(openable ${id})`);
    if (appliance) init.push(`(${treatmentFacts[appliance][1]} ${id})`);
  }
  for (const item of house.items) {
    const id = idOf(item);
    objects.push(`${id} - item`);
    init.push(`(itemType ${id} ${item.kind}Type)`, `(inReceptacle ${id} ${idOf(item.place)})`);
    if (item.kind === "lamp") {
      init.push(`(switchable ${id})`);
      continue;
    }
    init.push(`(pickupable ${id})`);
    for (const treatment of itemKinds[item.kind].treatments)
      init.push(`(${treatmentFacts[treatment][0]} ${id})`);
    for (const receptacle of house.receptacles) {
      if (fits(item.kind, receptacle.kind)) init.push(`(fits ${id} ${idOf(receptacle)})`);
    }
  }
  return `(define (problem house)
  (:domain household)
  (:objects
    ${objects.join("\n    ")})
  (:init
    ${init.join("\n    ")})
  (:goal
    ${goal}))
`;
}
