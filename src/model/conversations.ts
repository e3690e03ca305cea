/** Texts that grow by turns, whose keys and values stay in the cache between turns. */
import { ArgumentError } from "../core/errors.js";

/**
 * A text that grows: each of its prompts is the one before, the answer to that, and more. Only what is new is computed. The
 * weights of the model must not change as long as it is open.
 */
export interface Conversation {
  /** Gives its place in the cache back; idempotent. */
  close(): void;
}

class OpenConversation implements Conversation {
  /** Tokens whose keys and values are in the cache, those at place 0 excepted: see `Generator`. */
  known: readonly number[] = [];

  constructor(
    /** Its place in the cache. */
    readonly slot: number,
    readonly conversations: Conversations,
  ) {}

  close(): void {
    this.conversations.forget(this);
  }
}

/** The conversations of one generator, and which slots of its cache they take. */
export class Conversations {
  readonly #open = new Map<number, OpenConversation>();

  /** A new one, in the lowest free slot. */
  open(): Conversation {
    const [slot] = this.freeSlots(1);
    const conversation = new OpenConversation(slot, this);
    this.#open.set(slot, conversation);
    return conversation;
  }

  /** Slots whose content must be kept. */
  get slots(): Iterable<number> {
    return this.#open.keys();
  }

  /** The lowest slots that no conversation has. */
  freeSlots(count: number): number[] {
    const slots: number[] = [];
    for (let slot = 0; slots.length < count; slot++) if (!this.#open.has(slot)) slots.push(slot);
    return slots;
  }

  /**
   * Where a conversation is kept, and how many tokens of this prompt are known already; 0 where it begins.
   * @throws ArgumentError when it is closed or another generator's, or the prompt does not go on from what is known
   */
  find(
    conversation: Conversation,
    prompt: readonly number[],
  ): { readonly slot: number; readonly known: number } {
    const { slot, known } = this.#own(conversation);
    const at = known.findIndex((token, place) => token !== prompt[place]);
    if (at < 0 && prompt.length > known.length) return { slot, known: known.length };
    const got = at < 0 ? `${prompt.length} tokens` : `token ${prompt[at]} at place ${at}`;
    throw new ArgumentError(
      `[generate] prompt does not go on from its conversation: got ${got}, expected ${at < 0 ? `more than ${known.length}` : known[at]}. Open another conversation for another text.`,
    );
  }

  /** Takes note of what the cache holds after an answer. */
  remember(conversation: Conversation, tokens: readonly number[]): void {
    this.#own(conversation).known = tokens;
  }

  forget(conversation: Conversation): void {
    if (conversation instanceof OpenConversation && this.#open.get(conversation.slot) === conversation)
      this.#open.delete(conversation.slot);
  }

  #own(conversation: Conversation): OpenConversation {
    if (conversation instanceof OpenConversation && this.#open.get(conversation.slot) === conversation)
      return conversation;
    throw new ArgumentError(
      "[generate] conversation is not open here: expected one that this generator opened and nobody closed. Open it anew.",
    );
  }
}
