/** The chat templates of a tokenizer: text of messages in the form that the model was trained on. */
import { DataError } from "../core/errors.js";
import { cut, printable } from "../core/shown.js";
import { compileTemplate } from "./jinja.js";
import { isObject, type JsonObject, type TokenizerFiles } from "./tokenizer_files.js";

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

/** Template texts by name; `default` is the one without tools. Files go before the text in `tokenizer_config.json`. */
function templateTexts(files: TokenizerFiles): Map<string, string> {
  const { chatTemplate, namedChatTemplates = {}, tokenizerConfig } = files;
  const fromFiles = Object.entries(namedChatTemplates);
  if (chatTemplate !== undefined) fromFiles.unshift(["default", chatTemplate]);
  if (fromFiles.length > 0) return new Map(fromFiles);
  const given = tokenizerConfig.chat_template;
  if (typeof given === "string") return new Map([["default", given]]);
  const named = Array.isArray(given) ? given : [];
  return new Map(named.filter(isObject).map(({ name, template }) => [String(name), String(template)]));
}

/** The templates of one tokenizer. */
export class ChatTemplates {
  readonly #texts: ReadonlyMap<string, string>;
  readonly #compiled = new Map<string, ReturnType<typeof compileTemplate>>();

  /**
   * @param tokens what templates know as `eos_token` and so on; a token that is not named is not defined
   * @param file name for messages
   */
  constructor(
    files: TokenizerFiles,
    readonly tokens: Readonly<Record<string, unknown>>,
    readonly file: string,
  ) {
    this.#texts = templateTexts(files);
  }

  get isEmpty(): boolean {
    return this.#texts.size === 0;
  }

  /** The text of all templates together. */
  get source(): string {
    return [...this.#texts.values()].join("\n");
  }

  /** @throws DataError when there is no template, it is not rendered as Jinja2 does, or it refuses the messages */
  render(messages: readonly ChatMessage[], options: ChatTemplateOptions = {}): string {
    const name = options.tools !== undefined && this.#texts.has("tool_use") ? "tool_use" : "default";
    const template = this.#template(name);
    try {
      return template({
        ...this.tokens,
        messages,
        tools: options.tools ?? null,
        documents: null,
        add_generation_prompt: options.addGenerationPrompt ?? false,
        ...options.variables,
      });
    } catch (error) {
      throw this.#failed(error, "messages that it can render", "Change the messages or the template.");
    }
  }

  #template(name: string): ReturnType<typeof compileTemplate> {
    const compiled = this.#compiled.get(name);
    if (compiled !== undefined) return compiled;
    const text = this.#texts.get(name);
    if (text === undefined) {
      const got = this.isEmpty
        ? "none"
        : `only ${[...this.#texts.keys()].map((key) => cut(key, 40)).join(", ")}`;
      throw new DataError(
        `[${this.file}] chat template is missing: got ${printable(got)}, expected chat_template in ` +
          "tokenizer_config.json or the file chat_template.jinja. Add one of them to the model folder, or set " +
          "prompt.format to plain.",
      );
    }
    if (/\bstrftime_now\s*\(/.test(text)) {
      throw new DataError(
        `[${this.file}] chat template reads the clock: got a call of strftime_now, expected a template whose text ` +
          "depends on its messages alone. Replace the call by a variable and pass that in `variables`.",
      );
    }
    try {
      const template = compileTemplate(text);
      this.#compiled.set(name, template);
      return template;
    } catch (error) {
      throw this.#failed(
        error,
        "a template that is rendered here as Jinja2 renders it",
        "Rewrite that part of it.",
      );
    }
  }

  #failed(error: unknown, expected: string, cure: string): DataError {
    const { name, message } = error as Error;
    const got = printable(cut(message, 200));
    const what =
      name === "TemplateError" ? `${got}, which is not rendered as Jinja2 does or is refused there` : got;
    return new DataError(
      `[${this.file}] chat template failed: got "${what}", expected ${expected}. ${cure}`,
      {
        cause: error,
      },
    );
  }
}
