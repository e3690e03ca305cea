/** Where files of the user go when nobody says otherwise. */
import { homedir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import type { Environment } from "../../core/environment.js";

/** The folder for files that can be made again at any time: $UNCOUPLE_CACHE_DIR, $XDG_CACHE_HOME/uncouple or
 *  ~/.cache/uncouple.
 *  @returns an absolute path; nothing is created
 *  @remarks a relative XDG_CACHE_HOME is ignored, as the XDG specification asks */
export function defaultCacheFolder(env: Environment): string {
  if (env.UNCOUPLE_CACHE_DIR) return resolve(env.UNCOUPLE_CACHE_DIR);
  const base = env.XDG_CACHE_HOME ?? "";
  return join(isAbsolute(base) ? base : join(homedir(), ".cache"), "uncouple");
}
