/** The ScienceWorld simulator in a Java process. One for each process: its random numbers and ids are global there. */
import { DataError, WorldError } from "../../core/errors.js";
import type { Simulator } from "../../env/scienceworld/simulator.js";
import { type JavaOptions, JavaProcess } from "./java_process.js";
import { JavaException, type JavaValue } from "./py4j_protocol.js";

const SIMULATOR_CLASS = "scienceworld.runtime.pythonapi.PythonInterface";

/** Calls the simulator's methods by their Java names. */
export class JavaSimulator implements Simulator {
  private constructor(
    readonly java: JavaProcess,
    /** Id of the simulator in its process. */
    readonly id: string,
  ) {}

  /** @throws WorldError when the process does not start or the jar holds no simulator */
  static async start(options: JavaOptions): Promise<JavaSimulator> {
    const java = await JavaProcess.start(options);
    try {
      return new JavaSimulator(java, (await java.client.construct(SIMULATOR_CLASS)).id);
    } catch (cause) {
      await java.close();
      if (!(cause instanceof JavaException)) throw cause;
      throw new WorldError(
        `[scienceworld] no simulator in the jar: got "${firstLine(cause.message)}" from ${options.jar}, expected \
${SIMULATOR_CLASS}. Give the jar of the Python package scienceworld.`,
        { cause },
      );
    }
  }

  get alive(): boolean {
    return this.java.alive;
  }

  async load(task: string, variation: number, simplifications: string, gold: boolean): Promise<void> {
    const refusal = await this.#text("load", task, variation, simplifications, gold);
    if (refusal === "") return;
    throw new DataError(
      `[scienceworld] the simulator refuses ${task}/${variation}: got "${refusal}", expected a game. Choose another one, or \
another version of the simulator.`,
    );
  }

  step(command: string): Promise<string> {
    return this.#text("step", command);
  }

  async score(): Promise<number> {
    return Number(await this.#call("getScore"));
  }

  async completed(): Promise<boolean> {
    return (await this.#call("getCompleted")) === true;
  }

  async moves(): Promise<number> {
    return Number(await this.#call("getNumMoves"));
  }

  taskDescription(): Promise<string> {
    return this.#text("getTaskDescription");
  }

  look(): Promise<string> {
    return this.#text("freeActionLook");
  }

  inventory(): Promise<string> {
    return this.#text("freeActionInventory");
  }

  validCommands(): Promise<readonly string[]> {
    return this.java.client.callList(this.id, "getValidActionObjectCombinations");
  }

  actionTemplates(): Promise<readonly string[]> {
    return this.java.client.callList(this.id, "getPossibleActions");
  }

  visibleObjects(): Promise<readonly string[]> {
    return this.java.client.callList(this.id, "getPossibleObjects");
  }

  goldCommands(): Promise<readonly string[]> {
    return this.java.client.callList(this.id, "getGoldActionSequence");
  }

  close(): Promise<void> {
    return this.java.close();
  }

  #call(method: string, ...args: readonly JavaValue[]): Promise<JavaValue> {
    return this.java.client.call(this.id, method, ...args);
  }

  async #text(method: string, ...args: readonly JavaValue[]): Promise<string> {
    return String(await this.#call(method, ...args));
  }
}

function firstLine(text: string): string {
  return text.split("\n", 1)[0];
}
