/** What the library writes diagnostics to. `console` fits; the command line passes one that writes to stderr. */
export interface Logger {
  info(message: string): void;
  warn(message: string): void;
}

/** Drops everything. */
export const silentLogger: Logger = { info() {}, warn() {} };
