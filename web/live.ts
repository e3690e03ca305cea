/** Things from the server that change while they are looked at. */
import { useEffect, useState } from "preact/hooks";
import type { RunState } from "../src/watch/api.js";

/** A thing that is asked for: what came last, and what went wrong since. */
export interface Asked<T> {
  readonly value: T | undefined;
  readonly error: string | undefined;
}

/**
 * Asks again whenever `key` changes. The old value stays in sight until the new one is there; of questions that overtake each other
 * the newest counts.
 */
export function useAsked<T>(key: string, question: () => Promise<T>): Asked<T> {
  const [asked, setAsked] = useState<Asked<T>>({ value: undefined, error: undefined });
  useEffect(() => {
    let isNewest = true;
    question().then(
      (value) => isNewest && setAsked({ value, error: undefined }),
      (error: Error) => isNewest && setAsked((before) => ({ ...before, error: error.message })),
    );
    return () => {
      isNewest = false;
    };
  }, [key]);
  return asked;
}

/**
 * Listens to the server while the tab is in sight: browsers allow few connections to one server, and hidden tabs would take them.
 * @param path below `api/`; undefined: nothing is listened to
 */
export function useEvents<T>(path: string | undefined): T | undefined {
  const [state, setState] = useState<{ readonly path: string; readonly value: T }>();
  useEffect(() => {
    if (path === undefined) return;
    let source: EventSource | undefined;
    const listen = () => {
      source?.close();
      source = undefined;
      if (document.hidden) return;
      source = new EventSource(`./api/${path}`);
      source.addEventListener("state", ({ data }) => setState({ path, value: JSON.parse(data) as T }));
    };
    listen();
    document.addEventListener("visibilitychange", listen);
    return () => {
      document.removeEventListener("visibilitychange", listen);
      source?.close();
    };
  }, [path]);
  return state?.path === path ? state?.value : undefined;
}

/** What is new in a run. */
export function useRunState(run: string): RunState | undefined {
  return useEvents<RunState>(`events?run=${encodeURIComponent(run)}`);
}
