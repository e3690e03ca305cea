/** Looks at JSON text for what `JSON.parse` hides: how deep it is nested, a key that an object has twice. */

/** Deeper than any file that is read here; code that walks through values is not built for more. */
const DEEPEST = 200;

/** Whether a text nests lists and objects deeper than anything that is read here. @param text JSON or not */
export function isTooDeep(text: string): boolean {
  let depth = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (inString) {
      if (code === 0x5c) i++;
      else if (code === 0x22) inString = false;
    } else if (code === 0x22) inString = true;
    else if (code === 0x7b || code === 0x5b) {
      if (++depth > DEEPEST) return true;
    } else if (code === 0x7d || code === 0x5d) depth--;
  }
  return false;
}

/** Index of the quote that closes the string opened at `start`. */
function closingQuote(text: string, start: number): number {
  let i = start + 1;
  while (text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
  return i;
}

/**
 * The first key that occurs twice in one object of the text, whatever the nesting; escapes are resolved first.
 * @param text valid JSON: the caller has parsed it
 * @remarks a scan, not a regular expression: those overflow the stack on strings of many megabytes
 */
export function findDuplicateKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = [];
  let lastString = "";
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === '"') {
      const end = closingQuote(text, i);
      lastString = text.slice(i, end + 1);
      i = end;
    } else if (character === ":") {
      // in valid JSON a colon outside a string follows a key of the innermost object
      const key = JSON.parse(lastString) as string;
      const seen = open.at(-1) as Set<string>;
      if (seen.has(key)) return key;
      seen.add(key);
    } else if (character === "{") open.push(new Set());
    else if (character === "[") open.push(undefined);
    else if (character === "}" || character === "]") open.pop();
  }
  return undefined;
}
