/** Calls `run` once, after that many milliseconds. @returns calls it off */
export type Timer = (milliseconds: number, run: () => void) => () => void;
