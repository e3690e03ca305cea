/**
 * The text protocol of Py4J gateways: requests of several lines, replies of one, UTF-8.
 * @source Py4J 0.10, `Protocol.java`
 */
import { UncoupleError, WorldError } from "../../core/errors.js";

/** An object that lives in the Java process. */
export class JavaReference {
  constructor(readonly id: string) {}
}

/** What can be sent, and what comes back. */
export type JavaValue = string | number | boolean | null | JavaReference;

/** An exception of the Java process: the call failed, the process goes on. */
export class JavaException extends UncoupleError {
  override name = "JavaException";

  /** @param reference to the exception over there, when its text did not come along */
  constructor(
    text: string,
    readonly reference?: JavaReference,
  ) {
    super(text);
  }
}

/** Ids of objects. */
const REFERENCE = /^o\d+$/;

/** Lines of a request that calls a method. @param target id of an object, or `z:` and the name of a class */
export function encodeCall(target: string, method: string, args: readonly JavaValue[]): string {
  return lines("c", target, method, ...args.map(encodeValue));
}

/** Lines of a request for a new object. */
export function encodeConstruct(className: string, args: readonly JavaValue[]): string {
  return lines("i", className, ...args.map(encodeValue));
}

/** Lines of a request to forget an object. */
export function encodeFree({ id }: JavaReference): string {
  return lines("m", "d", id);
}

function lines(...parts: readonly string[]): string {
  return `${[...parts, "e"].join("\n")}\n`;
}

/** Whole numbers go as int, others as double. */
function encodeValue(value: JavaValue): string {
  if (value === null) return "n";
  if (value instanceof JavaReference) return `r${value.id}`;
  if (typeof value === "boolean") return `b${value ? "True" : "False"}`;
  if (typeof value === "number") return Number.isInteger(value) ? `i${value}` : `d${value}`;
  return `s${escapeText(value)}`;
}

function escapeText(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\r", "\\r").replaceAll("\n", "\\n");
}

function unescapeText(text: string): string {
  return text.replace(/\\(.)/gs, (_, letter: string) => {
    if (letter === "n") return "\n";
    return letter === "r" ? "\r" : letter;
  });
}

/**
 * Value of a reply.
 * @param line without its end
 * @throws JavaException when the call failed there
 * @throws WorldError when the line is no reply
 */
export function decodeReply(line: string): JavaValue {
  if (line.startsWith("!x")) throw decodeException(line);
  if (!line.startsWith("!y")) throw malformed(line);
  const type = line[2];
  const text = line.slice(3);
  switch (type) {
    case "s":
      return unescapeText(text);
    case "i":
    case "L":
    case "d":
    case "D":
      return readNumber(text, line);
    case "b":
      if (text === "true" || text === "false") return text === "true";
      throw malformed(line);
    case "n":
    case "v":
      return null;
    case "r":
    case "l":
    case "h":
    case "t":
    case "a":
    case "g":
      if (REFERENCE.test(text)) return new JavaReference(text);
      throw malformed(line);
    default:
      throw malformed(line);
  }
}

/** Exceptions come with their text, or as a reference to them. */
function decodeException(line: string): JavaException | WorldError {
  const text = line.slice(3);
  if (line[2] === "s") return new JavaException(unescapeText(text));
  if (line[2] === "r" && REFERENCE.test(text)) return new JavaException(text, new JavaReference(text));
  return line === "!x" ? new JavaException("an exception without a text") : malformed(line);
}

function readNumber(text: string, line: string): number {
  if (text === "NaN") return Number.NaN;
  if (/^-?(Infinity|\d+(\.\d*)?([eE][+-]?\d+)?)$/.test(text)) return Number(text);
  throw malformed(line);
}

function malformed(line: string): WorldError {
  return new WorldError(
    `[py4j] not a reply: got ${JSON.stringify(line.slice(0, 80))}, expected \`!y\` and a value. Check what runs at that port.`,
  );
}
