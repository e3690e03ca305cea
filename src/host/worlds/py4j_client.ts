/** Calls into a Java process through its Py4J gateway, over loopback. */
import { connect, type Socket } from "node:net";
import { WorldError } from "../../core/errors.js";
import { LineReader } from "./line_reader.js";
import {
  decodeReply,
  encodeCall,
  encodeConstruct,
  encodeFree,
  JavaException,
  JavaReference,
  type JavaValue,
} from "./py4j_protocol.js";

/**
 * A gateway writes replies above 8 KB in two pieces, and then Nagle's algorithm there and delayed acknowledgement here stall
 * each for some 40 ms. Lists are therefore fetched in slices that stay below, by bytes and by their first guess of entries.
 */
const SLICE_BYTES = 6000;
const FIRST_SLICE = 120;

/** Joins entries of a list; in no text of a game. */
const SEPARATOR = "\u0001";

interface Waiting {
  resolve(line: string): void;
  reject(error: Error): void;
}

/**
 * One connection. Calls go one after the other, each as one write, the next one when the reply is there: requests sent ahead
 * stall as long replies do. After the first failure of the connection every call fails.
 */
export class Py4jClient {
  readonly #reader = new LineReader("py4j");
  #waiting: Waiting | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #failure: WorldError | undefined;

  private constructor(
    readonly socket: Socket,
    /** Milliseconds that a reply may take. */
    readonly timeLimit: number,
  ) {
    socket.setNoDelay(true);
    socket.on("data", (chunk) => this.#receive(chunk));
    socket.on("error", (error) => this.#fail("connection failed", error.message));
    socket.on("close", () => this.#fail("connection closed", "its end"));
  }

  /** @throws WorldError when nothing answers at the port */
  static async connect(port: number, timeLimit: number): Promise<Py4jClient> {
    const socket = connect({ host: "127.0.0.1", port, noDelay: true });
    const client = new Py4jClient(socket, timeLimit);
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("close", () => reject(client.#failure));
    });
    return client;
  }

  get alive(): boolean {
    return this.#failure === undefined;
  }

  /** @throws WorldError when the connection is lost, hangs or sends garbage
   *  @throws JavaException when the method threw */
  call(target: string, method: string, ...args: readonly JavaValue[]): Promise<JavaValue> {
    return this.#request(encodeCall(target, method, args));
  }

  /** A new object. */
  async construct(className: string, ...args: readonly JavaValue[]): Promise<JavaReference> {
    return this.#reference(await this.#request(encodeConstruct(className, args)));
  }

  /** Texts of a list that a method returns, fetched in slices. */
  async callList(target: string, method: string, ...args: readonly JavaValue[]): Promise<string[]> {
    const list = this.#reference(await this.call(target, method, ...args));
    const size = Number(await this.call(list.id, "size"));
    const texts: string[] = [];
    let count = FIRST_SLICE;
    while (texts.length < size) {
      const end = Math.min(size, texts.length + count);
      const slice = this.#reference(await this.call(list.id, "subList", texts.length, end));
      const joined = String(await this.call("z:java.lang.String", "join", SEPARATOR, slice));
      const parts = joined.split(SEPARATOR);
      if (parts.length !== end - texts.length) {
        throw this.#fail("list is cut wrongly", `${parts.length} texts for ${end - texts.length}`);
      }
      texts.push(...parts);
      const perText = Math.max(1, Buffer.byteLength(joined) / parts.length);
      count = Math.max(1, Math.min(FIRST_SLICE, Math.floor(SLICE_BYTES / perText)));
      await this.#request(encodeFree(slice));
    }
    await this.#request(encodeFree(list));
    return texts;
  }

  close(): void {
    this.#fail("client closed", "a call after `close`");
  }

  /** Sends a request when those before it are answered. */
  #request(text: string): Promise<JavaValue> {
    const reply = this.#last.then(() => this.#answer(text));
    this.#last = reply.catch(() => undefined);
    return reply;
  }

  async #answer(text: string): Promise<JavaValue> {
    try {
      return this.#decode(await this.#exchange(text));
    } catch (error) {
      if (!(error instanceof JavaException) || !error.reference) throw error;
      const said = this.#decode(await this.#exchange(encodeCall(error.reference.id, "toString", [])));
      this.#decode(await this.#exchange(encodeFree(error.reference)));
      throw new JavaException(String(said));
    }
  }

  #exchange(text: string): Promise<string> {
    if (this.#failure) return Promise.reject(this.#failure);
    const timer = setTimeout(
      () => this.#fail("no reply", `none for ${this.timeLimit / 1000} s`),
      this.timeLimit,
    );
    return new Promise<string>((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.socket.write(text);
    }).finally(() => clearTimeout(timer));
  }

  /** A reply that is none spoils the connection: nobody knows what comes next. */
  #decode(line: string): JavaValue {
    try {
      return decodeReply(line);
    } catch (error) {
      if (error instanceof WorldError) this.#fail("garbage", error.message);
      throw error;
    }
  }

  #receive(chunk: Buffer): void {
    let lines: string[];
    try {
      lines = this.#reader.push(chunk);
    } catch (error) {
      this.#fail("garbage", (error as Error).message);
      return;
    }
    for (const line of lines) {
      const waiting = this.#waiting;
      if (waiting === undefined) {
        this.#fail("unasked reply", JSON.stringify(line.slice(0, 80)));
        return;
      }
      this.#waiting = undefined;
      waiting.resolve(line);
    }
  }

  /** Ends the connection; the first reason stays. */
  #fail(what: string, got: string): WorldError {
    this.#failure ??= new WorldError(
      `[py4j] ${what}: got ${got}, expected one reply for each request. Restart the program.`,
    );
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.reject(this.#failure);
    this.socket.destroy();
    return this.#failure;
  }

  #reference(value: JavaValue): JavaReference {
    if (value instanceof JavaReference) return value;
    throw this.#fail("value of another type", JSON.stringify(value));
  }
}
