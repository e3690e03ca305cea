/** A Java process with a Py4J gateway. */
import type { ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { WorldError } from "../../core/errors.js";
import { endProgram, startProgram } from "./child_guard.js";
import { Py4jClient } from "./py4j_client.js";

export interface JavaOptions {
  /** File that holds the classes. */
  readonly jar: string;
  /** Program to run, and options before all others. Default: `java`. */
  readonly java?: readonly string[];
  /** Milliseconds that the start and each reply may take. */
  readonly timeLimit: number;
}

/** The serial collector and a small heap: the heap only grows to what it is given, and several processes share a machine. */
const JAVA_OPTIONS = ["-Xmx512m", "-XX:+UseSerialGC"];

/** What is kept of a program's last words, for messages. */
const LAST_WORDS = 2000;

/** Milliseconds from the closed input to the kill. */
const GRACE = 1000;

/** A running gateway and the connection to it. */
export class JavaProcess {
  private constructor(
    readonly child: ChildProcess,
    readonly client: Py4jClient,
    /** Where it runs: the simulator writes a file into its working directory. */
    readonly folder: string,
  ) {}

  /**
   * Starts `py4j.GatewayServer`, which picks a free port of 127.0.0.1, prints it, and ends when its input is closed, as it is
   * when this process ends in whatever way.
   * @throws WorldError when it does not start
   */
  static async start({ jar, java = ["java"], timeLimit }: JavaOptions): Promise<JavaProcess> {
    const gateway = ["-cp", resolve(jar), "py4j.GatewayServer", "--die-on-broken-pipe", "0"];
    const folder = await mkdtemp(join(tmpdir(), "uncouple-java-"));
    let child: ChildProcess | undefined;
    try {
      child = await startProgram([...java, ...JAVA_OPTIONS, ...gateway], { cwd: folder });
      const port = await portOf(child, timeLimit);
      return new JavaProcess(child, await Py4jClient.connect(port, timeLimit), folder);
    } catch (error) {
      if (child) await endProgram(child, 0);
      await removeFolder(folder);
      throw error;
    }
  }

  get alive(): boolean {
    return this.client.alive && this.child.exitCode === null && this.child.signalCode === null;
  }

  async close(): Promise<void> {
    this.client.close();
    await endProgram(this.child, GRACE);
    await removeFolder(this.folder);
  }
}

async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
}

/** The first line that the gateway prints. All output after it is read and thrown away: a full pipe would stop the process. */
async function portOf(child: ChildProcess, timeLimit: number): Promise<number> {
  let output = "";
  let errors = "";
  let isDone = false;
  child.stderr?.on("data", (chunk: Buffer) => {
    errors = (errors + chunk.toString("utf8")).slice(-LAST_WORDS);
  });
  return new Promise((resolve, reject) => {
    const fail = (got: string) => {
      clearTimeout(timer);
      isDone = true;
      const words = errors.trim() === "" ? "" : ` It said: ${errors.trim().slice(0, 500)}`;
      reject(
        new WorldError(
          `[java] gateway does not start: got ${got}, expected its port. Check the jar and \`java -version\`.${words}`,
        ),
      );
    };
    const timer = setTimeout(() => fail(`nothing for ${timeLimit / 1000} s`), timeLimit);
    child.once("close", (code, signal) => fail(`exit code ${code ?? signal}`));
    child.stdout?.on("data", (chunk: Buffer) => {
      if (isDone) return;
      output += chunk.toString("latin1");
      const end = output.indexOf("\n");
      if (end < 0 && output.length < LAST_WORDS) return;
      const port = /^(\d{1,5})\r?$/.exec(output.slice(0, end))?.[1];
      if (port === undefined) {
        fail(JSON.stringify(output.slice(0, 80)));
        return;
      }
      clearTimeout(timer);
      isDone = true;
      resolve(Number(port));
    });
  });
}
