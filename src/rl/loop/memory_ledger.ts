/** Who holds how much of a pool of buffers at the moment when most is held. */
import type { BufferPool, GpuBuffer } from "../../gpu/buffers.js";

/** Kinds of GPU memory, in the order in which a plan shows them. */
export const MEMORY_KINDS = [
  "weights",
  "masters",
  "gradients",
  "moments",
  "reference policy",
  "activations",
  "head tile",
  "KV cache",
  "scratch",
  "other",
] as const;
export type MemoryKind = (typeof MEMORY_KINDS)[number];

/** The kind of a buffer by the label under which it is asked for; the first that fits. */
const KINDS: readonly (readonly [RegExp, MemoryKind])[] = [
  [/^(parameters|scaled factors) /, "weights"],
  [/^scaled factors$/, "weights"],
  [/^masters /, "masters"],
  [/^gradients /, "gradients"],
  [/^(first|second) moments /, "moments"],
  [/^(key|value) cache$/, "KV cache"],
  [/^linear_log_prob\.(scratch\.)?logits$|^token_log_prob\./, "head tile"],
  [/\.scratch\./, "scratch"],
  // results of ops, what they save for backward, and gradients of both
  [/^[a-z_]+\.[a-z_]+$/, "activations"],
];

function kindOf(label: string): MemoryKind {
  return KINDS.find(([pattern]) => pattern.test(label))?.[1] ?? "other";
}

/** Watches a pool from its making on. */
export class MemoryLedger {
  readonly #live = new Map<MemoryKind, number>();
  readonly #kinds = new Map<GpuBuffer, MemoryKind>();
  #total = 0;
  #peak = 0;
  #atPeak = new Map<MemoryKind, number>();
  #largest = { label: "", bytes: 0 };
  #instead: MemoryKind | undefined;

  constructor(buffers: BufferPool) {
    buffers.observer = {
      acquired: (buffer, label) => {
        const kind = this.#instead ?? kindOf(label);
        this.#kinds.set(buffer, kind);
        this.#live.set(kind, (this.#live.get(kind) ?? 0) + buffer.bytes);
        this.#total += buffer.bytes;
        if (buffer.bytes > this.#largest.bytes) this.#largest = { label, bytes: buffer.bytes };
        if (this.#total <= this.#peak) return;
        this.#peak = this.#total;
        this.#atPeak = new Map(this.#live);
      },
      released: (buffer) => {
        const kind = this.#kinds.get(buffer) as MemoryKind;
        this.#live.set(kind, (this.#live.get(kind) ?? 0) - buffer.bytes);
        this.#total -= buffer.bytes;
      },
    };
  }

  /** Counts as one kind whatever a body asks for. */
  async as<T>(kind: MemoryKind, body: () => Promise<T>): Promise<T> {
    this.#instead = kind;
    try {
      return await body();
    } finally {
      this.#instead = undefined;
    }
  }

  /** Most bytes in use at once, and the kinds that they were of. */
  get peak(): { readonly bytes: number; readonly kinds: ReadonlyMap<MemoryKind, number> } {
    return { bytes: this.#peak, kinds: this.#atPeak };
  }

  /** The largest buffer. */
  get largest(): { readonly label: string; readonly bytes: number } {
    return this.#largest;
  }
}
