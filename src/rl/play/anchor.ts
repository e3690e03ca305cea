/** Which steps of a group count as taken in the same state, so that their actions can be compared. */
import { ConfigError } from "../../core/errors.js";
import type { Info } from "../../env/world.js";
import { isInformative } from "../advantages/anchors.js";

/**
 * `observation`: the same text was read; different states may share one.
 * `observation_inventory`: and the same things are carried. The observation is what the last action did, too.
 * `state_key`: the world says that the states are equal.
 * `none`: steps are not compared.
 */
export const ANCHOR_RULES = ["observation", "observation_inventory", "state_key", "none"] as const;
export type AnchorRule = (typeof ANCHOR_RULES)[number];

/**
 * Key of a state before acting; undefined where steps are not compared, and for observations that tell nothing of the state
 * ("Nothing happens.") but under `state_key`.
 * @throws ConfigError when the rule needs what the world does not tell
 */
export function anchorKey(rule: AnchorRule, observation: string, info: Info): string | undefined {
  const isText = rule === "observation" || rule === "observation_inventory";
  if (isText && !isInformative(observation)) return undefined;
  switch (rule) {
    case "none":
      return undefined;
    case "observation":
      return observation;
    case "observation_inventory":
      return `${told(rule, info.inventory, "what is carried")}\n${observation}`;
    case "state_key":
      return told(rule, info.stateKey, "its states apart");
  }
}

function told(rule: AnchorRule, value: string | undefined, what: string): string {
  if (value !== undefined) return value;
  throw new ConfigError(
    `[anchor] rule does not fit the world: got ${rule}, expected a world that tells ${what}. Choose observation or none.`,
  );
}
