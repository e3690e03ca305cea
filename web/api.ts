/** Questions to the server. */
import type {
  AnchorPage,
  ApiError,
  BenchHistory,
  BenchList,
  BenchView,
  EpisodePage,
  EvaluatedEpisode,
  EvaluatedPage,
  EvaluationPoint,
  GroupPage,
  LinkedPair,
  RunDetail,
  RunLine,
  Series,
} from "../src/watch/api.js";

/** @throws Error with the server's own words */
async function ask<T>(path: string): Promise<T> {
  const response = await fetch(`./api/${path}`);
  if (response.ok) return (await response.json()) as T;
  const { error } = (await response
    .json()
    .catch(() => ({ error: `the server answered ${response.status}` }))) as ApiError;
  throw new Error(error);
}

const of = (run: string) => `runs/${encodeURIComponent(run)}`;

export const api = {
  runs: () => ask<RunLine[]>("runs"),
  run: (run: string) => ask<RunDetail>(of(run)),
  sample: (run: string, keys: readonly string[]) =>
    ask<Series>(`${of(run)}/sample?${new URLSearchParams({ keys: keys.join(",") })}`),
  series: (run: string, keys: readonly string[], from: number, generation: number) =>
    ask<Series>(
      `${of(run)}/series?${new URLSearchParams({ keys: keys.join(","), from: `${from}`, generation: `${generation}` })}`,
    ),
  evaluations: (run: string) => ask<EvaluationPoint[]>(`${of(run)}/evaluations`),
  evaluated: (run: string, step: number) => ask<EvaluatedPage>(`${of(run)}/evaluations/${step}/episodes`),
  evaluatedEpisode: (run: string, step: number, index: number) =>
    ask<EvaluatedEpisode>(`${of(run)}/evaluations/${step}/episodes/${index}`),
  groups: (run: string, step: number, order: string, from: number) =>
    ask<GroupPage>(`${of(run)}/updates/${step}/groups?order=${order}&from=${from}`),
  episode: (run: string, step: number, group: number, episode: number) =>
    ask<EpisodePage>(`${of(run)}/updates/${step}/groups/${group}/episodes/${episode}`),
  anchors: (run: string, step: number, from: number) =>
    ask<AnchorPage>(`${of(run)}/updates/${step}/anchors?from=${from}`),
  benchmarks: () => ask<BenchList>("benchmarks"),
  benchView: (adapter: string, preset: string) =>
    ask<BenchView>(`benchmarks/view?${new URLSearchParams({ adapter, preset })}`),
  benchHistory: (key: string) => ask<BenchHistory>(`benchmarks/history?${new URLSearchParams({ key })}`),
  pairs: (run: string, analysis: string) =>
    ask<LinkedPair[]>(`${of(run)}/analyses/${encodeURIComponent(analysis)}/pairs`),
};

/** Address of the report of one analysis, or of two. @param analyses `<run>/<analysis>` */
export function reportAddress(analyses: readonly string[]): string {
  return `./api/report?${new URLSearchParams(analyses.map((one) => ["analysis", one]))}`;
}
