/**
 * Event files that TensorBoard shows and `wandb sync` reads: numbers under names, by step.
 * @source TensorFlow: `event.proto`, `summary.proto`, `tf_record`; protocol buffers, "Encoding"
 */

/** Numbers of one step. */
export interface ScalarEvent {
  /** Unix time in seconds. */
  readonly time: number;
  readonly step: number;
  readonly values: Readonly<Record<string, number>>;
}

/** Bytes of a whole event file. @param started Unix time in seconds, of the file's first record */
export function eventFileBytes(events: readonly ScalarEvent[], started: number): Uint8Array {
  const head = joined([double(1, started), bytes(3, utf8("brain.Event:2"))]);
  return joined([record(head), ...events.map((event) => record(eventMessage(event)))]);
}

function eventMessage({ time, step, values }: ScalarEvent): Uint8Array {
  const summary = Object.entries(values).map(([tag, value]) =>
    bytes(1, joined([bytes(1, utf8(tag)), float(2, value)])),
  );
  return joined([double(1, time), integer(2, step), bytes(5, joined(summary))]);
}

/** Length, its checksum, content, its checksum. */
function record(content: Uint8Array): Uint8Array {
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(content.length), true);
  return joined([length, checksum(length), content, checksum(content)]);
}

/** Checksums are rotated and shifted, so that one of data that hold checksums stays strong. */
function checksum(content: Uint8Array): Uint8Array {
  const crc = crc32c(content);
  const result = new Uint8Array(4);
  new DataView(result.buffer).setUint32(0, (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0, true);
  return result;
}

/** Castagnoli's polynomial, bits reversed. */
const POLYNOMIAL = 0x82f63b78;
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  return crc;
});

function crc32c(content: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of content) crc = TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

const utf8 = (text: string) => new TextEncoder().encode(text);

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

/** Seven bits a byte, the lowest first. @param value from 0 to 2^53 */
function varint(value: number): number[] {
  const result: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) result.push((rest % 128) | 0x80);
  result.push(rest);
  return result;
}

/** Kinds of fields: varint 0, eight bytes 1, length and bytes 2, four bytes 5. */
const key = (field: number, kind: 0 | 1 | 2 | 5) => (field << 3) | kind;

function integer(field: number, value: number): Uint8Array {
  return Uint8Array.of(key(field, 0), ...varint(value));
}

function bytes(field: number, content: Uint8Array): Uint8Array {
  return joined([Uint8Array.of(key(field, 2), ...varint(content.length)), content]);
}

function double(field: number, value: number): Uint8Array {
  const result = new Uint8Array(9);
  result[0] = key(field, 1);
  new DataView(result.buffer).setFloat64(1, value, true);
  return result;
}

function float(field: number, value: number): Uint8Array {
  const result = new Uint8Array(5);
  result[0] = key(field, 5);
  new DataView(result.buffer).setFloat32(1, value, true);
  return result;
}
