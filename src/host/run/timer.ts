import type { Timer } from "../../core/timer.js";

/** Node's timer. */
export const hostTimer: Timer = (milliseconds, run) => {
  const timeout = setTimeout(run, milliseconds);
  return () => clearTimeout(timeout);
};
