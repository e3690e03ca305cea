/**
 * When does a flawed action correct itself? A toy with one flawed action of probability q = sigmoid(z), and what measured
 * samples say about its two numbers. The whole file is our reconstruction: public summaries of 2509.23870 name a danger
 * zone and a safe regime, their definition there is not known to us.
 */
import { ArgumentError } from "../../core/errors.js";
import { requireFinite, requireLength } from "./checks.js";

/** The flawed action's risk and the outside drive on its logit. */
export interface Toy {
  /** r > 0: loss of success by choosing the flawed action. */
  readonly risk: number;
  /** c: pull on the logit from rewarded samples in similar states; at least 0 in the closed form. */
  readonly drive: number;
}

export type Zone = "safe" | "danger" | "no_safe_regime";

/** Probabilities at which the toy rests. */
export interface FixedPoints {
  /** q-: starts below q+ end here. Not 0 with a drive: coupling leaves a floor of flawed actions. */
  readonly stable: number;
  /** q+: starts above run to 1. */
  readonly unstable: number;
}

/** dz/dt = -r q (1 - q) + c, z the logit of the flawed action. @param q its probability */
export function drift(q: number, { risk, drive }: Toy): number {
  return -risk * q * (1 - q) + drive;
}

/**
 * q-, q+ = (1 -+ sqrt(1 - 4 rho)) / 2 with rho = c / r.
 * @returns undefined for rho >= 1/4: the flawed action is reinforced at every q
 */
export function fixedPoints({ risk, drive }: Toy): FixedPoints | undefined {
  if (!(risk > 0 && drive >= 0 && Number.isFinite(risk) && Number.isFinite(drive))) {
    throw new ArgumentError(
      `[coupling] no such toy: got risk ${risk} and drive ${drive}, expected risk above 0 and drive 0 or more. Change them.`,
    );
  }
  const rho = drive / risk;
  if (rho >= 0.25) return undefined;
  const root = Math.sqrt(1 - 4 * rho);
  // 2 rho / (1 + root) is (1 - root) / 2 without cancellation
  return { stable: (2 * rho) / (1 + root), unstable: (1 + root) / 2 };
}

/** Zone of a flawed action of probability q. At q+ itself the toy rests but leaves by any touch: danger. */
export function zoneOf(q: number, toy: Toy): Zone {
  const points = fixedPoints(toy);
  if (!points) return "no_safe_regime";
  return q < points.unstable ? "safe" : "danger";
}

/**
 * Follows the toy by classical Runge-Kutta steps (fourth order).
 * @param start probability of the flawed action, between 0 and 1
 * @param time total time, in `steps` equal parts
 * @returns q at the end
 */
export function toyEnd(start: number, toy: Toy, time: number, steps: number): number {
  if (!(start > 0 && start < 1)) {
    throw new ArgumentError(
      `[coupling] start is not between 0 and 1: got ${start}, expected a probability. Change it.`,
    );
  }
  const slope = (z: number) => drift(sigmoid(z), toy);
  const h = time / steps;
  let z = Math.log(start / (1 - start));
  for (let step = 0; step < steps; step++) {
    const a = slope(z);
    const b = slope(z + (h * a) / 2);
    const c = slope(z + (h * b) / 2);
    const d = slope(z + h * c);
    z += (h * (a + 2 * b + 2 * c + d)) / 6;
  }
  return sigmoid(z);
}

/** Probability that a group of `size` samples holds both the flawed action and another one: 1 - q^n - (1 - q)^n. */
export function contrastProbability(q: number, size: number): number {
  return 1 - q ** size - (1 - q) ** size;
}

/** One flawed action as measured. */
export interface FlawedAction {
  /** Its probability, above 0 and below 1. */
  readonly q: number;
  /** Predicted change of its logit: that of its log-probability over 1 - q. */
  readonly drift: number;
}

/**
 * Flawed actions on the axes of the danger-zone chart.
 * @param logProbs [N], log-probability of each action
 * @param totals [N], predicted change of it, see `influence`
 * @param advantages [N]; flawed is below 0
 * @returns of the flawed samples with 0 < q < 1, with their index
 */
export function flawedActions(
  logProbs: ArrayLike<number>,
  totals: ArrayLike<number>,
  advantages: ArrayLike<number>,
): (FlawedAction & { readonly index: number })[] {
  requireLength("totals", totals, logProbs.length);
  requireLength("advantages", advantages, logProbs.length);
  requireFinite("totals", totals);
  return Array.from(logProbs, (logProb, index) => {
    const q = Math.exp(logProb);
    return { index, q, drift: totals[index] / -Math.expm1(logProb) };
  }).filter(({ index, q }) => advantages[index] < 0 && q > 0 && q < 1);
}

/**
 * The toy that fits measured flawed actions best: least squares of drift = -r q (1 - q) + c. A description of one batch, in
 * which actions differ by more than q; read it beside the points, not in their place.
 * @returns null with fewer than 3 actions, when all have the same q (1 - q), or when no risk above 0 and drive of 0 or more
 * fit
 */
export function fitToy(actions: readonly FlawedAction[]): Toy | null {
  if (actions.length < 3) return null;
  const x = actions.map(({ q }) => q * (1 - q));
  const y = actions.map((action) => action.drift);
  const centre = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [centreX, centreY] = [centre(x), centre(y)];
  const spread = x.reduce((sum, value) => sum + (value - centreX) ** 2, 0);
  if (spread < 1e-12) return null;
  const slope = x.reduce((sum, value, i) => sum + (value - centreX) * (y[i] - centreY), 0) / spread;
  const toy = { risk: -slope, drive: centreY - slope * centreX };
  return toy.risk > 0 && toy.drive >= 0 ? toy : null;
}

function sigmoid(z: number): number {
  return 1 / (1 + Math.exp(-z));
}
