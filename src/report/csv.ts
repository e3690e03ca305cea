/** Comma-separated values. @source RFC 4180 */

/** One line without its end. */
export function csvLine(cells: readonly string[]): string {
  return cells.map(quoted).join(",");
}

function quoted(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
