/**
 * Short keys of game states. Every atom has a random code of 64 bits, and a state's key is the exclusive or over its true
 * atoms: each change of an atom costs one step, and two different states of a game share a key once in 2^64 pairs.
 * @source Zobrist 1970, "A new hashing method with application for game playing"
 */
import { Random } from "../../core/random.js";

const WORD = 2 ** 32;

/** Two words for each atom, the same ones in every process: keys are comparable within a game and its copies. */
export class AtomCodes {
  readonly #random = Random.of(0, "state key");
  #words = new Uint32Array(0);
  #drawn = 0;

  /** Codes of at least `atomCount` atoms; games of a set share them. */
  of(atomCount: number): Uint32Array {
    if (this.#words.length < 2 * atomCount) {
      const words = new Uint32Array(4 * atomCount);
      words.set(this.#words);
      while (this.#drawn < words.length) words[this.#drawn++] = this.#random.integer(WORD);
      this.#words = words;
    }
    return this.#words;
  }
}

/** Key of a changing state; it starts without true atoms. */
export class StateKey {
  readonly #codes: Uint32Array;
  #high = 0;
  #low = 0;

  /** @param codes of `AtomCodes` */
  constructor(codes: Uint32Array) {
    this.#codes = codes;
  }

  /** An atom becomes true, or is no longer. */
  flip(atom: number): void {
    this.#high ^= this.#codes[2 * atom];
    this.#low ^= this.#codes[2 * atom + 1];
  }

  /** No atom is true. */
  clear(): void {
    this.#high = 0;
    this.#low = 0;
  }

  /** 16 hexadecimal digits. */
  toString(): string {
    return hexadecimal(this.#high) + hexadecimal(this.#low);
  }
}

const BYTES = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

function hexadecimal(word: number): string {
  return BYTES[word >>> 24] + BYTES[(word >>> 16) & 255] + BYTES[(word >>> 8) & 255] + BYTES[word & 255];
}
