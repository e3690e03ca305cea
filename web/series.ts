/** Columns and evaluations of a run, kept up to date while it grows. */
import { useEffect, useState } from "preact/hooks";
import type { EvaluationPoint, RunState, Series } from "../src/watch/api.js";
import { api } from "./api.js";
import { type Asked, useAsked } from "./live.js";
import { joined } from "./panels.js";

/** @param state what the server last told: new lines are asked for when it has changed */
export function useSeries(run: string, keys: readonly string[], state: RunState): Asked<Series> {
  const [asked, setAsked] = useState<Asked<Series> & { readonly keys: string }>({
    value: undefined,
    error: undefined,
    keys: "",
  });
  const wanted = keys.join();
  const newest = `${run} ${wanted} ${state.generation} ${state.metrics}`;
  useEffect(() => {
    let isNewest = true;
    const known = asked.keys === wanted ? asked.value : undefined;
    const from = known?.stride === 1 ? known.total : 0;
    api.series(run, keys, from, known?.generation ?? 0).then(
      (next) => isNewest && setAsked({ value: joined(known, next), error: undefined, keys: wanted }),
      (error: Error) => isNewest && setAsked((before) => ({ ...before, error: error.message })),
    );
    return () => {
      isNewest = false;
    };
  }, [newest]);
  return asked;
}

export function useEvaluations(run: string, state: RunState): Asked<EvaluationPoint[]> {
  return useAsked(`${run} ${state.generation} ${state.evaluations}`, () => api.evaluations(run));
}
