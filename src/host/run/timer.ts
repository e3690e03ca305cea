import type { Timer } from "../../core/timer.js";

/** Longer ones end at once in Node. */
const LONGEST = 2 ** 31 - 1;

/** Node's timer. */
export const hostTimer: Timer = (milliseconds, run) => {
  const timeout = setTimeout(run, Math.min(milliseconds, LONGEST));
  return () => clearTimeout(timeout);
};
