/** Worlds over HTTP: ours offered to others, others' played, and servers that go wrong. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import { ConfigError, WorldError } from "../../src/core/errors.js";
import { householdWorld } from "../../src/env/household/world.js";
import { openOpenenvWorld } from "../../src/host/worlds/openenv_client.js";
import { type ServeOptions, WorldServer } from "../../src/host/worlds/openenv_server.js";

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const world = householdWorld({ seed: 3, sizes: { train: 4, in_domain: 2, out_of_domain: 0 } });

async function serve(options: Partial<ServeOptions> = {}): Promise<WorldServer> {
  const server = await WorldServer.start(world, { host: "127.0.0.1", port: 0, maxEpisodes: 4, ...options });
  closing.push(() => server.close());
  return server;
}

async function ask(server: WorldServer, path: string, body?: unknown, headers: Record<string, string> = {}) {
  const method = body === undefined ? "GET" : "POST";
  const content = typeof body === "string" ? body : JSON.stringify(body);
  const response = await fetch(server.url + path, { method, body: content, headers });
  // biome-ignore lint/suspicious/noExplicitAny: answers are compared field by field
  return { status: response.status, body: (await response.json()) as any };
}

/** A server of somebody else. @param answer gives status and body by path */
async function other(answer: (path: string, body: string) => [number, string] | undefined): Promise<string> {
  const server: Server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    const found = answer(request.url ?? "", body);
    if (found) response.writeHead(found[0]).end(found[1]);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  closing.push(async () => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("reset, step, state as OpenEnv has them", async () => {
  const server = await serve();
  const [task] = world.tasks("train");
  const environment = world.create();
  const first = await environment.reset({ options: { taskId: task.id } });
  const reset = await ask(server, "/reset", { episode_id: "one", task_id: task.id });
  expect(reset).toMatchObject({ status: 200, body: { reward: null, done: false } });
  expect(reset.body.observation).toMatchObject({
    text: first.obs,
    task: first.task,
    episode_id: "one",
    won: false,
  });
  expect(reset.body.observation.admissible_commands).toEqual(first.info.admissibleCommands);
  for (const command of (await world.expert(task.id)) ?? []) {
    const { obs, reward, terminated, info } = await environment.step(command);
    // without an id it is the episode that was reset last
    const { body } = await ask(server, "/step", { action: { command } });
    expect(body).toMatchObject({
      reward,
      done: terminated,
      observation: { text: obs, won: info.won, terminated },
    });
  }
  const plan = (await world.expert(task.id))?.length;
  const { body } = await ask(server, "/state?episode_id=one");
  expect(body).toEqual({ episode_id: "one", step_count: plan, task: first.task, done: true });
  expect((await ask(server, "/health")).body).toEqual({ status: "healthy" });
  expect((await ask(server, "/schema")).body.action.required).toEqual(["command"]);
  expect((await ask(server, "/metadata")).body.name).toBe("household");
});

test("episodes are kept apart, and the one not used for longest gives way", async () => {
  const server = await serve({ maxEpisodes: 2 });
  const [one, two] = world.tasks("train");
  await ask(server, "/reset", { episode_id: "a", task_id: one.id });
  await ask(server, "/reset", { episode_id: "b", task_id: two.id });
  const a = await ask(server, "/step", { action: { command: "look" }, episode_id: "a" });
  const b = await ask(server, "/step", { action: { command: "look" }, episode_id: "b" });
  expect(a.body.observation.task_id).toBe(one.id);
  expect(b.body.observation.task_id).toBe(two.id);
  await ask(server, "/reset", { episode_id: "c" });
  expect((await ask(server, "/step", { action: { command: "look" }, episode_id: "a" })).status).toBe(409);
  expect((await ask(server, "/close", { episode_id: "b" })).status).toBe(200);
  expect((await ask(server, "/state?episode_id=b")).status).toBe(409);
});

test.each([
  ["/step", { action: { command: "look" } }, 409, /reset first/],
  ["/step", { action: { message: "look" } }, 422, /action.command/],
  ["/reset", "{", 422, /no JSON object/],
  ["/reset", "[]", 422, /no JSON object/],
  ["/reset", { task_id: "nothing" }, 422, /unknown task/],
  ["/reset", `"${"x".repeat(2 << 20)}"`, 413, /too long/],
  ["/nothing", {}, 404, /no such place/],
])("POST %s of %j is refused", async (path, body, status, message) => {
  const answer = await ask(await serve(), path, body);
  expect(answer.status).toBe(status);
  expect(answer.body.detail).toMatch(message);
});

test("a token where others can connect, names of loopback elsewhere", async () => {
  await expect(serve({ host: "0.0.0.0" })).rejects.toThrow(ConfigError);
  const server = await serve({ token: "secret" });
  expect((await ask(server, "/health")).status).toBe(401);
  expect((await ask(server, "/health", undefined, { authorization: "Bearer wrong!" })).status).toBe(401);
  expect((await ask(server, "/health", undefined, { authorization: "Bearer secret" })).status).toBe(200);
  const client = await openOpenenvWorld({ url: server.url, token: "secret", timeLimit: 20 });
  expect(client.id).toBe("household");
  await expect(openOpenenvWorld({ url: server.url, timeLimit: 20 })).rejects.toThrow(/got 401/);
  await expect(serve({ port: Number(new URL(server.url).port) })).rejects.toThrow(/EADDRINUSE/);
});

test("our client plays our server as the world itself", async () => {
  const server = await serve();
  const client = await openOpenenvWorld({ url: server.url, timeLimit: 20, maxEnvironments: 2 });
  closing.push(() => client.close());
  expect(client.splits).toEqual(world.splits);
  expect(client.tasks("train")).toEqual(world.tasks("train"));
  const [one, two] = world.tasks("train");
  const [far, near] = [client.create(), world.create()];
  const options = { options: { taskId: one.id } };
  const interrupting = client.create();
  const first = await far.reset(options);
  expect(first).toMatchObject({ ...(await near.reset(options)), info: { taskId: one.id } });
  await interrupting.reset({ options: { taskId: two.id } });
  for (const command of (await world.expert(one.id)) ?? []) {
    const { info, ...step } = await near.step(command);
    const answer = await far.step(command);
    expect(answer).toMatchObject(step);
    expect(answer.info).toMatchObject({ won: info.won, admissibleCommands: info.admissibleCommands });
  }
  await far.close();
});

test("a server that lists no tasks is played by seeds, and a reward at the end is a win", async () => {
  const asked: unknown[] = [];
  const url = await other((path, body) => {
    asked.push([path, body === "" ? undefined : JSON.parse(body)]);
    if (path === "/health") return [200, "{}"];
    if (path === "/reset")
      return [200, JSON.stringify({ observation: { prompt: "guess" }, reward: null, done: false })];
    if (path === "/step")
      return [200, JSON.stringify({ observation: { prompt: "right" }, reward: 2, done: true })];
    return [404, ""];
  });
  const names = { actionField: "message", textField: "prompt", seeds: 3 };
  const client = await openOpenenvWorld({ url, timeLimit: 20, ...names });
  closing.push(() => client.close());
  expect(client.tasks("train").map(({ id }) => id)).toEqual(["seed/0", "seed/1", "seed/2"]);
  const environment = client.create();
  expect((await environment.reset({ options: { taskId: "seed/2" } })).obs).toBe("guess");
  const end = await environment.step("crane");
  expect(end).toMatchObject({ obs: "right", reward: 2, terminated: true, info: { won: true } });
  expect(asked).toContainEqual(["/reset", expect.objectContaining({ seed: 2 })]);
  expect(asked).toContainEqual(["/step", expect.objectContaining({ action: { message: "crane" } })]);
  await environment.close();
});

test.each([
  [() => [500, "broken"] as [number, string], /got 500 broken/],
  [() => [200, "<html>"] as [number, string], /no answer/],
  [() => undefined, /no answer/],
])("a server that goes wrong is told", async (answer, message) => {
  const url = await other(answer);
  await expect(openOpenenvWorld({ url, timeLimit: 1 })).rejects.toThrow(message);
  await expect(openOpenenvWorld({ url: "ws://x", timeLimit: 1 })).rejects.toThrow(ConfigError);
  await expect(openOpenenvWorld({ url: "http://127.0.0.1:9", timeLimit: 1 })).rejects.toThrow(WorldError);
});
