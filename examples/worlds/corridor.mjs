/**
 * A world of your own in Node, as a program: a corridor to walk along. One request a line comes in, one answer a line goes out.
 *   uncouple play --env external --program node examples/worlds/corridor.mjs
 */
import { createInterface } from "node:readline";

const LENGTHS = { train: [2, 3, 4], test: [5, 6] };
let length = 0;
let place = 0;

const look = () => `You are at place ${place} of ${length}.`;
const info = () => ({
  won: place === length,
  admissible_commands: ["forward", "back"],
  score: place / length,
  state_key: String(place),
});
const lengthOf = (taskId) => Number(taskId.split(" ")[1]);

const methods = {
  spec() {
    const tasks = (lengths) => lengths.map((one) => ({ id: `length ${one}`, type: "walk" }));
    const splits = Object.fromEntries(
      Object.entries(LENGTHS).map(([split, lengths]) => [split, tasks(lengths)]),
    );
    return { id: "corridor", splits, expert: true, texts: true };
  },
  reset({ options }) {
    [length, place] = [lengthOf(options.task_id), 0];
    return { obs: look(), task: "reach the door.", info: info() };
  },
  step({ action }) {
    const move = { forward: 1, back: -1 }[action];
    if (move !== undefined) place = Math.max(0, Math.min(length, place + move));
    const won = place === length;
    const obs = move === undefined ? "You cannot do that." : look();
    return { obs, reward: Number(won), terminated: won, truncated: false, info: info() };
  },
  expert: ({ task_id }) => ({ actions: Array(lengthOf(task_id)).fill("forward") }),
  texts() {
    const texts = ["You cannot do that.", "reach the door.", "forward", "back"];
    for (let end = 0; end < 7; end++) {
      for (let at = 0; at <= end; at++) texts.push(`You are at place ${at} of ${end}.`);
    }
    return { texts };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, params } = JSON.parse(line);
  console.log(JSON.stringify({ id, result: methods[method](params) }));
}
