/** Builds a tokenizer with one token a word, for policies that are trained from scratch on a small text world. */
import { ArgumentError } from "../core/errors.js";
import type { TokenizerFiles } from "./tokenizer.js";

export interface WordTokenizerOptions {
  /** Chat roles; each gets the marker `<|role|>`. The last one is the policy's. Default system, user, assistant. */
  readonly roles?: readonly string[];
  /** Further special tokens, after the role markers. */
  readonly specialTokens?: readonly string[];
  /** Lower-case all text. Default true: commands of text games are lower-case, and it halves the vocabulary. */
  readonly lowercase?: boolean;
  /** Have every number from 0 to this one as a token, whether or not the texts show it. Default none. */
  readonly numbersUpTo?: number;
  /** Spell words that are not in the vocabulary in printable ASCII instead of losing them. Default false. */
  readonly characterFallback?: boolean;
}

/** Special tokens that every word tokenizer has, with ids 0, 1 and 2. */
const WORD_TOKENS = { pad: "<|pad|>", unknown: "<|unk|>", end: "<|end|>" } as const;

/**
 * Marks a piece that continues the text before it without a space (U+2040, a tie). BERT's `##` would be taken for text
 * where a prompt has Markdown headings.
 */
const TIE = "\u2040";

/** A run of letters, a run of digits, or one other character. */
const PIECE = /\p{L}[\p{L}\p{M}]*|\p{N}+|[^\p{L}\p{N}]/gu;

/** Every piece of the texts, continuing ones with the tie. */
function collectPieces(texts: Iterable<string>, lowercase: boolean): Set<string> {
  const pieces = new Set<string>();
  for (const text of texts) {
    const normal = text.normalize("NFC");
    for (const chunk of (lowercase ? normal.toLowerCase() : normal).match(/\S+/g) ?? []) {
      (chunk.match(PIECE) ?? []).forEach((piece, i) => {
        pieces.add(i === 0 ? piece : TIE + piece);
      });
    }
  }
  return pieces;
}

function printableAscii(lowercase: boolean): string[] {
  const characters = Array.from({ length: 0x7e - 0x20 }, (_, i) => String.fromCharCode(0x21 + i));
  return lowercase ? characters.filter((character) => character === character.toLowerCase()) : characters;
}

/** Checked special tokens in id order. */
function specialTokens(roles: readonly string[], further: readonly string[]): string[] {
  const tokens = [...Object.values(WORD_TOKENS), ...roles.map((role) => `<|${role}|>`), ...further];
  const wrong =
    roles.find((role) => !/^\w+$/.test(role)) ??
    tokens.find((token, i) => !/^\S+$/.test(token) || tokens.indexOf(token) !== i);
  if (roles.length === 0 || wrong !== undefined) {
    throw new ArgumentError(
      `[word tokenizer] special tokens are wrong: got ${wrong === undefined ? "no role" : `"${wrong}"`}, expected at ` +
        "least one role, roles of letters and digits, and tokens without spaces that occur once. Change roles or " +
        "specialTokens.",
    );
  }
  return tokens;
}

/** Each message as its role marker, its content and the end token, and nothing between: no token is spent on layout. */
function chatTemplate(roles: readonly string[]): string {
  const known = JSON.stringify(roles);
  const policy = roles[roles.length - 1];
  return (
    "{% for message in messages %}" +
    `{% if message['role'] not in ${known} %}` +
    `{{ raise_exception('unknown role ' + message['role'] + ', expected one of ${roles.join(", ")}') }}` +
    "{% endif %}" +
    `{{ '<|' + message['role'] + '|>' + message['content'] + '${WORD_TOKENS.end}' }}` +
    "{% endfor %}" +
    `{% if add_generation_prompt %}{{ '<|${policy}|>' }}{% endif %}`
  );
}

/**
 * Tokenizer files with one token for each word, number and punctuation character of the texts.
 *
 * The files are Hugging Face's: a WordPiece model whose pieces are whole words. Pieces that follow another without a
 * space carry a tie, so decoding puts spaces back where they were: `decode(encode(text))` is the text, up to runs of
 * white space and, with `lowercase`, case. A word that the texts do not show becomes `<|unk|>`, unless known pieces
 * spell it.
 *
 * Ids: pad 0, unknown 1, end 2, then role markers and further special tokens as given, then the pieces in the order of
 * their UTF-16 code units. The same set of words gives the same ids, however often and in whatever order they come.
 * @param texts texts that show every word the policy will read or write
 * @throws ArgumentError for repeated or spaced special tokens, or a text that holds the tie character U+2040
 */
export function buildWordTokenizer(
  texts: Iterable<string>,
  options: WordTokenizerOptions = {},
): TokenizerFiles {
  const { roles = ["system", "user", "assistant"], lowercase = true, numbersUpTo = -1 } = options;
  const special = specialTokens(roles, options.specialTokens ?? []);
  const pieces = collectPieces(texts, lowercase);
  if (pieces.has(TIE) || pieces.has(TIE + TIE)) {
    throw new ArgumentError(
      `[word tokenizer] text holds the reserved character U+2040: got "${TIE}", expected text without it. Replace it.`,
    );
  }
  for (let number = 0; number <= numbersUpTo; number++) pieces.add(String(number));
  if (options.characterFallback) {
    for (const character of printableAscii(lowercase)) pieces.add(character).add(TIE + character);
  }
  const tokens = [...special, ...[...pieces].sort()];
  return {
    tokenizerJson: tokenizerJson(tokens, special, lowercase),
    tokenizerConfig: tokenizerConfig(special, chatTemplate(roles)),
  };
}

/** A special token as both files describe it: found before normalising, spaces around it left alone. */
const ADDED = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };

function tokenizerJson(tokens: readonly string[], special: readonly string[], lowercase: boolean) {
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: special.map((content, id) => ({ id, content, ...ADDED })),
    normalizer: {
      type: "Sequence",
      normalizers: [{ type: "NFC" }, ...(lowercase ? [{ type: "Lowercase" }] : [])],
    },
    pre_tokenizer: { type: "WhitespaceSplit" },
    post_processor: null,
    decoder: { type: "WordPiece", prefix: TIE, cleanup: false },
    model: {
      type: "WordPiece",
      unk_token: WORD_TOKENS.unknown,
      continuing_subword_prefix: TIE,
      max_input_chars_per_word: 1000,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    },
  };
}

function tokenizerConfig(special: readonly string[], template: string) {
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: null,
    eos_token: WORD_TOKENS.end,
    pad_token: WORD_TOKENS.pad,
    unk_token: WORD_TOKENS.unknown,
    additional_special_tokens: special.slice(Object.keys(WORD_TOKENS).length),
    clean_up_tokenization_spaces: false,
    added_tokens_decoder: Object.fromEntries(
      special.map((content, id) => [String(id), { content, ...ADDED }]),
    ),
    chat_template: template,
  };
}
