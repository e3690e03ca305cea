/** Parsers of numbers on the command line. */
import { InvalidArgumentError } from "@commander-js/extra-typings";

/** @returns a parser of an option's value */
export function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  const rule = most === Number.MAX_SAFE_INTEGER ? `, ${least} or more` : ` from ${least} to ${most}`;
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`Expected a whole number${rule}.`);
  };
}

/** @returns a parser of a decimal number from `least` to `most` */
export function decimalNumber(least: number, most = Number.MAX_VALUE): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && value >= least && value <= most) return value;
    const range = most === Number.MAX_VALUE ? `${least} or more` : `from ${least} to ${most}`;
    throw new InvalidArgumentError(`Expected a number, ${range}.`);
  };
}
