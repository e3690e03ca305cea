/** Small parts that several views share. */
import type { ComponentChildren } from "preact";
import type { ShownStatus } from "../../src/watch/api.js";
import type { Asked } from "../live.js";

const STATUS_TEXT: Readonly<Record<ShownStatus, string>> = {
  running: "running",
  finished: "finished",
  stopped: "stopped",
  failed: "failed",
  stale: "no sign of life",
  unreadable: "unreadable",
  unread: "not read yet",
};

export function Status({ status, reason }: { readonly status: ShownStatus; readonly reason: string | null }) {
  return (
    <span class={`status ${status}`} title={reason ?? undefined}>
      {STATUS_TEXT[status]}
    </span>
  );
}

/** What was asked for, or that it is on its way, or why it is not there. */
export function Shown<T>({
  asked,
  children,
}: {
  readonly asked: Asked<T>;
  readonly children: (value: T) => ComponentChildren;
}) {
  const { value, error } = asked;
  return (
    <>
      {error !== undefined && (
        <p class="problem" role="alert">
          {error}
        </p>
      )}
      {value !== undefined ? children(value) : error === undefined && <p class="quiet">Reading …</p>}
    </>
  );
}

/** A choice among a few. */
export function Choice<T extends string>({
  label,
  value,
  options,
  onChoose,
}: {
  readonly label: string;
  readonly value: T;
  readonly options: readonly (readonly [value: T, text: string])[];
  readonly onChoose: (value: T) => void;
}) {
  return (
    <label class="choice">
      <span>{label}</span>
      <select value={value} onChange={(event) => onChoose(event.currentTarget.value as T)}>
        {options.map(([one, text]) => (
          <option value={one} key={one}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

/** Earlier and later parts of a long list. */
export function Pages({
  from,
  shown,
  step = shown,
  total,
  what,
  onMove,
}: {
  readonly from: number;
  readonly shown: number;
  /** Length of a whole part, where the last one may be shorter. */
  readonly step?: number;
  readonly total: number;
  readonly what: string;
  readonly onMove: (from: number) => void;
}) {
  if (shown === total) return <p class="quiet">{`${total} ${what}`}</p>;
  return (
    <p class="pages">
      <button type="button" disabled={from === 0} onClick={() => onMove(Math.max(0, from - step))}>
        earlier
      </button>
      <span>{`${from + 1} to ${from + shown} of ${total} ${what}`}</span>
      <button type="button" disabled={from + shown >= total} onClick={() => onMove(from + shown)}>
        later
      </button>
    </p>
  );
}

/** A wide table that scrolls by itself; focusable, so that keys can scroll it. */
export function Scroll({
  label,
  children,
}: {
  readonly label: string;
  readonly children: ComponentChildren;
}) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keys
    <section class="scroll" tabIndex={0} aria-label={label}>
      {children}
    </section>
  );
}

/** A table with its head, which scrolls by itself. @param children its rows */
export function DataTable({
  label,
  columns,
  kind,
  children,
}: {
  readonly label: string;
  readonly columns: readonly ComponentChildren[];
  readonly kind?: string;
  readonly children: ComponentChildren;
}) {
  return (
    <Scroll label={label}>
      <table class={kind}>
        <thead>
          <tr>
            {columns.map((name, index) => (
              <th scope="col" key={index}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </Scroll>
  );
}

/** A word about a turn. */
export function Mark({ kind, text }: { readonly kind: "good" | "bad" | "plain"; readonly text: string }) {
  return <span class={`mark ${kind}`}>{text}</span>;
}
