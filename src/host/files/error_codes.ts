/** The codes by which errors of Node and of child processes say what went wrong. */

/** @param codes names such as `ENOENT`, or exit codes of processes
 *  @returns whether an error bears one of them */
export function hasCode(error: unknown, ...codes: readonly (string | number)[]): boolean {
  return error instanceof Error && "code" in error && codes.some((code) => code === error.code);
}
