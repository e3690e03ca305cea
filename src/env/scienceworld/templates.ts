/** What the simulator's patterns of actions mean, for prompts that list patterns in place of all commands. */

/** By the patterns that the simulator lists. OBJ stands for an object in sight. Our own wording. */
const MEANINGS: Readonly<Record<string, string>> = {
  "activate OBJ": "switch a device on",
  "close OBJ": "close a container or door",
  "connect OBJ to OBJ": "join electrical parts",
  "deactivate OBJ": "switch a device off",
  "disconnect OBJ": "take electrical parts apart",
  "dunk OBJ in OBJ": "dip a container into a liquid",
  "eat OBJ": "eat something",
  "flush OBJ": "flush a toilet",
  "focus on OBJ": "name what the task is about; a wrong choice ends the task",
  "go OBJ": "go through a door to a neighbouring place",
  inventory: "list what you carry",
  "look around": "see the place you are in",
  "look at OBJ": "see something closely",
  "look in OBJ": "see what is in something",
  "mix OBJ": "let what is in a container react",
  "move OBJ to OBJ": "put something somewhere",
  "open OBJ": "open a container or door",
  "pick up OBJ": "take something along",
  "pour OBJ in OBJ": "empty a container into another one",
  "put down OBJ": "drop something here",
  "read OBJ": "read a note or book",
  "reset task": "start again with naming what the task is about",
  task: "read the task",
  "teleport OBJ": "be in another place at once",
  "use OBJ on OBJ": "use a tool or instrument on something",
  wait: "let ten moments pass",
  wait1: "let one moment pass",
};

/** Lines of a prompt: each pattern with its meaning, where it is known, then the objects in sight. */
export function describeActions(templates: readonly string[], objects: readonly string[]): string[] {
  const patterns = templates.map((pattern) => {
    const meaning = Object.hasOwn(MEANINGS, pattern) ? MEANINGS[pattern] : undefined;
    return meaning === undefined ? pattern : `${pattern} (${meaning})`;
  });
  return [...patterns, `OBJ is one of: ${objects.join(", ")}`];
}
