/** Which update's rollouts are looked at. */
import { useState } from "preact/hooks";
import { nearestOf } from "../steps.js";

export function UpdateChoice({
  steps,
  step,
  onChoose,
}: {
  /** Updates whose rollouts are kept, oldest first. */
  readonly steps: readonly number[];
  readonly step: number;
  readonly onChoose: (step: number) => void;
}) {
  const [typed, setTyped] = useState<string>();
  const at = steps.indexOf(step);
  const move = (by: number) => onChoose(steps[Math.max(0, Math.min(steps.length - 1, at + by))]);
  return (
    <form
      class="choice"
      onSubmit={(event) => {
        event.preventDefault();
        const nearest = nearestOf(steps, Number(typed));
        setTyped(undefined);
        if (nearest !== undefined) onChoose(nearest);
      }}
    >
      <button type="button" disabled={at <= 0} onClick={() => move(-1)}>
        earlier
      </button>
      <label class="choice">
        <span>Update</span>
        <input
          type="number"
          min={steps[0]}
          max={steps[steps.length - 1]}
          value={typed ?? step}
          onInput={(event) => setTyped(event.currentTarget.value)}
        />
      </label>
      <button type="button" disabled={at >= steps.length - 1} onClick={() => move(1)}>
        later
      </button>
      <span>{`${steps.length} kept, ${steps[0]} to ${steps[steps.length - 1]}`}</span>
    </form>
  );
}
