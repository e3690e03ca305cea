/** Addresses inside the page: `#/run/<name>/<view>/...?key=value`. */
import { useEffect, useState } from "preact/hooks";

export interface Route {
  /** Decoded parts of the path. */
  readonly parts: readonly string[];
  readonly query: URLSearchParams;
}

function currentRoute(): Route {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { parts: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query) };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    // an address that somebody typed: it names no run, and the page says so
    return part;
  }
}

export function useRoute(): Route {
  const [route, setRoute] = useState(currentRoute);
  useEffect(() => {
    const changed = () => setRoute(currentRoute());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

type Query = Readonly<Record<string, string | number | readonly string[] | undefined>>;

/** Address of a view; what is undefined in the query is left out. */
export function link(parts: readonly (string | number)[], query: Query = {}): string {
  const pairs = Object.entries(query).flatMap(([key, value]) =>
    value === undefined ? [] : [value].flat().map((one) => [key, String(one)]),
  );
  const path = `#/${parts.map((part) => encodeURIComponent(part)).join("/")}`;
  return pairs.length === 0 ? path : `${path}?${new URLSearchParams(pairs)}`;
}
