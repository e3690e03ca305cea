/** What the page can ask for. Every answer is JSON; the report of a coupling analysis is a page of its own. */
import { Hono } from "hono";
import { z } from "zod";
import type { AnchorPage, GroupPage } from "./api.js";
import { analysisReport, couplingInfluence, linkedPairs } from "./coupling_view.js";
import { notFound, RequestError } from "./errors.js";
import { eventStream } from "./events.js";
import { anchorStates, episodePage, GROUP_ORDERS, groupLines } from "./groups.js";
import type { OpenRuns } from "./open_runs.js";
import type { UpdateRollouts } from "./rollout_store.js";

/** Groups and states of one answer. */
const PAGE = 60;
/** Names of metrics in one question. */
const MOST_KEYS = 200;

const count = z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const paging = z.object({ from: count.default(0), order: z.enum(GROUP_ORDERS).default("number") });
const seriesQuery = z.object({
  keys: z.string().default(""),
  from: count.default(0),
  generation: count.default(0),
});

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

export function apiRoutes(runs: OpenRuns): Hono {
  const api = new Hono();
  const rollouts = async (run: string, step: string): Promise<UpdateRollouts> => {
    const found = await (await runs.get(run)).rollouts.update(checked(count, step));
    if (found === undefined) throw notFound(`rollouts of update ${step}; a run keeps them with log.rollouts`);
    return found;
  };

  api.get("/runs", async (context) => context.json(await runs.lines()));
  api.get("/runs/:run", async (context) =>
    context.json(await (await runs.get(context.req.param("run"))).detail()),
  );
  api.get("/runs/:run/series", async (context) => {
    const { keys, from, generation } = checked(seriesQuery, context.req.query());
    const run = await runs.get(context.req.param("run"));
    await run.refresh();
    const wanted = keys
      .split(",")
      .filter((key) => key !== "")
      .slice(0, MOST_KEYS);
    const isSame = generation === run.generation;
    return context.json(run.metrics.series(wanted, isSame ? from : 0, run.generation));
  });
  api.get("/runs/:run/evaluations", async (context) => {
    const run = await runs.get(context.req.param("run"));
    await run.refresh();
    return context.json(run.evaluations);
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
