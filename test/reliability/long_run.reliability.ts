/**
 * Ten thousand small updates in one process: memory stays flat, and the last thousand cost what the first cost. What an update
 * costs on a busy machine depends on its neighbours, in processor time too; so each of these two thousands is measured beside a
 * fresh process, a few updates of one and then as many of the other, and the quotients are compared.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { quantile } from "../../src/core/statistics.js";
import { buildForTest } from "../support/built.js";
import type { UpdatesTaken } from "../support/updates_process.js";

const THOUSAND = 1000;
/** Updates of one process before it is the other's turn. */
const TURN = 20;

const built = buildForTest("long-run", ["test/support"]);
const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) child.kill();
  built.remove();
});

async function start(): Promise<(count: number) => Promise<UpdatesTaken>> {
  const program = join(built.folder, "test", "support", "updates_process.js");
  const child = fork(program, { execArgv: ["--expose-gc"] });
  children.push(child);
  await once(child, "message");
  return async (count) => {
    child.send(count);
    const [taken] = await once(child, "message");
    return taken as UpdatesTaken;
  };
}

type Taking = (count: number) => Promise<UpdatesTaken>;

/** A thousand updates of a process beside those of a fresh one. @returns the middle of the quotients, and its last state */
async function besideFresh(taking: Taking): Promise<{ quotient: number; end: UpdatesTaken }> {
  const fresh = await start();
  await fresh(THOUSAND);
  const quotients: number[] = [];
  let end: UpdatesTaken | undefined;
  for (let turn = 0; turn < THOUSAND / TURN; turn++) {
    end = await taking(TURN);
    quotients.push(end.seconds / (await fresh(TURN)).seconds);
  }
  children.pop()?.kill();
  return { quotient: quantile(quotients, 0.5), end: end as UpdatesTaken };
}

test("10,000 updates", async () => {
  const taking = await start();
  // compiles, fills the pools, and lets the program settle
  await taking(THOUSAND);
  const first = await besideFresh(taking);
  const between: UpdatesTaken[] = [];
  for (let thousand = 0; thousand < 8; thousand++) between.push(await taking(THOUSAND));
  const last = await besideFresh(taking);
  const change = last.quotient / first.quotient - 1;
  const states = [first.end, ...between, last.end];
  const mebibytes = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
  console.log(
    `processor time of the last thousand against the first: ${(100 * change).toFixed(2)} %\n` +
      states
        .map(
          ({ live, heap, resident }) =>
            `GPU ${live} B, heap ${mebibytes(heap)} MiB, process ${mebibytes(resident)} MiB`,
        )
        .join("\n"),
  );
  expect(new Set(states.map(({ live }) => live)).size).toBe(1);
  expect(last.end.heap - first.end.heap).toBeLessThan(4 * 2 ** 20);
  expect(last.end.resident - first.end.resident).toBeLessThan(32 * 2 ** 20);
  expect(change).toBeLessThan(0.02);
});
