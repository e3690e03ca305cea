/** Reader of parenthesised text (PDDL): tokens, nesting and the place of every node. */
import { DataError } from "../../core/errors.js";

/** A word of the text, lower-cased. `at` is its offset in the text. */
interface SymbolNode {
  readonly kind: "symbol";
  readonly text: string;
  readonly at: number;
}

/** A parenthesised list. `at` is the offset of its opening parenthesis. */
export interface ListNode {
  readonly kind: "list";
  readonly items: readonly Node[];
  readonly at: number;
}

export type Node = SymbolNode | ListNode;

/** Lists nested deeper than this are refused, so that walking them by recursion is safe. */
const MAX_DEPTH = 200;

/** Words and parentheses of a text; games of ALFWorld have some 6,000. */
const MAX_WORDS = 200_000;

const OPENING = "(".charCodeAt(0);
const CLOSING = ")".charCodeAt(0);
const SEMICOLON = ";".charCodeAt(0);
const QUESTION_MARK = "?".charCodeAt(0);

function isSpace(code: number): boolean {
  if (code < 0x80) return code === 0x20 || (code >= 0x09 && code <= 0x0d);
  return /\s/.test(String.fromCharCode(code));
}

/** Whether a word goes on with a character; any character that is no white space, parenthesis or comment can begin one. */
function isInWord(code: number): boolean {
  return (
    code !== OPENING && code !== CLOSING && code !== SEMICOLON && code !== QUESTION_MARK && !isSpace(code)
  );
}

/** A text with a name, for messages that point into it. */
export class SourceText {
  /**
   * @param text what is parsed
   * @param file how messages call it
   */
  constructor(
    readonly text: string,
    readonly file: string,
  ) {}

  /** `line 3 column 14`, both counted from 1, of an offset. */
  place(at: number): string {
    const before = this.text.slice(0, at);
    const line = before.split("\n").length;
    return `line ${line} column ${at - before.lastIndexOf("\n")}`;
  }

  /** A DataError that names this text and the place of `at`. */
  error(at: number, message: string): DataError {
    return new DataError(`[${this.file} ${this.place(at)}] ${message}`);
  }
}

/** Name of a node in messages. */
export function nodeName(node: Node): string {
  if (node.kind === "symbol") return `\`${node.text}\``;
  const head = node.items[0];
  return head?.kind === "symbol" ? `\`(${head.text} ...)\`` : node.items.length === 0 ? "`()`" : "`(( ...`";
}

/**
 * Parses exactly one list. Words end at white space, a parenthesis, `;` or the next `?` only: a comma stays part of its
 * word, which games rely on. `;` opens a comment that runs to the end of its line.
 * @throws DataError with line and column on unbalanced parentheses, text outside the list, nesting deeper than 200, or more
 *   than 200,000 words
 */
export function readList(source: SourceText): ListNode {
  const { text } = source;
  const lower = text.toLowerCase();
  // A letter that gets longer in lower case would shift the places behind it.
  const hasSamePlaces = lower.length === text.length;
  const open: { items: Node[]; at: number }[] = [];
  let root: ListNode | undefined;
  let words = 0;
  for (let at = 0, end = 0; at < text.length; at = end) {
    const code = text.charCodeAt(at);
    end = at + 1;
    if (isSpace(code)) continue;
    if (code === SEMICOLON) {
      end = text.indexOf("\n", at);
      if (end < 0) break;
      continue;
    }
    if (code !== OPENING && code !== CLOSING) {
      while (end < text.length && isInWord(text.charCodeAt(end))) end++;
    }
    if (++words > MAX_WORDS) {
      throw source.error(
        at,
        `text is too long: got over ${MAX_WORDS} words and parentheses, expected fewer. Use a smaller game.`,
      );
    }
    if (root !== undefined) {
      throw source.error(
        at,
        `text after the end: got \`${text.slice(at, end)}\`, expected one balanced list. Check parentheses.`,
      );
    }
    if (code === OPENING) {
      if (open.length === MAX_DEPTH) {
        throw source.error(at, `nested too deeply: expected at most ${MAX_DEPTH} levels. Use another file.`);
      }
      open.push({ items: [], at });
    } else if (code === CLOSING) {
      const list = open.pop();
      if (list === undefined) throw source.error(at, "unbalanced: got `)`, expected `(`. Check parentheses.");
      const node: ListNode = { kind: "list", items: list.items, at: list.at };
      const parent = open.at(-1);
      if (parent === undefined) root = node;
      else parent.items.push(node);
    } else {
      const parent = open.at(-1);
      if (parent === undefined) {
        throw source.error(
          at,
          `not PDDL: got \`${text.slice(at, Math.min(end, at + 40))}\`, expected \`(define ...\`. Use another file.`,
        );
      }
      const word = hasSamePlaces ? lower.slice(at, end) : text.slice(at, end).toLowerCase();
      parent.items.push({ kind: "symbol", text: word, at });
    }
  }
  const unclosed = open.at(-1);
  if (unclosed !== undefined) {
    throw source.error(
      unclosed.at,
      "unbalanced: `(` is never closed. The text may be cut short; get the whole file.",
    );
  }
  if (root === undefined) throw source.error(0, "empty text: expected `(define ...`. Get the whole file.");
  return root;
}
