/** Lines that come in on stdin: edited at a prompt when someone sits at a terminal, else as they arrive. */

import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";

/** A stream of input that may be a terminal. */
export type InputStream = Readable & { isTTY?: boolean };

export interface LineOptions {
  readonly input: InputStream;
  /** Where the prompt and the keys typed are shown. */
  readonly echo: Writable & { isTTY?: boolean };
  readonly prompt: string;
  /** Whole lines that the Tab key may complete the line to; asked for at each key. */
  readonly completions: () => readonly string[];
  /** Ends the lines. */
  readonly signal: AbortSignal;
}

/** Whether a prompt is shown and keys are echoed: both ends are a terminal. */
export function isPrompted({ input, echo }: Pick<LineOptions, "input" | "echo">): boolean {
  return input.isTTY === true && echo.isTTY === true;
}

/** Yields one line after the other, without line ends, until the input ends (Ctrl-D) or Ctrl-C is typed. */
export async function* readLines(options: LineOptions): AsyncGenerator<string> {
  const { input, echo, prompt, completions, signal } = options;
  const prompted = isPrompted(options);
  const reader = createInterface({
    input,
    output: prompted ? echo : undefined,
    terminal: prompted,
    prompt,
    completer: (line: string) => [completions().filter((text) => text.startsWith(line)), line],
    // However slowly the two bytes of a Windows line end arrive, they are one.
    crlfDelay: Number.POSITIVE_INFINITY,
    signal,
  });
  let isOpen = true;
  reader.once("close", () => {
    isOpen = false;
  });
  const ask = () => {
    if (prompted && isOpen) reader.prompt();
  };
  try {
    ask();
    for await (const line of reader) {
      yield line;
      ask();
    }
    // The key that ended the input leaves the cursor behind the prompt.
    if (prompted) echo.write("\n");
  } finally {
    reader.close();
  }
}
