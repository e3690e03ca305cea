/** The line protocol: texts of requests, replies cut anywhere, and a client against a gateway that goes wrong. */
import { existsSync, readdirSync } from "node:fs";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { WorldError } from "../../src/core/errors.js";
import { JavaSimulator } from "../../src/host/worlds/java_simulator.js";
import { LineReader } from "../../src/host/worlds/line_reader.js";
import {
  decodeReply,
  encodeCall,
  encodeConstruct,
  encodeFree,
  JavaException,
  JavaReference,
} from "../../src/host/worlds/py4j_protocol.js";
import { temporaryFolder } from "../support/folders.js";
import { type Fault, smallScienceGame, stubJava, writeSmallGame } from "../support/scienceworld.js";

const scratch = temporaryFolder();
const open: JavaSimulator[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((simulator) => simulator.close()));
});

async function start(fault?: Fault, timeLimit = 20_000, valid?: readonly string[]): Promise<JavaSimulator> {
  const steps = smallScienceGame.steps.map((step) => ({ ...step, valid: valid ?? step.valid }));
  const java = stubJava([writeSmallGame(scratch, { steps })], fault);
  const simulator = await JavaSimulator.start({ jar: "stub.jar", java, timeLimit });
  open.push(simulator);
  await simulator.load("boil", 3, "easy", false);
  return simulator;
}

describe("texts", () => {
  test("requests", () => {
    expect(encodeCall("o7", "step", ["a\\b\nc\rd"])).toBe("c\no7\nstep\nsa\\\\b\\nc\\rd\ne\n");
    const reference = new JavaReference("o3");
    expect(encodeCall("t", "load", [3, 0.5, true, false, null, reference])).toBe(
      "c\nt\nload\ni3\nd0.5\nbTrue\nbFalse\nn\nro3\ne\n",
    );
    expect(encodeConstruct("a.B", [])).toBe("i\na.B\ne\n");
    expect(encodeFree(reference)).toBe("m\nd\no3\ne\n");
  });

  test("replies", () => {
    const values = [
      "!ysa\\\\b\\nc\\rd",
      "!yi-3",
      "!yL7",
      "!yd1.0E-3",
      "!ybtrue",
      "!ybfalse",
      "!yv",
      "!yn",
    ].map(decodeReply);
    expect(values).toEqual(["a\\b\nc\rd", -3, 7, 0.001, true, false, null, null]);
    expect(decodeReply("!ylo12")).toEqual(new JavaReference("o12"));
    expect(decodeReply("!yro0")).toEqual(new JavaReference("o0"));
    expect(() => decodeReply("!xsno\\nway")).toThrow(new JavaException("no\nway"));
    expect(() => decodeReply("!x")).toThrow(JavaException);
    for (const line of [
      "",
      "!",
      "!y",
      "y",
      "!yq1",
      "!yix",
      "!ydone",
      "!ybyes",
      "!yl",
      "!yrx",
      "!z",
      "!xq",
      "sabc",
    ])
      expect(() => decodeReply(line), line).toThrow(WorldError);
  });

  test("any text comes back as it was sent, cut into chunks anywhere", () => {
    const texts = fc.array(fc.string({ unit: "grapheme" }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(texts, fc.array(fc.nat(40), { maxLength: 30 }), (sent, cuts) => {
        // what a request does to a text a reply does too
        const lines = sent.map((text) => encodeCall("t", "m", [text]).split("\n")[3].replace("s", "!ys"));
        let rest = Buffer.from(`${lines.join("\n")}\n`);
        const reader = new LineReader("test");
        const found: string[] = [];
        for (const cut of cuts) {
          found.push(...reader.push(rest.subarray(0, cut)));
          rest = rest.subarray(cut);
        }
        found.push(...reader.push(rest));
        expect(found.map(decodeReply)).toEqual(sent);
      }),
    );
  });

  test("a reply of any length, cut into pieces of 8 KB and ended anywhere, is whole or not there", () => {
    const PIECE = 8192;
    const text = fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(text, fc.nat(2000), fc.double({ min: 0, max: 1, noNaN: true }), (part, count, share) => {
        const sent = part.repeat(count);
        const whole = Buffer.from(`!ys${encodeCall("t", "m", [sent]).split("\n")[3].slice(1)}\n`);
        const pieces = (bytes: Buffer) =>
          Array.from({ length: Math.ceil(bytes.length / PIECE) }, (_, index) =>
            bytes.subarray(PIECE * index, PIECE * (index + 1)),
          );
        const read = (bytes: Buffer) => {
          const reader = new LineReader("test");
          return pieces(bytes).flatMap((piece) => reader.push(piece));
        };
        expect(read(whole).map(decodeReply)).toEqual([sent]);
        // cut off before its end there is no reply at all: half a text is never taken for one
        expect(read(whole.subarray(0, Math.floor(share * (whole.length - 1))))).toEqual([]);
      }),
    );
  });

  test("no bytes do more than end in a WorldError or a JavaException", () => {
    const bytes = fc.uint8Array({ maxLength: 60 }).map((tail) => Buffer.from(tail));
    const start = fc.constantFrom("", "!y", "!x", "!z", "!ys", "!yi", "!yd", "!yro", "!xr");
    fc.assert(
      fc.property(start, bytes, (head, tail) => {
        try {
          new LineReader("test")
            .push(Buffer.concat([Buffer.from(head), tail, Buffer.from("\n")]))
            .forEach(decodeReply);
        } catch (error) {
          expect(error instanceof WorldError || error instanceof JavaException).toBe(true);
        }
      }),
    );
  });
});

describe("the client", () => {
  test("reads long and strange texts, pieces of 8 KB after each other", async () => {
    const simulator = await start();
    for (const { action, observation, moves, look, inventory } of smallScienceGame.steps) {
      expect(await simulator.step(action)).toBe(observation);
      expect(await simulator.moves()).toBe(moves);
      expect(await simulator.look()).toBe(look);
      expect(await simulator.inventory()).toBe(inventory);
    }
    expect(await simulator.score()).toBe(1);
    expect(await simulator.completed()).toBe(true);
  });

  // Longer replies stall for 40 ms, as do requests sent ahead and requests in two writes.
  test.each([10, 119, 120, 121, 3100])(
    "fetches %i commands in replies below 8 KB, one request at a time",
    async (count) => {
      const valid = Array.from(
        { length: count },
        (_, index) => `use thing ${index} on ${"x".repeat(index % 90)}`,
      );
      const simulator = await start(undefined, 20_000, valid);
      await simulator.step("look around");
      const { client } = simulator.java;
      // not awaited one by one: the client keeps them apart itself
      const [first, second] = await Promise.all([simulator.validCommands(), simulator.validCommands()]);
      expect(first).toEqual(valid);
      expect(second).toEqual(valid);
      const { longest, ahead, cut, freed, made } = JSON.parse(
        String(await client.call(simulator.id, "getStatistics")),
      );
      expect({ ahead, cut, kept: made - freed }).toEqual({ ahead: 0, cut: 0, kept: 1 });
      expect(longest).toBeLessThan(8192);
    },
  );

  test("fetches nothing from an empty list, and empty texts", async () => {
    const simulator = await start(undefined, 20_000, []);
    await simulator.step("look around");
    expect(await simulator.validCommands()).toEqual([]);
    const other = await start(undefined, 20_000, [""]);
    await other.step("look around");
    expect(await other.validCommands()).toEqual([""]);
  });

  test.each([
    ["exception", "java.lang.Error: broken\n\tat stub"],
    ["exception object", "java.lang.Error: broken object"],
  ])("%s: the call fails, the next one does not", async (kind, message) => {
    const simulator = await start({ kind, step: 1 });
    await expect(simulator.step("look around")).rejects.toThrow(new JavaException(message));
    expect(simulator.alive).toBe(true);
    expect(await simulator.step("look around")).toBe(smallScienceGame.steps[0].observation);
  });

  test.each([
    ["truncated", /connection closed/],
    ["crash", /connection closed|connection failed/],
    ["garbage", /garbage: got \[py4j\] not a reply: got "what\?"/],
    ["fatal", /garbage/],
    ["wrong type", /garbage/],
    ["no utf8", /not UTF-8/],
  ])("%s: this call and all after it fail", async (kind, message) => {
    const simulator = await start({ kind, step: 1 });
    const calls = [simulator.step("look around"), simulator.score()];
    for (const call of await Promise.allSettled(calls)) {
      expect(call.status).toBe("rejected");
      expect((call as PromiseRejectedResult).reason).toBeInstanceOf(WorldError);
    }
    await expect(simulator.moves()).rejects.toThrow(message);
    expect(simulator.alive).toBe(false);
  });

  test("a reply that nobody asked for ends the connection before the next call", async () => {
    const simulator = await start({ kind: "unasked", step: 1 });
    expect(await simulator.step("look around")).toBe(smallScienceGame.steps[0].observation);
    await expect(simulator.score()).rejects.toThrow(/unasked reply/);
  });

  test("a hang ends at the time limit", async () => {
    const simulator = await start({ kind: "hang", step: 1 }, 1500);
    await expect(simulator.step("look around")).rejects.toThrow(/no reply: got none for 1.5 s/);
  });
});

describe("the process", () => {
  /** A program that takes Java's options and does something else. */
  const node = (code: string) => [process.execPath, "-e", code, "--"];

  test.each([
    [["/no/such/java"], /program does not start: got ENOENT for `\/no\/such\/java`/],
    [node("console.error('no main'); process.exit(3)"), /got exit code 3.*It said: no main/s],
    [node("console.log('hello'); setInterval(() => {}, 99)"), /got "hello\\n", expected its port/],
    [node("console.log('1')"), /connection failed|exit code/],
  ])("%j is no gateway", async (java, message) => {
    await expect(JavaSimulator.start({ jar: "stub.jar", java, timeLimit: 20_000 })).rejects.toThrow(message);
  });

  test("runs in a folder of its own, which goes with it", async () => {
    const simulator = await start();
    const { folder } = simulator.java;
    expect(readdirSync(folder)).toEqual(["object_type_ids.tsv"]);
    await simulator.close();
    expect([existsSync(folder), existsSync("object_type_ids.tsv")]).toEqual([false, false]);
  });

  test("may print as much as it likes, without an end of line too", async () => {
    const simulator = await start({ kind: "flood", step: 2 });
    for (const { action, observation } of smallScienceGame.steps.slice(0, 3)) {
      expect(await simulator.step(action)).toBe(observation);
    }
  });

  test("a program that prints without an end before its port is given up", async () => {
    const java = node("for (;;) process.stdout.write('x'.repeat(1e5))");
    await expect(JavaSimulator.start({ jar: "stub.jar", java, timeLimit: 20_000 })).rejects.toThrow(
      /got "x{80}", expected its port/,
    );
  });

  test("a silent program is given up", async () => {
    const java = node("setInterval(() => {}, 99)");
    await expect(JavaSimulator.start({ jar: "stub.jar", java, timeLimit: 300 })).rejects.toThrow(
      /nothing for 0.3 s/,
    );
  });
});
