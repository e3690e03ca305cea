/**
 * Stands in for `java ... py4j.GatewayServer`: speaks the line protocol and plays recordings of the simulator. Run as
 *   node stub_gateway.mjs <plan as JSON> <options and class of Java, not looked at>
 * The plan: { games: [files], fault?: { kind, step, marker? }, delay? }. A fault comes at the given count of `step` calls; with
 * a marker file only in the first process that gets there.
 */
import { existsSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

const plan = JSON.parse(process.argv[2]);
const games = plan.games.map((file) => JSON.parse(readFileSync(file, "utf8")));
const NOT_PARSED = "No known action matches that input.";
/** Java's writer hands on so many characters at a time. */
const PIECE = 8192;

// the simulator leaves a file where it runs
writeFileSync("object_type_ids.tsv", "");

const objects = new Map();
const statistics = { longest: 0, ahead: 0, cut: 0, freed: 0, made: 0 };
let game;
let at = 0;
let bad = 0;
let steps = 0;

function make(value) {
  const id = `o${objects.size}`;
  objects.set(id, value);
  statistics.made++;
  return id;
}

const current = () => game.steps[Math.max(0, at - 1)];

const simulator = {
  load(task, variation, simplifications, gold) {
    const same = (one) => one.task === task && one.variation === variation;
    game = games.find((one) => same(one) && one.simplifications === simplifications);
    [at, bad] = [0, 0];
    if (game === undefined) return `ERROR: no recording of ${task} ${variation} ${simplifications}`;
    game.hasGold ||= gold;
    return "";
  },
  step(command) {
    const expected = game.steps[at];
    if (expected?.action === command) {
      at++;
      return expected.observation;
    }
    const [said, answer] = current().bad?.[bad] ?? [];
    if (said !== command) return NOT_PARSED;
    bad++;
    return answer;
  },
  getScore: () => ({ double: current().score < 0 ? -1 : current().score / 100 }),
  getCompleted: () => current().completed,
  getNumMoves: () => current().moves,
  getTaskDescription: () => game.taskDescription,
  freeActionLook: () => current().look,
  freeActionInventory: () => current().inventory,
  getValidActionObjectCombinations: () => current().valid ?? [],
  getPossibleActions: () => game.possibleActions,
  getPossibleObjects: () => game.steps[0].objects,
  getGoldActionSequence: () => (game.hasGold ? game.gold : []),
  getStatistics: () => JSON.stringify(statistics),
};

const escapeText = (text) => text.replaceAll("\\", "\\\\").replaceAll("\r", "\\r").replaceAll("\n", "\\n");
const unescapeText = (text) =>
  text.replace(/\\(.)/gs, (_, letter) => ({ n: "\n", r: "\r" })[letter] ?? letter);

function decode(line) {
  const text = line.slice(1);
  if (line[0] === "s") return unescapeText(text);
  if (line[0] === "i") return Number(text);
  if (line[0] === "b") return text === "True";
  if (line[0] === "r") return objects.get(text);
  throw new Error(`unknown argument ${line}`);
}

function encode(value) {
  if (value === undefined || value === null) return "!yv";
  if (typeof value === "string") return `!ys${escapeText(value)}`;
  if (typeof value === "number") return `!yi${value}`;
  if (typeof value === "boolean") return `!yb${value}`;
  if (value.double !== undefined) return `!yd${value.double.toFixed(6)}`;
  return `${Array.isArray(value) ? "!yl" : "!yr"}${make(value)}`;
}

function answer([verb, ...parts]) {
  if (verb === "i") {
    if (!parts[0].endsWith("PythonInterface")) return `!xs${escapeText(`no class ${parts[0]}\n\tat stub`)}`;
    return encode(simulator);
  }
  if (verb === "m") {
    objects.delete(parts[1]);
    statistics.freed++;
    return "!yv";
  }
  const [target, method, ...args] = parts;
  const values = args.map(decode);
  if (target === "z:java.lang.String" && method === "join") return encode(values[1].join(values[0]));
  const object = objects.get(target);
  if (Array.isArray(object)) return encode(method === "size" ? object.length : object.slice(...values));
  if (typeof object === "string" && method === "toString") return encode(object);
  return encode(object[method](...values));
}

/** The fault of this call, if it has one. */
function faultOf([verb, , method]) {
  if (verb !== "c" || method !== "step" || plan.fault === undefined) return undefined;
  steps++;
  const { kind, step, marker } = plan.fault;
  if (steps !== step || (marker && existsSync(marker))) return undefined;
  if (marker) writeFileSync(marker, kind);
  return kind;
}

/** Far more than a pipe holds; whoever does not read it stops this process for good, as it stops Java. */
function flood() {
  for (let count = 0; count < 400; count++) {
    writeWaiting(1, "Description: a room without an end\n".repeat(500));
    writeWaiting(2, `${"warning ".repeat(1000)}\n`);
  }
}

/** Node's own streams keep what does not fit. */
function writeWaiting(file, text) {
  let rest = Buffer.from(text);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(file, rest));
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    }
  }
}

async function send(socket, text) {
  statistics.longest = Math.max(statistics.longest, text.length);
  for (let start = 0; start < text.length; start += PIECE) {
    if (start > 0) await sleep(1);
    socket.write(text.slice(start, start + PIECE));
  }
}

async function reply(socket, request) {
  const kind = faultOf(request);
  if (plan.delay) await sleep(plan.delay);
  if (kind === "hang") return;
  if (kind === "flood") flood();
  if (kind === "exception") return send(socket, `!xs${escapeText("java.lang.Error: broken\n\tat stub")}\n`);
  if (kind === "exception object") return send(socket, `!xr${make("java.lang.Error: broken object")}\n`);
  if (kind === "garbage") return send(socket, "what?\n");
  if (kind === "no utf8") return void socket.write(Buffer.from([0x21, 0x79, 0x73, 0xff, 0xfe, 0x0a]));
  const text = answer(request);
  if (kind === "unasked") return send(socket, `${text}\n${text}\n`);
  if (kind === "wrong type") return send(socket, "!yi\n");
  if (kind === "fatal") return send(socket, "!zsError\n");
  if (kind === "truncated") {
    socket.write(text.slice(0, text.length >> 1), () => socket.destroy());
    return;
  }
  if (kind === "crash") {
    socket.write(text.slice(0, text.length >> 1), () => process.kill(process.pid, "SIGKILL"));
    return;
  }
  await send(socket, `${text}\n`);
}

createServer((socket) => {
  let buffered = "";
  let isBusy = false;
  socket.setEncoding("utf8");
  socket.on("error", () => undefined);
  socket.on("data", async (chunk) => {
    // one write holds one whole request, and none comes before the reply to the one before
    if (isBusy) statistics.ahead++;
    if (!chunk.endsWith("\ne\n")) statistics.cut++;
    buffered += chunk;
    if (isBusy) return;
    isBusy = true;
    for (let end = buffered.indexOf("\ne\n"); end >= 0; end = buffered.indexOf("\ne\n")) {
      const request = buffered.slice(0, end).split("\n");
      buffered = buffered.slice(end + 3);
      await reply(socket, request);
    }
    isBusy = false;
  });
}).listen(0, "127.0.0.1", function () {
  process.stdout.write(`${this.address().port}\n`);
  // as chatty as the simulator
  setInterval(() => process.stdout.write("Description: \n".repeat(50)), 5);
});

process.stdin.on("end", () => process.exit(0)).resume();
