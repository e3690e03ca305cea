/**
 * Who may ask. The server reads files of its user, so no other machine and no page of another site may: requests must name this
 * machine's own address, and where it listens to others every request must bring a token.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { MiddlewareHandler } from "hono";
import { getCookie, setCookie } from "hono/cookie";
import { isLoopback } from "../host/worlds/loopback.js";
import { RequestError } from "./errors.js";

export interface GuardOptions {
  /** Address that the server listens on. */
  readonly host: string;
  /** Needed where that is not this machine alone. */
  readonly token: string | undefined;
}

const COOKIE = "uncouple_watch";

/** Texts are the page's own: nothing from elsewhere is loaded, run, framed or sent to. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Refuses everybody else, and everything but reading. */
export function guard({ host, token }: GuardOptions): MiddlewareHandler {
  return async (context, next) => {
    const { req } = context;
    if (req.method !== "GET" && req.method !== "HEAD")
      throw new RequestError(405, `[watch] runs are only read: got ${req.method}, expected GET.`);
    // a page of another site can reach a loopback port by a name of its own
    if (isLoopback(host) && !isLoopback(hostName(req.header("host") ?? "")))
      throw new RequestError(
        403,
        "[watch] this server answers to names of this machine only. Use the address that it printed.",
      );
    if (token !== undefined) {
      const given = req.query("token");
      if (given !== undefined && isSame(given, token)) {
        setCookie(context, COOKIE, token, { httpOnly: true, sameSite: "Strict", path: "/" });
        // the token must not stay in the address, which is shown and remembered
        return context.redirect("/");
      }
      const kept = bearer(req.header("authorization")) ?? getCookie(context, COOKIE);
      if (kept === undefined || !isSame(kept, token))
        throw new RequestError(
          401,
          "[watch] a token is needed: open the address that was printed, with its token.",
        );
    }
    await next();
    const { headers } = context.res;
    if (!headers.has("content-security-policy")) headers.set("content-security-policy", POLICY);
    headers.set("x-content-type-options", "nosniff");
    headers.set("referrer-policy", "no-referrer");
    headers.set("cross-origin-resource-policy", "same-origin");
  };
}

/** Name in a Host header, without its port. */
function hostName(header: string): string {
  return header
    .replace(/:\d*$/, "")
    .replace(/^\[|\]$/g, "")
    .toLowerCase();
}

function bearer(header: string | undefined): string | undefined {
  return header?.startsWith("Bearer ") ? header.slice("Bearer ".length) : undefined;
}

/** Takes the same time whatever is given. */
function isSame(given: string, expected: string): boolean {
  const [a, b] = [given, expected].map((text) => createHash("sha256").update(text).digest());
  return timingSafeEqual(a, b);
}
