/** The codes by which errors of Node and of child processes say what went wrong. */

/** @param codes names such as `ENOENT`, or exit codes of processes
 *  @returns whether an error bears one of them */
export function hasCode(error: unknown, ...codes: readonly (string | number)[]): boolean {
  // not by `instanceof`: test runners load modules into realms of their own, and Node's errors come from another one
  if (typeof error !== "object" || error === null || !("code" in error)) return false;
  return codes.some((code) => code === error.code);
}

/** What an error says, whichever realm it comes from. */
export function errorText(error: unknown): string {
  const message = typeof error === "object" && error !== null && "message" in error ? error.message : error;
  return String(message);
}

/** Names the file in an error of the system that names none, or one that only this program knows: those of open files have no path.
 *  @returns the same error */
export function withPath(error: unknown, path: string, unknownPath?: string): unknown {
  if (typeof error !== "object" || error === null || !("code" in error) || !("syscall" in error))
    return error;
  const named = "path" in error ? error.path : undefined;
  if (named !== undefined && named !== unknownPath) return error;
  // in the form of Node's own messages
  if (named === undefined) Object.assign(error, { message: `${errorText(error)} '${path}'` });
  return Object.assign(error, { path });
}
