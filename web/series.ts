/** Columns and evaluations of a run, kept up to date while it grows. */
import { useEffect, useState } from "preact/hooks";
import type { EvaluationPoint, RunState, Series } from "../src/watch/api.js";
import { api } from "./api.js";
import { type Asked, useAsked } from "./live.js";
import { joined } from "./panels.js";

/**
 * @param state what the server last told: new lines are asked for when it has changed
 * @param early a sample of these columns that was asked for before
 */
export function useSeries(
  run: string,
  keys: readonly string[],
  state: RunState,
  early?: Promise<Series>,
): Asked<Series> {
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
    const show = (value: Series) => {
      if (isNewest) setAsked({ value, error: undefined, keys: wanted });
      return value;
    };
    const read = async () => {
      // of a long run the course is there at once, the rest follows
      const shown = asked.value === undefined ? show(await (early ?? api.sample(run, keys))) : known;
      const from = shown?.stride === 1 ? shown.total : 0;
      show(joined(shown, await api.series(run, keys, from, shown?.generation ?? 0)));
    };
    read().catch((error: Error) => isNewest && setAsked((before) => ({ ...before, error: error.message })));
    return () => {
      isNewest = false;
    };
  }, [newest]);
  return asked;
}

export function useEvaluations(run: string, state: RunState): Asked<EvaluationPoint[]> {
  return useAsked(`${run} ${state.generation} ${state.evaluations}`, () => api.evaluations(run));
}
