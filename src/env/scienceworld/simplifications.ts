/** Ways to make the simulator's games easier, under its own names. */
import { closest } from "fastest-levenshtein";
import { ConfigError } from "../../core/errors.js";
import { isElectrical } from "./tasks.js";

/** @source ScienceWorld, `SimplifierProcessor` */
const SIMPLIFICATIONS = [
  "teleportAction",
  "openDoors",
  "openContainers",
  "selfWateringFlowerPots",
  "noElectricalAction",
] as const;

const NO_ELECTRICAL = "noElectricalAction";

/**
 * What the simulator reads: `easy`, names joined by commas, or nothing.
 * @param text `easy` (all that suit the task, chosen by the simulator), `none`, or names such as `openDoors,teleportAction`
 * @throws ConfigError when a name is unknown or `easy` and `none` are not alone
 */
export function readSimplifications(text: string): string {
  if (text === "none") return "";
  if (text === "easy") return text;
  const names = text.split(",").map((name) => name.trim());
  const known: readonly string[] = SIMPLIFICATIONS;
  const unknown = names.find((name) => !known.includes(name));
  if (unknown === undefined) return [...new Set(names)].join(",");
  const alone = unknown === "easy" || unknown === "none";
  throw new ConfigError(
    alone
      ? `[scienceworld] simplifications do not fit: got \`${text}\`, expected ${unknown} alone. Leave out the others.`
      : `[scienceworld] unknown simplification: got \`${unknown}\`, expected easy, none, or some of ${known.join(", ")}. \
Write for example \`${closest(unknown, [...known])}\`.`,
  );
}

/** @throws ConfigError when a task could not be solved under the simplifications */
export function checkSimplifications(simplifications: string, task: string): void {
  if (!isElectrical(task) || !simplifications.split(",").includes(NO_ELECTRICAL)) return;
  throw new ConfigError(
    `[scienceworld] simplification does not fit: got ${NO_ELECTRICAL} for ${task}, expected the task to keep its wires. \
Use \`easy\`, or leave it out.`,
  );
}
