/** Parsed domains and grammars by text: thousands of games share a handful of them, up to the task sentence. */

import { type Domain, parseDomain } from "../pddl/pddl.js";
import type { Grammar } from "../textworld/grammar.js";
import { parseGrammar } from "../textworld/grammar.js";
import { checkGrammar } from "../textworld/narrator.js";
import { parseTemplate } from "../textworld/text_template.js";
import { AtomCodes } from "./state_key.js";

/** The rule that holds the task sentence. */
export const TASK_RULE = "task";

/** A task rule of one unconditional text, as every real file has it; the group is the JSON text inside the quotes. */
const TASK_LINE = /"task"\s*:\s*\[\s*\{\s*"rhs"\s*:\s*"((?:[^"\\\n]|\\.)*)"\s*\}\s*\]/dg;

const MAX_ENTRIES = 16;

/** Keeps a few parsed texts. Sharing one between games saves time and memory and changes nothing else. */
export class ParseCache {
  readonly codes = new AtomCodes();
  readonly #domains = new Map<string, Domain>();
  readonly #grammars = new Map<string, Grammar>();
  readonly #checked = new WeakMap<Domain, WeakSet<Grammar["actions"]>>();

  /** @throws DataError as `parseDomain` does */
  domain(text: string, file: string): Domain {
    return remember(this.#domains, text, () => parseDomain(text, file));
  }

  /** @throws DataError as `parseGrammar` does */
  grammar(text: string, file: string): Grammar {
    const lines = [...text.matchAll(TASK_LINE)];
    const [start, end] = (lines.length === 1 ? lines[0]?.indices?.[1] : undefined) ?? [0, 0];
    if (start < end) {
      const skeleton = text.slice(0, start) + text.slice(end);
      const grammar = remember(this.#grammars, skeleton, () => parseGrammar(skeleton, file));
      const rule = grammar.rules.get(TASK_RULE);
      const task = unquoted(text.slice(start, end));
      // Another block may define the rule again, then this line is not the one that counts.
      if (task !== undefined && rule?.length === 1 && rule[0]?.source === "")
        return withTask(grammar, task, file);
    }
    return remember(this.#grammars, text, () => parseGrammar(text, file));
  }

  /** @throws DataError as `checkGrammar` does */
  check(grammar: Grammar, domain: Domain, file: string): void {
    let checked = this.#checked.get(domain);
    if (checked === undefined) {
      checked = new WeakSet();
      this.#checked.set(domain, checked);
    }
    if (checked.has(grammar.actions)) return;
    checkGrammar(grammar, domain, file);
    checked.add(grammar.actions);
  }
}

/** The grammar with another task sentence. */
export function withTask(grammar: Grammar, sentence: string, file: string): Grammar {
  const text = parseTemplate(sentence, `${file} rule "${TASK_RULE}"`);
  const rules = new Map(grammar.rules).set(TASK_RULE, [{ condition: undefined, text, source: sentence }]);
  return { ...grammar, rules };
}

/** The text that a JSON string means; undefined when it is no valid JSON. */
function unquoted(inside: string): string | undefined {
  try {
    return JSON.parse(`"${inside}"`) as string;
  } catch {
    return undefined;
  }
}

function remember<V>(map: Map<string, V>, key: string, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    const oldest = map.keys().next().value;
    if (map.size >= MAX_ENTRIES && oldest !== undefined) map.delete(oldest);
    map.set(key, value);
  }
  return value;
}
