/** Errors of what is checked before work starts. */
import { ConfigError, EXIT, UncoupleError } from "../../core/errors.js";
import { systemError } from "./system_errors.js";

/**
 * Whatever a check finds before work starts is a mistake in what the user named, whichever part of the program noticed it.
 * @throws ConfigError in place of other errors that say what is wrong; a full disk or a GPU that is missing is no such mistake
 */
export async function beforeWork<T>(check: () => T | Promise<T>): Promise<T> {
  try {
    return await check();
  } catch (error) {
    const message = mistakeIn(error);
    if (message === undefined) throw error;
    throw new ConfigError(message, { cause: error });
  }
}

function mistakeIn(error: unknown): string | undefined {
  if (error instanceof UncoupleError) {
    const isSystem = systemError(error.cause)?.isUsage === false;
    return error.exitCode === EXIT.failed && !isSystem ? error.message : undefined;
  }
  const system = systemError(error);
  return system?.isUsage === true ? system.message : undefined;
}
