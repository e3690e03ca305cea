/** Values of files are numbers. */
import { DataError } from "../../core/errors.js";

/** @param use what to do about it. @throws DataError naming the first value that is none */
export function checkFinite(values: Float32Array, path: string, tensor: string, use: string): void {
  const index = values.findIndex((value) => !Number.isFinite(value));
  if (index >= 0) throw notFinite(values[index], index, path, tensor, use);
}

export function notFinite(
  value: number,
  index: number,
  path: string,
  tensor: string,
  use: string,
): DataError {
  return new DataError(
    `[${path}] tensor ${tensor} holds values that are not finite: got ${value} at element ${index}, expected numbers. ${use}.`,
  );
}
