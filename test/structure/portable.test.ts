/** `uncouple/core` in a context that has nothing of Node: only what browsers and workers have, too. */
import { builtinModules } from "node:module";
import { fileURLToPath } from "node:url";
import { createContext, runInContext } from "node:vm";
import { build, type Rolldown } from "vite";
import { expect, test } from "vitest";

const entry = fileURLToPath(new URL("../../src/portable.ts", import.meta.url));

async function bundle(): Promise<string> {
  const built = await build({
    configFile: false,
    logLevel: "error",
    plugins: [
      {
        name: "no-node",
        enforce: "pre",
        resolveId(source, importer) {
          if (source.startsWith("node:") || builtinModules.includes(source))
            throw new Error(`${importer} imports ${source}`);
        },
      },
    ],
    build: { write: false, minify: false, lib: { entry, formats: ["iife"], name: "uncouple" } },
  });
  const [{ output }] = built as Rolldown.RolldownOutput[];
  return output[0].code;
}

test("it loads and plays a game without Node", async () => {
  const context = createContext({ TextEncoder, TextDecoder, AbortController, performance });
  runInContext(await bundle(), context);
  const played = await runInContext(
    `(async () => {
      const world = uncouple.householdWorld({ sizes: { train: 1, in_domain: 0, out_of_domain: 0 } });
      const [task] = world.tasks("train");
      const environment = world.create();
      let { info } = await environment.reset({ options: { taskId: task.id } });
      for (const command of await world.expert(task.id)) ({ info } = await environment.step(command));
      return { won: info.won, globals: typeof process + typeof require + typeof Buffer, ops: typeof uncouple.rmsNorm };
    })()`,
    context,
  );
  expect(played).toEqual({ won: true, globals: "undefinedundefinedundefined", ops: "object" });
});
