/** What the tokenizer files of a model folder declare, read as transformers reads them. */
import { DataError } from "../core/errors.js";
import { cut, printable, shown } from "../core/shown.js";

export type JsonObject = Readonly<Record<string, unknown>>;

/** The parsed tokenizer files of a model folder. */
export interface TokenizerFiles {
  /** `tokenizer.json` */
  readonly tokenizerJson: JsonObject;
  /** `tokenizer_config.json` */
  readonly tokenizerConfig: JsonObject;
  /** `chat_template.jinja`, which goes before the template in `tokenizer_config.json`. */
  readonly chatTemplate?: string;
  /** `additional_chat_templates/*.jinja` by name. */
  readonly namedChatTemplates?: Readonly<Record<string, string>>;
  /** `special_tokens_map.json` and `added_tokens.json`: read where `tokenizer_config.json` has no `added_tokens_decoder`. */
  readonly specialTokensMap?: JsonObject;
  readonly addedTokens?: JsonObject;
}

/** Fields of `tokenizer_config.json` that name one token each. */
export const TOKEN_FIELDS = [
  "bos_token",
  "eos_token",
  "unk_token",
  "sep_token",
  "pad_token",
  "cls_token",
  "mask_token",
] as const;

export type TokenField = (typeof TOKEN_FIELDS)[number];

/** Defaults of Qwen2's tokenizer class, for fields that are absent: a null names no token. */
const QWEN2_TOKENS: Partial<Record<TokenField, string>> = {
  eos_token: "<|endoftext|>",
  pad_token: "<|endoftext|>",
  unk_token: "<|endoftext|>",
};
/** Without a class, a folder of Qwen2 gets this one. */
const QWEN2_CLASSES: readonly unknown[] = [undefined, null, "Qwen2Tokenizer", "Qwen2TokenizerFast"];

/** A token outside the model's own vocabulary, or found in a text before that is looked at. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly normalized?: boolean;
  readonly lstrip?: boolean;
  readonly rstrip?: boolean;
  readonly single_word?: boolean;
}

/** All that a tokenizer is built from. */
export interface DeclaredTokens {
  readonly added: readonly AddedToken[];
  /** Text of each field of `TOKEN_FIELDS`; null where it names no token. */
  readonly named: Readonly<Record<TokenField, string | null>>;
  /** `additional_special_tokens` and their newer spelling. */
  readonly further: readonly string[];
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const CURE = "Copy the tokenizer files from the model again.";

/** The error for something in a tokenizer file that cannot be. */
export function malformed(file: string, got: string, expected: string): DataError {
  return new DataError(
    `[${file}] tokenizer files are malformed: got ${printable(cut(got, 200))}, expected ${expected}. ${CURE}`,
  );
}

function isId(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) < 2 ** 31;
}

/** A token as text, or as an object that describes an added token. */
function tokenText(value: unknown): string | null {
  const text = isObject(value) ? value.content : value;
  return typeof text === "string" ? text : null;
}

/** Tokens and their ids: an object, or a list of tokens with scores. @throws DataError for anything else */
function vocabularyRows({ vocab }: JsonObject, file: string): [string, unknown][] {
  if (isObject(vocab)) return Object.entries(vocab);
  if (!Array.isArray(vocab)) throw malformed(file, `vocab ${shown(vocab)}`, "tokens with their ids");
  return vocab.map((row: unknown, id) => {
    if (Array.isArray(row) && typeof row[0] === "string") return [row[0], id];
    throw malformed(file, `token ${id}: ${shown(row)}`, "a text and a score");
  });
}

/** The vocabulary of `tokenizer.json`: id by text. @throws DataError for ids that are no ids, and for what is there twice */
export function vocabularyOf(json: JsonObject, file: string): Map<string, number> {
  const rows = vocabularyRows(json.model as JsonObject, file);
  const texts = new Set<string>();
  const owners = new Map<number, string>();
  for (const [text, id] of rows) {
    if (texts.has(text)) throw malformed(file, `token ${shown(text)} twice`, "each once");
    texts.add(text);
    if (!isId(id)) throw malformed(file, `id ${shown(id)} of ${shown(text)}`, "an integer of 0 or more");
    const other = owners.get(id);
    if (other !== undefined)
      throw malformed(file, `id ${id} for ${shown(other)} and ${shown(text)}`, "an id once");
    owners.set(id, text);
  }
  return new Map(rows as [string, number][]);
}

/** Merges join two tokens to a third: all three must be there. */
export function checkMerges(json: JsonObject, vocabulary: ReadonlyMap<string, number>, file: string): void {
  const { merges, type, continuing_subword_prefix: prefix } = json.model as JsonObject;
  if (type !== "BPE" || merges === undefined) return;
  if (!Array.isArray(merges)) throw malformed(file, `merges ${shown(merges)}`, "a list of pairs");
  const skipped = typeof prefix === "string" ? prefix.length : 0;
  for (const [index, merge] of merges.entries()) {
    const pair: unknown = typeof merge === "string" ? merge.split(" ") : merge;
    if (!Array.isArray(pair) || pair.length !== 2 || !pair.every((part) => typeof part === "string")) {
      throw malformed(file, `merge ${index}: ${shown(merge)}`, "two tokens");
    }
    const missing = [...pair, pair[0] + pair[1].slice(skipped)].find((token) => !vocabulary.has(token));
    if (missing === undefined) continue;
    throw malformed(
      file,
      `merge ${index}: ${shown(merge)} without the token ${shown(missing)}`,
      "tokens of vocab",
    );
  }
}

/** Added tokens by text, as `tokenizer.json` lists them. */
function listedTokens(
  json: JsonObject,
  vocabulary: ReadonlyMap<string, number>,
  file: string,
): Map<string, AddedToken> {
  const listed = json.added_tokens ?? [];
  if (!Array.isArray(listed)) throw malformed(file, `added_tokens ${shown(listed)}`, "a list");
  const tokens = new Map<string, AddedToken>();
  for (const token of listed as unknown[]) {
    if (!isObject(token) || typeof token.content !== "string" || token.content === "" || !isId(token.id)) {
      throw malformed(file, `added token ${shown(token)}`, "an id and a content");
    }
    if (tokens.has(token.content))
      throw malformed(file, `added token ${shown(token.content)} twice`, "each once");
    tokens.set(token.content, { ...token, special: token.special === true } as unknown as AddedToken);
  }
  checkIds(tokens, vocabulary, file);
  return tokens;
}

/** An id belongs to one text, in the vocabulary and among the added tokens alike. */
function checkIds(
  tokens: ReadonlyMap<string, AddedToken>,
  vocabulary: ReadonlyMap<string, number>,
  file: string,
): void {
  const texts = new Map([...vocabulary].map(([text, id]) => [id, text]));
  for (const { id, content } of tokens.values()) {
    const owner = texts.get(id);
    if (owner !== undefined && owner !== content) {
      throw malformed(file, `id ${id} for ${shown(owner)} and ${shown(content)}`, "an id once");
    }
    const own = vocabulary.get(content);
    if (own !== undefined && own !== id) {
      throw malformed(file, `ids ${own} and ${id} for ${shown(content)}`, "one id for a token");
    }
    texts.set(id, content);
  }
}

/** Tokens that files beside `tokenizer.json` declare, in the order of their ids. */
function declaredBeside({ tokenizerConfig, addedTokens }: TokenizerFiles, file: string): AddedToken[] {
  const { added_tokens_decoder: decoder } = tokenizerConfig;
  if (decoder !== undefined && !isObject(decoder)) {
    throw malformed(file, `added_tokens_decoder ${shown(decoder)}`, "an object of ids and tokens");
  }
  const rows: [unknown, unknown][] =
    decoder !== undefined
      ? Object.entries(decoder).map(([id, token]) => [Number(id), token])
      : Object.entries(addedTokens ?? {}).map(([content, id]) => [id, { content, normalized: false }]);
  const tokens = rows.map(([id, token]) => {
    if (!isId(id) || !isObject(token) || typeof token.content !== "string" || token.content === "") {
      throw malformed(file, `added token ${shown(id)}: ${shown(token)}`, "an id and a content");
    }
    return { ...token, id, special: token.special === true } as unknown as AddedToken;
  });
  return tokens.sort((a, b) => a.id - b.id);
}

function namedTokens(
  { tokenizerConfig: config, specialTokensMap }: TokenizerFiles,
  isKnown: (token: string) => boolean,
): DeclaredTokens["named"] {
  // an older layout, in which the map is stronger
  const map = config.added_tokens_decoder === undefined ? (specialTokensMap ?? {}) : {};
  const entries = TOKEN_FIELDS.map((field): [TokenField, string | null] => {
    const given = map[field] ?? config[field];
    if (given !== undefined) return [field, tokenText(given)];
    const preset = QWEN2_CLASSES.includes(config.tokenizer_class) ? QWEN2_TOKENS[field] : undefined;
    return [field, preset !== undefined && isKnown(preset) ? preset : null];
  });
  return Object.fromEntries(entries) as Record<TokenField, string | null>;
}

function furtherTokens({ tokenizerConfig: config, specialTokensMap }: TokenizerFiles): string[] {
  const map = config.added_tokens_decoder === undefined ? (specialTokensMap ?? {}) : {};
  const given = [
    map.additional_special_tokens ?? config.additional_special_tokens,
    config.extra_special_tokens,
  ];
  const texts = given.flatMap((value) =>
    isObject(value) ? Object.values(value) : Array.isArray(value) ? value : [],
  );
  return [...new Set(texts.map(tokenText))].filter((text) => text !== null);
}

/**
 * Reads what the files declare: `tokenizer.json`, what `tokenizer_config.json` (or, without its `added_tokens_decoder`, the older
 * `special_tokens_map.json` and `added_tokens.json`) adds to it, and which of all these tokens are special.
 * @throws DataError for what contradicts itself, or names a token that does not exist
 */
export function declaredTokens(
  files: TokenizerFiles,
  vocabulary: Map<string, number>,
  file: string,
): DeclaredTokens {
  const tokens = listedTokens(files.tokenizerJson, vocabulary, file);
  for (const token of declaredBeside(files, file)) {
    const known = tokens.get(token.content);
    if (known !== undefined && known.id !== token.id) {
      throw malformed(
        file,
        `ids ${known.id} and ${token.id} for ${shown(token.content)}`,
        "one id for a token",
      );
    }
    tokens.set(token.content, { ...known, ...token });
  }
  checkIds(tokens, vocabulary, file);
  const named = namedTokens(files, (token) => tokens.has(token) || vocabulary.has(token));
  const further = furtherTokens(files);
  for (const content of [...Object.values(named), ...further]) {
    if (content === null) continue;
    const id = tokens.get(content)?.id ?? vocabulary.get(content);
    if (id === undefined) {
      throw new DataError(
        `[${file}] token is missing: got no ${shown(content)}, expected it in the vocabulary, as tokenizer_config.json ` +
          "names it. Use the tokenizer that belongs to the model.",
      );
    }
    tokens.set(content, { normalized: false, ...tokens.get(content), id, content, special: true });
  }
  return { added: [...tokens.values()], named, further };
}
