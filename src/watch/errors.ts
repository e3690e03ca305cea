/** What a request is refused with. */

/** An answer other than the thing asked for. Its text is shown to whoever asked. */
export class RequestError extends Error {
  override name = "RequestError";

  constructor(
    readonly status: 400 | 401 | 403 | 404 | 405 | 422 | 503,
    message: string,
  ) {
    super(message);
  }
}

/** @param what as `update 3` */
export function notFound(what: string): RequestError {
  return new RequestError(
    404,
    `[watch] no such thing: got ${what}, expected one that is there. Go back to the list of runs.`,
  );
}
