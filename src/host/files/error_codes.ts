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
