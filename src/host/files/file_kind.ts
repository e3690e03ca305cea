/** What a file is that should have been something else, told from its first bytes. */

/** What was found, and what to do about it. */
export interface FileKind {
  readonly what: string;
  readonly cure: string;
}

const AGAIN = "Download the file itself again.";

/** Beginnings by which files are known, as Latin-1 text. */
const KINDS: readonly (readonly [beginning: string, what: string, cure: string])[] = [
  ["version https://git-lfs", "a git-lfs pointer", "Fetch the file that it stands for: git lfs pull"],
  ["<!DOCTYPE", "a web page", AGAIN],
  ["<!doctype", "a web page", AGAIN],
  ["<html", "a web page", AGAIN],
  ["PK\u0003\u0004", "a zip archive (PyTorch's own format is one)", "Convert the weights to safetensors."],
  ["\u0080\u0002", "a Python pickle", "Convert the weights to safetensors."],
  ["GGUF", "a GGUF file", "Use the safetensors that it was made from."],
  ["\u001f\u008b", "a gzip archive", "Unpack it."],
  ["\u00fd7zXZ", "an xz archive", "Unpack it."],
  ["BZh", "a bzip2 archive", "Unpack it."],
  ["\u00ef\u00bb\u00bf", "a byte order mark (EF BB BF)", "Save it as UTF-8 without one."],
  ["\u00ff\u00fe", "UTF-16 text", "Save it as UTF-8 without a byte order mark."],
  ["\u00fe\u00ff", "UTF-16 text", "Save it as UTF-8 without a byte order mark."],
];

/** @param bytes the file, or its beginning @returns undefined when it looks like nothing in particular */
export function kindOf(bytes: Uint8Array): FileKind | undefined {
  if (bytes.length === 0) return { what: "an empty file", cure: AGAIN };
  const start = Buffer.from(bytes.subarray(0, 64)).toString("latin1");
  const found = KINDS.find(([beginning]) => start.startsWith(beginning));
  if (found !== undefined) return { what: found[1], cure: found[2] };
  if (bytes.length >= 8 && bytes.subarray(0, 64).every((byte) => byte === 0)) {
    return { what: "a file of zeros", cure: AGAIN };
  }
  return undefined;
}
