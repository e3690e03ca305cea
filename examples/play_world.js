// Worlds: play one household game with the planner's commands.
import { householdWorld } from "uncouple";

const world = householdWorld({ seed: 3, maxSteps: 30 });
const [task] = world.tasks("train");
const environment = world.create();
const first = await environment.reset({ options: { taskId: task.id } });
console.log(first.obs);
for (const command of await world.expert(task.id)) {
  const { obs, reward, terminated } = await environment.step(command);
  console.log(`> ${command}\n${obs}`);
  if (terminated) console.log(`solved, reward ${reward}`);
}
