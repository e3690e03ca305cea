/** Reader of TWL2 documents: text rules, and for each action its command template and feedback. */
import type { DataError } from "../../core/errors.js";
import { SourceText } from "../pddl/s_expression.js";
import { parseQuery, type Query } from "./query.js";
import { parseTemplate, type Template } from "./text_template.js";

/** One way to write a rule; taken when its condition has a match, or when it has none. */
export interface RuleAlternative {
  readonly condition: Query | undefined;
  readonly text: Template;
  /** The text as written. */
  readonly source: string;
}

export interface ActionTexts {
  /** The command. */
  readonly template: Template;
  readonly feedback: Template;
}

export interface Grammar {
  /** How messages name it. */
  readonly file: string;
  readonly rules: ReadonlyMap<string, readonly RuleAlternative[]>;
  /** By lower-case action name. */
  readonly actions: ReadonlyMap<string, ActionTexts>;
}

interface Token {
  /** `text` covers both quoted forms, without the quotes. */
  readonly kind: "word" | "text" | "sign" | "end";
  readonly text: string;
  readonly at: number;
}

/**
 * Parses a TWL2 document.
 * @param file how messages name it
 * @throws DataError with line and column of a syntax error or of bad JSON
 */
export function parseGrammar(text: string, file: string): Grammar {
  return new GrammarReader(new SourceText(text, file)).read();
}

class GrammarReader {
  readonly #source: SourceText;
  readonly #tokens: Token[];
  readonly #rules = new Map<string, readonly RuleAlternative[]>();
  readonly #actions = new Map<string, ActionTexts>();
  #next = 0;

  constructor(source: SourceText) {
    this.#source = source;
    this.#tokens = tokenize(source);
  }

  read(): Grammar {
    while (this.#peek().kind !== "end") {
      const word = this.#take("word", "`grammar` or `action`");
      if (word.text === "grammar") this.#rulesBlock();
      else if (word.text === "action") this.#action();
      else throw this.#unexpected(word, "`grammar` or `action`");
    }
    return { file: this.#source.file, rules: this.#rules, actions: this.#actions };
  }

  /** `:: """JSON""" ;` after the word `grammar`. */
  #rulesBlock(): void {
    const block = this.#property();
    // Lines that start with # are comments; blanks keep the offsets of the rest.
    const json = block.text.replace(/^[^\S\n]*#.*$/gm, (line) => " ".repeat(line.length));
    let rules: unknown;
    try {
      rules = JSON.parse(json);
    } catch (error) {
      const message = (error as Error).message;
      const offset = Number(/position (\d+)/.exec(message)?.[1] ?? json.length);
      throw this.#source.error(
        block.at + offset,
        `bad JSON in a grammar block: ${message}. Correct the grammar.`,
      );
    }
    if (typeof rules !== "object" || rules === null || Array.isArray(rules)) {
      throw this.#source.error(
        block.at,
        "grammar block: expected a JSON object of rules. Correct the grammar.",
      );
    }
    for (const [name, alternatives] of Object.entries(rules)) {
      this.#rules.set(name, this.#alternatives(name, alternatives, block.at));
    }
  }

  #alternatives(name: string, value: unknown, at: number): RuleAlternative[] {
    const where = `${this.#source.file} rule "${name}"`;
    if (!Array.isArray(value) || value.length === 0) {
      throw this.#source.error(at, `rule "${name}": expected a list of alternatives. Correct the grammar.`);
    }
    return value.map((entry: unknown) => {
      const { rhs, condition } = (entry ?? {}) as { rhs?: unknown; condition?: unknown };
      if (
        typeof rhs !== "string" ||
        (condition !== undefined && condition !== null && typeof condition !== "string")
      ) {
        throw this.#source.error(
          at,
          `rule "${name}": expected {"rhs": text, "condition": text?}. Correct the grammar.`,
        );
      }
      const query =
        typeof condition === "string" && condition.trim() !== "" ? parseQuery(condition, where) : undefined;
      return { condition: query, text: parseTemplate(rhs, where), source: rhs };
    });
  }

  /** `NAME { template :: "..."; feedback :: "..."; ... }` after the word `action`. */
  #action(): void {
    const name = this.#take("word", "an action name");
    this.#take("sign", "`{`", "{");
    const where = `${this.#source.file} action ${name.text}`;
    let template: Template | undefined;
    let feedback: Template | undefined;
    while (this.#peek().text !== "}" || this.#peek().kind !== "sign") {
      const word = this.#take("word", "`template`, `feedback`, `pddl`, `grammar` or `}`");
      if (word.text === "template") template = parseTemplate(this.#property().text, where);
      else if (word.text === "feedback") feedback = parseTemplate(this.#property().text, where);
      else if (word.text === "grammar") this.#rulesBlock();
      else if (word.text === "pddl") this.#property();
      else throw this.#unexpected(word, "`template`, `feedback`, `pddl` or `grammar`");
    }
    this.#take("sign", "`}`", "}");
    if (template === undefined || feedback === undefined) {
      const missing = template === undefined ? "template" : "feedback";
      throw this.#source.error(name.at, `action ${name.text}: no \`${missing}\`, expected one. Add it.`);
    }
    this.#actions.set(name.text.toLowerCase(), { template, feedback });
  }

  /** `:: "text" ;` */
  #property(): Token {
    this.#take("sign", "`::`", "::");
    const text = this.#take("text", "a quoted text");
    this.#take("sign", "`;`", ";");
    return text;
  }

  #peek(): Token {
    return this.#tokens[this.#next];
  }

  #take(kind: Token["kind"], expected: string, text?: string): Token {
    const token = this.#peek();
    if (token.kind !== kind || (text !== undefined && token.text !== text))
      throw this.#unexpected(token, expected);
    this.#next++;
    return token;
  }

  #unexpected(token: Token, expected: string): DataError {
    const got = token.kind === "end" ? "the end of the text" : `\`${token.text.slice(0, 40)}\``;
    return this.#source.error(token.at, `got ${got}, expected ${expected}. Correct the grammar.`);
  }
}

function tokenize(source: SourceText): Token[] {
  const { text } = source;
  const tokens: Token[] = [];
  const pattern = /\s+|#[^\n]*|"""([\s\S]*?)"""|"([^"]*)"|::|[{};]|[A-Za-z_][\w.-]*/y;
  let at = 0;
  while (at < text.length) {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match === null || (match[2] === "" && text.startsWith('"""', at))) {
      const quote = text[at] === '"' ? "an unclosed quote" : `\`${text[at]}\``;
      throw source.error(
        at,
        `got ${quote}, expected \`grammar\`, \`action\` or their parts. Correct the grammar.`,
      );
    }
    const [all, long, short] = match;
    if (long !== undefined) tokens.push({ kind: "text", text: long, at: at + 3 });
    else if (short !== undefined) tokens.push({ kind: "text", text: short, at: at + 1 });
    else if (/^[A-Za-z_]/.test(all)) tokens.push({ kind: "word", text: all, at });
    else if (!/^[\s#]/.test(all)) tokens.push({ kind: "sign", text: all, at });
    at += all.length;
  }
  tokens.push({ kind: "end", text: "", at: text.length });
  return tokens;
}
