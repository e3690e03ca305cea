/** Tells a page when files have grown: one Server-Sent Event for each change, with the newest state alone. */
import type { Context } from "hono";
import { streamSSE } from "hono/streaming";

/** Milliseconds between two looks at the files, and between signs of life of a connection. */
const LOOK_EVERY = 1000;
const ALIVE_EVERY = 15_000;

/**
 * Answers with a stream that lasts until the page leaves. A page that comes late, or comes back, gets the state at once.
 * @param look the state; what it throws ends the stream, after which a page connects anew
 */
export function eventStream(context: Context, look: () => Promise<unknown>, every = LOOK_EVERY): Response {
  return streamSSE(context, async (stream) => {
    let [told, quiet] = ["", 0];
    while (!stream.aborted && !stream.closed) {
      const began = performance.now();
      const state = JSON.stringify(await look());
      // where a look takes long, as with thousands of runs, it is taken less often
      const pause = Math.max(every, 4 * (performance.now() - began));
      if (state !== told) await stream.writeSSE({ event: "state", data: state });
      else if (quiet >= ALIVE_EVERY) await stream.writeSSE({ event: "alive", data: "" });
      quiet = state === told && quiet < ALIVE_EVERY ? quiet + pause : 0;
      told = state;
      await stream.sleep(pause);
    }
  });
}
