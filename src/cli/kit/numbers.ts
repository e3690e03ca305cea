/** Parsers of numbers on the command line. */
import { InvalidArgumentError } from "@commander-js/extra-typings";

/** @returns a parser of an option's value */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`Expected a whole number, ${least} or more.`);
  };
}
