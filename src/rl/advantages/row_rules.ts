/** What options make of single rows: their penalty, and whether the loss masks them. */
import type { ResolvedOptions } from "./options.js";
import type { AdvantageRow, Table } from "./table.js";

/** Penalty of every row. */
export function penaltiesOf({ rows }: Table, { invalid_action_penalty }: ResolvedOptions): Float64Array {
  return Float64Array.from(
    rows,
    (row) => (row.valid === false ? invalid_action_penalty : 0) + (row.penalty ?? 0),
  );
}

/** Whether the options leave a row out of the loss. */
export function isMasked({ truncated }: AdvantageRow, { mask_truncated }: ResolvedOptions): boolean {
  return mask_truncated && truncated === true;
}
