/** Play by hand: commands typed or piped in, one a line. */
import type { World } from "../../env/world.js";
import type { Terminal } from "../kit/terminal.js";
import { Player, type PlayStep, StepPrinter } from "./play_steps.js";

const QUIT = "quit";
const HINTS = "?";

/** Plays one episode with the commands of stdin until `quit` or the end of the input; past the end of the episode too. */
export async function playByHand(
  world: World,
  taskId: string,
  maxSteps: number,
  terminal: Terminal,
  json: boolean,
): Promise<void> {
  const player = await Player.start(world, taskId, maxSteps);
  const printer = new StepPrinter(terminal, json, !terminal.isPrompted);
  if (terminal.isPrompted) terminal.info(`Tab completes, ${HINTS} lists what is possible, ${QUIT} ends.\n`);
  try {
    await printer.print(player.current);
    for await (const line of terminal.lines("> ", () => player.current.admissible)) {
      if (line.trim() === QUIT) break;
      if (line.trim() === HINTS) {
        showHints(player.current, terminal, json);
        continue;
      }
      // At a prompt an empty line is a slip of the finger, not a command.
      if (line.trim() === "" && terminal.isPrompted) continue;
      const wasDone = player.current.done;
      await printer.print(await player.step(line));
      if (player.current.done && !wasDone) terminal.info(endOf(player.current));
    }
    printer.finish();
  } finally {
    await player.close();
  }
}

/** Hints are no step: where stdout is for steps alone they go to stderr. */
function showHints({ admissible }: PlayStep, terminal: Terminal, json: boolean): void {
  const text = admissible.map((command) => `  ${command}`).join("\n");
  if (json) terminal.info(text);
  else terminal.print(`${text}\n`);
}

function endOf({ won, step }: PlayStep): string {
  return `${won ? "The goal is reached" : `The limit of ${step} steps is reached`}; play on, or ${QUIT}.`;
}
