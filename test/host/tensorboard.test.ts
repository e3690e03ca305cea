/** Event files, read back by a parser of its own that knows nothing of the writer. */
import { expect, test } from "vitest";
import { eventFileBytes } from "../../src/host/files/tensorboard.js";

/** CRC-32C bit by bit, as the polynomial division is defined. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0x82f63b78n : crc >> 1n;
  }
  return Number(crc ^ 0xffffffffn);
}

function unmasked(value: number): number {
  const rotated = (value - 0xa282ead8 + 2 ** 32) % 2 ** 32;
  return Number(((BigInt(rotated) >> 17n) | (BigInt(rotated) << 15n)) & 0xffffffffn);
}

function* records(file: Uint8Array): Generator<Uint8Array> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  for (let at = 0; at < file.length; ) {
    const length = Number(view.getBigUint64(at, true));
    expect(unmasked(view.getUint32(at + 8, true))).toBe(crc32c(file.subarray(at, at + 8)));
    const content = file.subarray(at + 12, at + 12 + length);
    expect(unmasked(view.getUint32(at + 12 + length, true))).toBe(crc32c(content));
    yield content;
    at += 16 + length;
  }
}

/** Fields of a message as [number, value]: numbers, or bytes of what is inside. */
function fields(message: Uint8Array): [number, number | Uint8Array][] {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const found: [number, number | Uint8Array][] = [];
  let at = 0;
  const varint = () => {
    let [value, factor] = [0, 1];
    for (; message[at] & 0x80; factor *= 128) value += (message[at++] & 0x7f) * factor;
    return value + message[at++] * factor;
  };
  while (at < message.length) {
    const key = varint();
    const kind = key & 7;
    const length = kind === 2 ? varint() : kind === 1 ? 8 : 4;
    if (kind === 0) found.push([key >> 3, varint()]);
    else if (kind === 1) found.push([key >> 3, view.getFloat64(at, true)]);
    else if (kind === 5) found.push([key >> 3, view.getFloat32(at, true)]);
    else found.push([key >> 3, message.subarray(at, at + length)]);
    if (kind !== 0) at += length;
  }
  return found;
}

const textOf = (value: unknown) => new TextDecoder().decode(value as Uint8Array);

test("the check value of CRC-32C", () => {
  expect(crc32c(new TextEncoder().encode("123456789"))).toBe(0xe3069283);
});

test("every record has its checksums, and holds what was written", () => {
  const events = [
    { time: 1.7e9 + 0.5, step: 1, values: { reward: 0.25, "grad_norm/ü": -1e-3 } },
    {
      time: 1.7e9 + 9,
      step: 2 ** 40 + 3,
      values: Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`key/${i}`, i])),
    },
    { time: 1.7e9 + 9, step: 300, values: {} },
  ];
  const [head, ...rest] = [...records(eventFileBytes(events, 1.7e9))].map(fields);
  expect(head.map(([field, value]) => [field, typeof value === "number" ? value : textOf(value)])).toEqual([
    [1, 1.7e9],
    [3, "brain.Event:2"],
  ]);
  const read = rest.map((event) => {
    const [[, time], [, step], [place, summary]] = event;
    expect(place).toBe(5);
    const values = fields(summary as Uint8Array).map(([, value]) => {
      const [[, tag], [, number]] = fields(value as Uint8Array);
      return [textOf(tag), number];
    });
    return { time, step, values: Object.fromEntries(values) };
  });
  const rounded = (values: Record<string, number>) =>
    Object.fromEntries(Object.entries(values).map(([tag, value]) => [tag, Math.fround(value)]));
  expect(read).toEqual(
    events.map((event) => ({ ...event, values: rounded(event.values as Record<string, number>) })),
  );
});
