/** Error classes, one per remedy. Message form: `[where] what is wrong: got <value>, expected <rule>. <what to do>.` */

/** Process exit codes of the command line. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  noAdapter: 3,
  device: 4,
  checkFailed: 5,
  stopped: 75,
  interrupted: 130,
} as const;

/** Base of every error thrown on purpose by this package. */
export class UncoupleError extends Error {
  /** Exit code that the command line ends with when this error reaches it. */
  readonly exitCode: number = EXIT.failed;
  override name = "UncoupleError";
}

/** The caller gave tensors, shapes or arguments that do not fit. Remedy: change the call. */
export class ArgumentError extends UncoupleError {
  override name = "ArgumentError";
}

/** A configuration file, override or command-line flag is wrong. Remedy: change it. Exit code 2. */
export class ConfigError extends UncoupleError {
  override readonly exitCode = EXIT.usage;
  override name = "ConfigError";
}

/** A data file (game, checkpoint, tokenizer) is malformed or missing. Remedy: another file. */
export class DataError extends UncoupleError {
  override name = "DataError";
}

/** A world in another process crashed, hung or broke its protocol. Remedy: restart or mend that program. */
export class WorldError extends UncoupleError {
  override name = "WorldError";
}

/** No usable GPU adapter. Remedy: install or choose a driver. Exit code 3. */
export class AdapterError extends UncoupleError {
  override readonly exitCode = EXIT.noAdapter;
  override name = "AdapterError";
}

/** The GPU device failed: shader error, validation error, out of memory or device lost. Exit code 4. */
export class DeviceError extends UncoupleError {
  override readonly exitCode = EXIT.device;
  override name = "DeviceError";
}

/** A requested check did not hold (benchmark regression, verification, divergence guard). Exit code 5. */
export class CheckError extends UncoupleError {
  override readonly exitCode = EXIT.checkFailed;
  override name = "CheckError";
}
