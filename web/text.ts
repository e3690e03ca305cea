/** Numbers and times as text. */

/** Three digits; thousands and millions by their letters. */
export function figure(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e9) return `${Number((value / 1e9).toPrecision(3))}G`;
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  if (size !== 0 && size < 1e-3) return value.toExponential(1);
  return String(Number(value.toPrecision(3)));
}

export function percent(share: number | null | undefined): string {
  return share === null || share === undefined ? "–" : `${Number((100 * share).toFixed(1))} %`;
}

export function signed(value: number): string {
  return value > 0 ? `+${figure(value)}` : figure(value);
}

/** A moment as people read it; as it is where it is none. */
export function moment(iso: string | null): string {
  if (iso === null) return "–";
  const time = new Date(iso);
  return Number.isNaN(time.getTime()) ? iso : time.toISOString().slice(0, 16).replace("T", " ");
}
