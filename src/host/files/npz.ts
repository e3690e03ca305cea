/** Arrays as numpy's NPZ: a ZIP of NPY files, not compressed, the same bytes for the same arrays. */
import { zipSync } from "fflate";
import { ArgumentError } from "../../core/errors.js";

/** An array with its axes, row-major. */
export interface NpzArray {
  readonly shape: readonly number[];
  readonly data: Float64Array | Float32Array | Int32Array | readonly string[];
}

/** Time stamps of ZIP begin in 1980; a fixed one keeps files equal. */
const FIXED_TIME = new Date(1980, 0, 1);

/**
 * @param arrays by the names that `numpy.load` gives them
 * @throws ArgumentError when a shape does not fit its data
 * @source NPY format 1.0 (numpy.lib.format)
 */
export function npzBytes(arrays: Readonly<Record<string, NpzArray>>): Uint8Array {
  const files = Object.entries(arrays).map(([name, array]) => [`${name}.npy`, npyBytes(name, array)]);
  return zipSync(Object.fromEntries(files), { level: 0, mtime: FIXED_TIME });
}

function npyBytes(name: string, { shape, data }: NpzArray): Uint8Array {
  const size = shape.reduce((product, length) => product * length, 1);
  if (size !== data.length) {
    throw new ArgumentError(
      `[npz] ${name} does not fit its shape: got ${data.length} values, expected ${size} for [${shape}]. Correct the shape.`,
    );
  }
  const [dtype, bytes] = encoded(data);
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
  const text = `{'descr': '${dtype}', 'fortran_order': False, 'shape': ${tuple}, }`;
  // magic, version and length take 10 bytes; the data begin at a multiple of 64
  const padding = (64 - ((10 + text.length + 1) % 64)) % 64;
  const header = new TextEncoder().encode(`${text}${" ".repeat(padding)}\n`);
  const file = new Uint8Array(10 + header.length + bytes.length);
  file.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0, header.length & 0xff, header.length >> 8]);
  file.set(header, 10);
  file.set(bytes, 10 + header.length);
  return file;
}

/** Little-endian bytes with numpy's name of the type. */
function encoded(data: NpzArray["data"]): [string, Uint8Array] {
  if (data instanceof Float64Array)
    return ["<f8", littleEndian(data.length, 8, (view, at) => view.setFloat64(8 * at, data[at], true))];
  if (data instanceof Float32Array)
    return ["<f4", littleEndian(data.length, 4, (view, at) => view.setFloat32(4 * at, data[at], true))];
  if (data instanceof Int32Array)
    return ["<i4", littleEndian(data.length, 4, (view, at) => view.setInt32(4 * at, data[at], true))];
  // fixed width, UTF-32, filled up with zeros
  const letters = data.map((text) => [...text].map((letter) => letter.codePointAt(0) as number));
  const width = letters.reduce((most, { length }) => Math.max(most, length), 1);
  const fill = (view: DataView, at: number) =>
    view.setUint32(4 * at, letters[Math.floor(at / width)][at % width] ?? 0, true);
  return [`<U${width}`, littleEndian(data.length * width, 4, fill)];
}

function littleEndian(count: number, size: number, write: (view: DataView, at: number) => void): Uint8Array {
  const view = new DataView(new ArrayBuffer(count * size));
  for (let at = 0; at < count; at++) write(view, at);
  return new Uint8Array(view.buffer);
}
