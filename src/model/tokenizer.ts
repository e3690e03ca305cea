/** Text to token ids and back, by the tokenizer files that lie beside a model's weights. */
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { ArgumentError, DataError } from "../core/errors.js";
import { cut, printable, shown } from "../core/shown.js";
import { type ChatMessage, type ChatTemplateOptions, ChatTemplates } from "./chat_template.js";
import { freeMark, markSpecials, type Piece, splitAtTokens } from "./foreign_text.js";
import {
  type AddedToken,
  checkMerges,
  type DeclaredTokens,
  declaredTokens,
  isObject,
  type JsonObject,
  malformed,
  type TokenizerFiles,
  vocabularyOf,
} from "./tokenizer_files.js";

export type { ChatMessage, ChatTemplateOptions } from "./chat_template.js";
export type { TokenizerFiles } from "./tokenizer_files.js";

/** Keys that the library expects in tokenizer.json; null stands for "none". */
const PIPELINE = ["normalizer", "pre_tokenizer", "model", "post_processor", "decoder"] as const;

/** Builds the library's tokenizer. @param model and added tokens in place of those of the files */
function build(
  files: TokenizerFiles,
  file: string,
  { added, named, further }: DeclaredTokens,
  model: unknown = files.tokenizerJson.model,
): HuggingFaceTokenizer {
  const { tokenizerJson: json, tokenizerConfig: config } = files;
  const pipeline = Object.fromEntries(PIPELINE.map((key) => [key, json[key] ?? null]));
  try {
    return new HuggingFaceTokenizer(
      { ...json, ...pipeline, model, added_tokens: added },
      {
        ...config,
        ...named,
        additional_special_tokens: further,
        // the library's own default is true, that of transformers false
        clean_up_tokenization_spaces: config.clean_up_tokenization_spaces ?? false,
      },
    );
  } catch (error) {
    throw new DataError(
      `[${file}] tokenizer cannot be built: got "${printable(cut((error as Error).message, 200))}", expected a ` +
        "tokenizer.json of a supported kind. Copy the tokenizer files from the model again.",
      { cause: error },
    );
  }
}

function checkFiles({ tokenizerJson: json, tokenizerConfig: config }: TokenizerFiles, file: string): void {
  if (isObject(json) && isObject(json.model) && isObject(config)) return;
  const got = isObject(json) ? `keys ${Object.keys(json).join(", ")}` : shown(json);
  throw malformed(file, got, "tokenizer.json with a model, and an object in tokenizer_config.json");
}

/** The model without the texts of special tokens: those are ordinary text for it. */
function withoutTokens(model: JsonObject, texts: ReadonlySet<string>): JsonObject {
  const { vocab } = model;
  if (Array.isArray(vocab)) {
    // here the place of a row is its id
    const rows = vocab.map((row, id) => (texts.has(String(row[0])) ? [`\u{f0000}${id}`, row[1]] : row));
    return { ...model, vocab: rows };
  }
  return {
    ...model,
    vocab: Object.fromEntries(Object.entries(vocab as object).filter(([text]) => !texts.has(text))),
  };
}

export interface TokenizerOptions {
  /** Ids that end an answer beside the end token of the files: `eos_token_id` of the model's generation_config.json. */
  readonly endTokenIds?: readonly number[];
}

export interface EncodeOptions {
  /** Let the tokenizer add its own (a leading begin token, for example). Default false: chat templates write theirs out. */
  readonly addSpecialTokens?: boolean;
  /** Special tokens written out in the text: `tokens` makes ids of them, `text` ordinary text. Default `tokens`. */
  readonly specialTokens?: "tokens" | "text";
}

/** A rendered chat. */
export interface EncodedChat {
  readonly text: string;
  readonly tokens: readonly number[];
}

/** A tokenizer with its chat template. Immutable. */
export class Tokenizer {
  /** What it was built from, to be written beside trained weights. */
  readonly files: TokenizerFiles;
  /** One past the largest token id. A model's `vocab_size` is at least this. */
  readonly vocabularySize: number;
  /** Ids of the tokens that `tokenizer_config.json` names, null where it names none. */
  readonly bosTokenId: number | null;
  /** Also the first of the further end tokens, where the files name none. */
  readonly eosTokenId: number | null;
  readonly padTokenId: number | null;
  readonly unkTokenId: number | null;
  /** Every id that ends an answer, `eosTokenId` first; none where the files name none. */
  readonly endTokenIds: readonly number[];
  readonly #tokenizer: HuggingFaceTokenizer;
  readonly #templates: ChatTemplates;
  readonly #declared: DeclaredTokens;
  readonly #specials: ReadonlyMap<string, AddedToken>;
  readonly #specialIds: ReadonlySet<number>;
  #plain: HuggingFaceTokenizer | undefined;
  readonly #file: string;

  /**
   * @param files parsed files; kept, not copied
   * @param file name for messages
   * @throws DataError when the files are malformed, of an unsupported kind, contradict each other, or name a token that does
   *   not exist
   */
  constructor(files: TokenizerFiles, file = "tokenizer.json", options: TokenizerOptions = {}) {
    checkFiles(files, file);
    const vocabulary = vocabularyOf(files.tokenizerJson, file);
    checkMerges(files.tokenizerJson, vocabulary, file);
    this.#declared = declaredTokens(files, vocabulary, file);
    const { added, named, further } = this.#declared;
    this.#tokenizer = build(files, file, this.#declared);
    const given = Object.fromEntries(Object.entries(named).filter(([, text]) => text !== null));
    this.#templates = new ChatTemplates(
      files,
      { ...given, ...(further.length > 0 && { additional_special_tokens: further }) },
      file,
    );
    this.#file = file;
    this.files = files;
    const specials = added.filter(({ special }) => special);
    this.#specials = new Map(specials.map((token) => [token.content, token]));
    const id = (token: string | null) => (token === null ? null : this.tokenId(token));
    const unknown = id(named.unk_token);
    // a text may hold words that the vocabulary lacks: that is no forgery
    this.#specialIds = new Set(specials.map((token) => token.id).filter((one) => one !== unknown));
    this.vocabularySize =
      1 + [...vocabulary.values(), ...added.map((token) => token.id)].reduce((a, b) => Math.max(a, b), -1);
    const ends = [id(named.eos_token), ...(options.endTokenIds ?? [])].filter((end) => end !== null);
    this.endTokenIds = [...new Set(ends)];
    this.eosTokenId = this.endTokenIds[0] ?? null;
    this.bosTokenId = id(named.bos_token);
    this.padTokenId = id(named.pad_token);
    this.unkTokenId = unknown;
  }

  /**
   * Token ids of a text.
   * @throws DataError when the text holds a word that the vocabulary lacks and there is no unknown token
   */
  encode(text: string, options: EncodeOptions = {}): number[] {
    if (text.length === 0 && options.addSpecialTokens !== true) return [];
    const ids = this.#encode(this.#tokenizer, text, options.addSpecialTokens ?? false);
    if (options.specialTokens !== "text" || !ids.some((id) => this.#specialIds.has(id))) return ids;
    return this.#encode(this.#plainTokenizer(), text, options.addSpecialTokens ?? false);
  }

  #encode(tokenizer: HuggingFaceTokenizer, text: string, addSpecialTokens: boolean): number[] {
    const { ids, tokens } = tokenizer.encode(text, { add_special_tokens: addSpecialTokens });
    const gap = ids.indexOf(undefined as unknown as number);
    if (gap >= 0) {
      throw new DataError(
        `[${this.#file}] text cannot be encoded: got ${shown(tokens[gap])}, expected words of the vocabulary. Use a ` +
          "tokenizer with an unknown token.",
      );
    }
    return ids;
  }

  /** One to which special tokens are ordinary text. Built when it is needed first: that takes as long as the first one. */
  #plainTokenizer(): HuggingFaceTokenizer {
    const { unk_token: unknown } = this.#declared.named;
    const texts = new Set([...this.#specials.keys()].filter((text) => text !== unknown));
    const model = withoutTokens(this.files.tokenizerJson.model as JsonObject, texts);
    const added = this.#declared.added.filter(({ special }) => !special);
    this.#plain ??= build(this.files, this.#file, { ...this.#declared, added }, model);
    return this.#plain;
  }

  /**
   * A chat by the tokenizer's template, as text and as ids. Special tokens come from the template alone: those that messages
   * spell are ordinary text.
   * @throws DataError as `applyChatTemplate` and `encode`
   */
  encodeChat(messages: readonly ChatMessage[], options: ChatTemplateOptions = {}): EncodedChat {
    const { tools, variables, ...rest } = options;
    return this.#encodeForeign({ messages, tools, variables }, this.#templates.source, (marked) =>
      this.applyChatTemplate(marked.messages, { ...rest, ...marked }),
    );
  }

  /** A text with foreign content in its middle: special tokens of that are ordinary text. */
  encodeFilled(before: string, content: string, after: string): EncodedChat {
    return this.#encodeForeign(content, before + after, (marked) => before + marked + after);
  }

  /** @param render makes the whole text of the foreign part, in which special tokens are marked, and of the own one */
  #encodeForeign<T>(foreign: T, own: string, render: (marked: T) => string): EncodedChat {
    const specials = [...this.#specials.keys()];
    const mark = freeMark(JSON.stringify(foreign) + own);
    const rendered = render(markSpecials(foreign, specials, mark));
    const pieces = splitAtTokens(rendered, specials, mark);
    const text = pieces.map((piece) => piece.text).join("");
    const genuine = pieces.filter(({ isToken }) => isToken).length;
    const ids = this.encode(text);
    // also where a normaliser makes a special token of a text that is none as it stands
    const isForged = rendered.includes(mark) || ids.filter((id) => this.#specialIds.has(id)).length > genuine;
    return { text, tokens: isForged ? this.#encodePieces(pieces) : ids };
  }

  #encodePieces(pieces: readonly Piece[]): number[] {
    return pieces.flatMap(({ text, isToken }, index) => {
      if (isToken) return [(this.#specials.get(text) as AddedToken).id];
      const before = this.#specials.get(pieces[index - 1]?.text ?? "");
      const after = this.#specials.get(pieces[index + 1]?.text ?? "");
      let shortened = text;
      if (before?.rstrip) shortened = shortened.trimStart();
      if (after?.lstrip) shortened = shortened.trimEnd();
      return this.encode(shortened, { specialTokens: "text" });
    });
  }

  /**
   * The text of token ids. Ids that no token has (the padding rows of a model's embedding) are left out.
   * @param options.skipSpecialTokens leave special tokens out. Default false
   * @throws ArgumentError for an id that is not an integer of 0 or more
   */
  decode(ids: Iterable<number>, options: { skipSpecialTokens?: boolean } = {}): string {
    const known: number[] = [];
    for (const id of ids) {
      if (!Number.isInteger(id) || id < 0) {
        throw new ArgumentError(
          `[tokenizer] token id is wrong: got ${id}, expected an integer of 0 or more. Pass ids of this vocabulary.`,
        );
      }
      if (this.#tokenizer.id_to_token(id) !== undefined) known.push(id);
    }
    if (known.length === 0) return "";
    return this.#tokenizer.decode(known, { skip_special_tokens: options.skipSpecialTokens ?? false });
  }

  /** Id of one token by its exact text. @throws DataError when there is no such token */
  tokenId(token: string): number {
    const id = this.#tokenizer.token_to_id(token);
    if (id === undefined) {
      throw new DataError(
        `[${this.#file}] token is missing: got no ${shown(token)}, expected it in the vocabulary. Use the tokenizer that ` +
          "belongs to the model.",
      );
    }
    return id;
  }

  /** The text of one token as the vocabulary holds it (byte-level tokens look encoded), undefined for a free id. */
  token(id: number): string | undefined {
    return this.#tokenizer.id_to_token(id);
  }

  /** Whether the files brought a chat template. */
  get hasChatTemplate(): boolean {
    return !this.#templates.isEmpty;
  }

  /**
   * The prompt text of a chat, by the tokenizer's own Jinja template. The template sees `messages`, `tools`,
   * `add_generation_prompt` and the special tokens, as in Hugging Face's libraries; it is rendered as Jinja2 does, or refused. One that calls `strftime_now` is
   * refused: the same chat gives the same text on any day.
   * @throws DataError when there is no template, it reads the clock or does not compile, or it refuses the messages
   */
  applyChatTemplate(messages: readonly ChatMessage[], options: ChatTemplateOptions = {}): string {
    return this.#templates.render(messages, options);
  }
}
