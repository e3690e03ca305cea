/** How alike two texts are: the share of characters in blocks that both have in the same order. */

/** Texts from this length on have characters that are too common to start a block. */
const LONG = 200;

/** Places of each UTF-16 unit that may start a block. In long texts those of more than 1 % of the length may not. */
function placesOf(text: string): Map<string, number[]> {
  const places = new Map<string, number[]>();
  for (let at = 0; at < text.length; at++) {
    const known = places.get(text[at]);
    if (known) known.push(at);
    else places.set(text[at], [at]);
  }
  if (text.length >= LONG) {
    const most = Math.floor(text.length / 100) + 1;
    for (const [unit, list] of places) if (list.length > most) places.delete(unit);
  }
  return places;
}

interface Block {
  readonly a: number;
  readonly b: number;
  readonly size: number;
}

interface Texts {
  readonly a: string;
  readonly b: string;
  readonly places: ReadonlyMap<string, readonly number[]>;
}

/** The longest block of equal units between two ranges: the earliest in a, then in b, of those that are longest. */
function longestBlock(texts: Texts, aLow: number, aHigh: number, bLow: number, bHigh: number): Block {
  const { a, b, places } = texts;
  let best: Block = { a: aLow, b: bLow, size: 0 };
  let lengths = new Map<number, number>();
  for (let i = aLow; i < aHigh; i++) {
    const next = new Map<number, number>();
    for (const j of places.get(a[i]) ?? []) {
      if (j < bLow) continue;
      if (j >= bHigh) break;
      const size = (lengths.get(j - 1) ?? 0) + 1;
      next.set(j, size);
      if (size > best.size) best = { a: i - size + 1, b: j - size + 1, size };
    }
    lengths = next;
  }
  let { a: start, b: other, size } = best;
  while (start > aLow && other > bLow && a[start - 1] === b[other - 1]) {
    start--;
    other--;
    size++;
  }
  while (start + size < aHigh && other + size < bHigh && a[start + size] === b[other + size]) size++;
  return { a: start, b: other, size };
}

/**
 * 2 M / T: M units in matching blocks (the longest one, then the longest ones left and right of it, and so on), T units of
 * both texts. 1 for equal texts, 0 for texts with nothing in common. Not symmetric.
 * @source Ratcliff & Metzener 1988, as Python's difflib.SequenceMatcher computes it with its defaults
 */
export function matchingRatio(a: string, b: string): number {
  if (a === b) return 1;
  const texts: Texts = { a, b, places: placesOf(b) };
  let matched = 0;
  const open = [[0, a.length, 0, b.length]];
  for (let range = open.pop(); range; range = open.pop()) {
    const [aLow, aHigh, bLow, bHigh] = range;
    const block = longestBlock(texts, aLow, aHigh, bLow, bHigh);
    if (block.size === 0) continue;
    matched += block.size;
    open.push([aLow, block.a, bLow, block.b]);
    open.push([block.a + block.size, aHigh, block.b + block.size, bHigh]);
  }
  return (2 * matched) / (a.length + b.length);
}
