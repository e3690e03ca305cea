/** Our own games come out the same, letter for letter: texts, admissible commands and states of played games.
 *  `npx vitest run test/env/household_transcripts.test.ts -u` writes the transcripts anew; look at what has changed. */
import { expect, test } from "vitest";
import { Random } from "../../src/core/random.js";
import { householdSplits } from "../../src/env/household/house.js";
import { householdWorld } from "../../src/env/household/world.js";
import { planFromState } from "../../src/env/planner/expert.js";

const GAMES = 2;
/** Random commands before the expert goes on: some in vain, and one that no game knows. */
const WANDERING = 12;

const world = householdWorld({ seed: 11, sizes: { train: GAMES, in_domain: GAMES, out_of_domain: GAMES } });

/** Plays a random walk and then the planner's way to the goal. */
function transcript(taskId: string, index: number): string {
  const game = world.game(taskId);
  const play = game.start();
  const random = Random.of(index, "transcript");
  const lines = [`task: ${taskId}`, play.intro()];
  const note = () => lines.push(`[${play.admissibleCommands.join(", ")}] ${play.stateKey} won: ${play.won}`);
  const step = (command: string) => {
    lines.push("", `> ${command}`, play.step(command));
    note();
  };
  note();
  for (let i = 0; i < WANDERING; i++) step(random.pick(play.admissibleCommands));
  step("dance");
  for (const command of planFromState(game, play.snapshot()) ?? []) step(command);
  return `${lines.join("\n")}\n`;
}

for (const split of householdSplits) {
  for (const [index, { id }] of world.tasks(split).entries()) {
    test(`${split} ${index}`, async () => {
      const text = transcript(id, index);
      expect(text.trimEnd().endsWith("won: true")).toBe(true);
      await expect(text).toMatchFileSnapshot(`../golden/household/${split}_${index}.txt`);
    });
  }
}
