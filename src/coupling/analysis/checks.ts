/** Checks that the functions of this folder share: sizes, finite numbers, square matrices. */
import { ArgumentError } from "../../core/errors.js";

/** Samples in good order: a row-major N x N matrix of finite numbers. @throws ArgumentError naming the first bad pair */
export function requireGram(gram: ArrayLike<number>, count: number): void {
  requireLength("gram", gram, count * count);
  for (let i = 0; i < gram.length; i++) {
    if (!Number.isFinite(gram[i])) {
      throw new ArgumentError(
        `[coupling] the Gram is not finite: got ${gram[i]} for samples ${Math.floor(i / count)} and ${i % count}, ` +
          "expected finite numbers. Drop the sample whose gradient overflows.",
      );
    }
  }
}

/** @throws ArgumentError when `values` does not have `count` entries */
export function requireLength(what: string, values: ArrayLike<unknown>, count: number): void {
  if (values.length === count) return;
  throw new ArgumentError(
    `[coupling] ${what} has the wrong size: got ${values.length} values, expected ${count}. Pass one for each.`,
  );
}

/** @throws ArgumentError naming the first entry that is not finite */
export function requireFinite(what: string, values: ArrayLike<number>): void {
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) {
      throw new ArgumentError(
        `[coupling] ${what} is not finite: got ${values[i]} at ${i}, expected a finite number. Drop that sample.`,
      );
    }
  }
}
