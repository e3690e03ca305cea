/** Text to token ids and back, by the tokenizer files that lie beside a model's weights. */
import { Template } from "@huggingface/jinja";
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { ArgumentError, DataError } from "../core/errors.js";

type JsonObject = Readonly<Record<string, unknown>>;

/** The parsed tokenizer files of a model folder. */
export interface TokenizerFiles {
  /** `tokenizer.json` */
  readonly tokenizerJson: JsonObject;
  /** `tokenizer_config.json` */
  readonly tokenizerConfig: JsonObject;
  /** `chat_template.jinja`, which goes before the template in `tokenizer_config.json`. */
  readonly chatTemplate?: string;
}

/** One turn of a chat. Templates may read further fields (`tool_calls`, for example). */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
  readonly [field: string]: unknown;
}

export interface ChatTemplateOptions {
  /** End with the opening of the policy's own turn. Default false. */
  readonly addGenerationPrompt?: boolean;
  /** Tool descriptions (JSON schemas) for templates that know tools. */
  readonly tools?: readonly JsonObject[];
  /** Further variables of the template. */
  readonly variables?: JsonObject;
}

const TOKEN_FIELDS = ["bos_token", "eos_token", "pad_token", "unk_token"] as const;

/** Keys that the library expects in tokenizer.json; null stands for "none". */
const PIPELINE = ["normalizer", "pre_tokenizer", "model", "post_processor", "decoder"] as const;

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `tokenizer_config.json` says a token as text or as an object that describes an added token. */
function tokenText(value: unknown): string | null {
  const text = isObject(value) ? value.content : value;
  return typeof text === "string" ? text : null;
}

function build(files: TokenizerFiles, file: string, tokens: JsonObject): HuggingFaceTokenizer {
  const { tokenizerJson: json, tokenizerConfig: config } = files;
  const cure = "Copy tokenizer.json and tokenizer_config.json from the model again.";
  if (!isObject(json) || !isObject(json.model) || !isObject(config)) {
    const got = isObject(json) ? `keys ${Object.keys(json).join(", ")}` : typeof json;
    throw new DataError(
      `[${file}] tokenizer files are malformed: got ${got}, expected tokenizer.json with a model, and an object in ` +
        `tokenizer_config.json. ${cure}`,
    );
  }
  const pipeline = Object.fromEntries(PIPELINE.map((key) => [key, json[key] ?? null]));
  try {
    return new HuggingFaceTokenizer(
      { ...json, ...pipeline, added_tokens: json.added_tokens ?? [] },
      { ...config, ...tokens },
    );
  } catch (error) {
    throw new DataError(
      `[${file}] tokenizer cannot be built: got "${(error as Error).message}", expected a tokenizer.json of a ` +
        `supported kind. ${cure}`,
      { cause: error },
    );
  }
}

/** Template texts by name; `default` is the one without tools. */
function templateTexts(files: TokenizerFiles): Map<string, string> {
  if (files.chatTemplate !== undefined) return new Map([["default", files.chatTemplate]]);
  const given = files.tokenizerConfig.chat_template;
  if (typeof given === "string") return new Map([["default", given]]);
  const named = Array.isArray(given) ? given : [];
  return new Map(named.filter(isObject).map(({ name, template }) => [String(name), String(template)]));
}

/** A tokenizer with its chat template. Immutable. */
export class Tokenizer {
  /** What it was built from, to be written beside trained weights. */
  readonly files: TokenizerFiles;
  /** One past the largest token id. A model's `vocab_size` is at least this. */
  readonly vocabularySize: number;
  /** Ids of the tokens that `tokenizer_config.json` names, null where it names none. */
  readonly bosTokenId: number | null;
  readonly eosTokenId: number | null;
  readonly padTokenId: number | null;
  readonly unkTokenId: number | null;
  readonly #tokenizer: HuggingFaceTokenizer;
  readonly #templates: ReadonlyMap<string, string>;
  readonly #compiled = new Map<string, Template>();
  readonly #specialTexts: Readonly<Record<(typeof TOKEN_FIELDS)[number], string | null>>;
  readonly #file: string;

  /**
   * @param files parsed files; kept, not copied
   * @param file name for messages
   * @throws DataError when the files are malformed, of an unsupported kind, or name a token that does not exist
   */
  constructor(files: TokenizerFiles, file = "tokenizer.json") {
    const text = (field: (typeof TOKEN_FIELDS)[number]) => tokenText(files.tokenizerConfig?.[field]);
    this.#specialTexts = {
      bos_token: text("bos_token"),
      eos_token: text("eos_token"),
      pad_token: text("pad_token"),
      unk_token: text("unk_token"),
    };
    this.#tokenizer = build(files, file, this.#specialTexts);
    this.#templates = templateTexts(files);
    this.#file = file;
    this.files = files;
    let largest = -1;
    for (const id of this.#tokenizer.get_vocab().values()) largest = Math.max(largest, id);
    this.vocabularySize = largest + 1;
    const special = (field: (typeof TOKEN_FIELDS)[number]) => {
      const token = this.#specialTexts[field];
      return token === null ? null : this.tokenId(token);
    };
    this.bosTokenId = special("bos_token");
    this.eosTokenId = special("eos_token");
    this.padTokenId = special("pad_token");
    this.unkTokenId = special("unk_token");
  }

  /**
   * Token ids of a text. Special tokens written out in the text (`<|im_start|>`) become their ids.
   * @param options.addSpecialTokens let the tokenizer add its own (a leading begin token, for example). Default false:
   *   chat templates write theirs out
   * @throws DataError when the text holds a word that the vocabulary lacks and there is no unknown token
   */
  encode(text: string, options: { addSpecialTokens?: boolean } = {}): number[] {
    if (text.length === 0 && options.addSpecialTokens !== true) return [];
    const { ids, tokens } = this.#tokenizer.encode(text, {
      add_special_tokens: options.addSpecialTokens ?? false,
    });
    const gap = ids.indexOf(undefined as unknown as number);
    if (gap >= 0) {
      throw new DataError(
        `[${this.#file}] text cannot be encoded: got "${tokens[gap]}", expected words of the vocabulary. Use a ` +
          "tokenizer with an unknown token.",
      );
    }
    return ids;
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
        `[${this.#file}] token is missing: got no "${token}", expected it in the vocabulary. Use the tokenizer that ` +
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
    return this.#templates.size > 0;
  }

  /**
   * The prompt text of a chat, by the tokenizer's own Jinja template. The template sees `messages`, `tools`,
   * `add_generation_prompt` and the special tokens, as in Hugging Face's libraries. One that calls `strftime_now` is
   * refused: the same chat gives the same text on any day.
   * @throws DataError when there is no template, it reads the clock or does not compile, or it refuses the messages
   */
  applyChatTemplate(messages: readonly ChatMessage[], options: ChatTemplateOptions = {}): string {
    const name = options.tools !== undefined && this.#templates.has("tool_use") ? "tool_use" : "default";
    try {
      return this.#template(name).render({
        ...this.#specialTexts,
        messages,
        tools: options.tools ?? null,
        add_generation_prompt: options.addGenerationPrompt ?? false,
        ...options.variables,
      });
    } catch (error) {
      if (error instanceof DataError) throw error;
      throw new DataError(
        `[${this.#file}] chat template failed: got "${(error as Error).message}", expected messages that it can ` +
          "render. Change the messages or the template.",
        { cause: error },
      );
    }
  }

  #template(name: string): Template {
    const text = this.#templates.get(name);
    if (text === undefined) {
      throw new DataError(
        `[${this.#file}] chat template is missing: got none, expected chat_template in tokenizer_config.json or the ` +
          "file chat_template.jinja. Add one of them to the model folder.",
      );
    }
    if (/\bstrftime_now\s*\(/.test(text)) {
      throw new DataError(
        `[${this.#file}] chat template reads the clock: got a call of strftime_now, expected a template whose text ` +
          "depends on its messages alone. Replace the call by a variable and pass that in `variables`.",
      );
    }
    let template = this.#compiled.get(name);
    if (template === undefined) {
      template = new Template(text);
      this.#compiled.set(name, template);
    }
    return template;
  }
}
