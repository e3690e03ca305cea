/** What the page can ask for. Every answer is JSON; the report of a coupling analysis is a page of its own. */
import { Hono } from "hono";
import { z } from "zod";
import type { EvaluationTranscript, RolloutRow } from "../core/run_record.js";
import { type AnchorPage, type BenchList, type EvaluatedPage, type GroupPage, PAGE } from "./api.js";
import type { BenchFolder } from "./bench_folder.js";
import { benchAdapters, benchHistory, benchView } from "./bench_view.js";
import { analysisReport, couplingInfluence, linkedPairs } from "./coupling_view.js";
import { notFound, RequestError } from "./errors.js";
import { evaluatedEpisode, evaluatedLine } from "./evaluated.js";
import { eventStream } from "./events.js";
import { anchorStates, episodePage, GROUP_ORDERS, groupLines } from "./groups.js";
import type { OpenRuns } from "./open_runs.js";
import type { UpdateRows } from "./step_files.js";

/** Names of metrics in one question. */
const MOST_KEYS = 200;

const count = z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const paging = z.object({ from: count.default(0), order: z.enum(GROUP_ORDERS).default("number") });
const seriesQuery = z.object({
  keys: z.string().default(""),
  from: count.default(0),
  generation: count.default(0),
});

const benchQuery = z.object({ adapter: z.string(), preset: z.string().default("") });

function wantedKeys(keys: string): string[] {
  return keys
    .split(",")
    .filter((key) => key !== "")
    .slice(0, MOST_KEYS);
}

/** @throws RequestError naming the first value that does not fit */
function checked<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [{ path, message }] = result.error.issues;
  throw new RequestError(
    400,
    `[watch] question is malformed: got ${message} at ${path.join(".") || "a number"}. Go back.`,
  );
}

/** Questions for saved benchmarks. */
function benchRoutes(benchmarks: BenchFolder): Hono {
  const api = new Hono();
  const there = async () => {
    const read = await benchmarks.read();
    if (read === undefined) throw notFound("a folder of benchmarks; uncouple bench --save makes one");
    return read;
  };
  api.get("/", async (context) => {
    const read = await benchmarks.read();
    const list: BenchList = {
      folder: read?.folder ?? null,
      problems: read?.problems ?? [],
      adapters: read ? benchAdapters(read) : [],
    };
    return context.json(list);
  });
  api.get("/view", async (context) => {
    const place = checked(benchQuery, context.req.query());
    const view = benchView(await there(), place);
    if (view === undefined) throw notFound(`figures of ${place.adapter}, preset ${place.preset}`);
    return context.json(view);
  });
  api.get("/history", async (context) => {
    const { key } = checked(z.object({ key: z.string() }), context.req.query());
    const history = benchHistory(await there(), key);
    if (history === undefined) throw notFound("a measurement that nobody made");
    return context.json(history);
  });
  return api;
}

export function apiRoutes(runs: OpenRuns, benchmarks: BenchFolder): Hono {
  const api = new Hono();
  api.route("/benchmarks", benchRoutes(benchmarks));
  const rollouts = async (run: string, step: string): Promise<UpdateRows<RolloutRow>> => {
    const found = await (await runs.get(run)).rollouts.update(checked(count, step));
    if (found === undefined) throw notFound(`rollouts of update ${step}; a run keeps them with log.rollouts`);
    return found;
  };

  api.get("/runs", async (context) => context.json(await runs.lines()));
  api.get("/runs/:run", async (context) =>
    context.json(await (await runs.get(context.req.param("run"))).detail(false)),
  );
  api.get("/runs/:run/sample", async (context) => {
    const { keys } = checked(seriesQuery, context.req.query());
    const run = await runs.get(context.req.param("run"));
    return context.json(await run.sample(wantedKeys(keys)));
  });
  api.get("/runs/:run/series", async (context) => {
    const { keys, from, generation } = checked(seriesQuery, context.req.query());
    const run = await runs.get(context.req.param("run"));
    await run.refresh();
    const isSame = generation === run.generation;
    return context.json(run.metrics.series(wantedKeys(keys), isSame ? from : 0, run.generation));
  });
  api.get("/runs/:run/evaluations", async (context) => {
    const run = await runs.get(context.req.param("run"));
    await run.refresh();
    return context.json(run.evaluations);
  });
  const transcripts = async (run: string, step: string): Promise<UpdateRows<EvaluationTranscript>> => {
    const found = await (await runs.get(run)).transcripts.update(checked(count, step));
    if (found === undefined)
      throw notFound(`episodes of the evaluation after update ${step}; log.evaluation_episodes keeps some`);
    return found;
  };
  api.get("/runs/:run/evaluations/:step/episodes", async (context) => {
    const { run, step } = context.req.param();
    const { rows, ...rest } = await transcripts(run, step);
    const page: EvaluatedPage = { ...rest, episodes: rows.map(evaluatedLine) };
    return context.json(page);
  });
  api.get("/runs/:run/evaluations/:step/episodes/:index", async (context) => {
    const { run, step, ...place } = context.req.param();
    const index = checked(count, place.index);
    const row = (await transcripts(run, step)).rows[index];
    if (row === undefined) throw notFound(`episode ${index} of the evaluation after update ${step}`);
    return context.json(evaluatedEpisode(row, index));
  });
  api.get("/runs/:run/updates/:step/groups", async (context) => {
    const { from, order } = checked(paging, context.req.query());
    const { run, step } = context.req.param();
    const { rows, damaged, ...update } = await rollouts(run, step);
    const lines = groupLines(rows, order);
    const verdicts = rows.filter(({ kind }) => kind === "classification").length;
    const page: GroupPage = {
      ...{ ...update, damaged, verdicts, from, total: lines.length },
      groups: lines.slice(from, from + PAGE),
    };
    return context.json(page);
  });
  api.get("/runs/:run/updates/:step/groups/:group/episodes/:episode", async (context) => {
    const { run, step, ...place } = context.req.param();
    const { rows } = await rollouts(run, step);
    const open = await runs.get(run);
    const episode = episodePage(
      rows,
      { group: checked(count, place.group), episode: checked(count, place.episode) },
      { decode: await open.decoder(), influence: await couplingInfluence(open, checked(count, step)) },
    );
    if (episode === undefined)
      throw notFound(`episode ${place.episode} of group ${place.group} in update ${step}`);
    return context.json(episode);
  });
  api.get("/runs/:run/updates/:step/anchors", async (context) => {
    const { from } = checked(paging, context.req.query());
    const { run, step } = context.req.param();
    const { rows, ...update } = await rollouts(run, step);
    const states = anchorStates(rows);
    const page: AnchorPage = {
      step: update.step,
      states: states.slice(from, from + PAGE),
      total: states.length,
      from,
    };
    return context.json(page);
  });
  api.get("/runs/:run/analyses/:name/pairs", async (context) => {
    const { run, name } = context.req.param();
    return context.json(await linkedPairs(await runs.get(run), name));
  });
  api.get("/report", async (context) => {
    const wanted = checked(
      z
        .array(z.string().regex(/^[^/]+\/[^/]+$/))
        .min(1)
        .max(2),
      context.req.queries("analysis") ?? [],
    );
    const { html, policy } = await analysisReport(runs, wanted);
    return context.html(html, 200, { "content-security-policy": policy });
  });
  api.get("/events", (context) => {
    const run = context.req.query("run");
    return run === undefined
      ? eventStream(context, () => runs.lines(), 3000)
      : eventStream(context, () => runs.state(run));
  });
  return api;
}
