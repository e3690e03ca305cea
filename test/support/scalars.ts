/** Reverse-mode differentiation of numbers in float64, for small references that share no code with the engine. */

/** A number, and how it comes from others. */
export class Scalar {
  grad = 0;

  constructor(
    readonly value: number,
    /** Lists of the numbers that it comes from. */
    readonly parents: readonly (readonly Scalar[])[] = [],
    /** Adds to the parents' `grad` what this number's `grad` means for them. */
    readonly reverse: (grad: number) => void = () => {},
  ) {}
}

export const constant = (value: number): Scalar => new Scalar(value);

/** Of one number, with its derivative. */
function unary(a: Scalar, value: number, derivative: number): Scalar {
  return new Scalar(value, [[a]], (grad) => {
    a.grad += grad * derivative;
  });
}

export function total(terms: readonly Scalar[]): Scalar {
  const value = terms.reduce((sum, term) => sum + term.value, 0);
  return new Scalar(value, [terms], (grad) => {
    for (const term of terms) term.grad += grad;
  });
}

export function dot(a: readonly Scalar[], b: readonly Scalar[]): Scalar {
  let value = 0;
  for (let i = 0; i < a.length; i++) value += a[i].value * b[i].value;
  return new Scalar(value, [a, b], (grad) => {
    for (let i = 0; i < a.length; i++) {
      a[i].grad += grad * b[i].value;
      b[i].grad += grad * a[i].value;
    }
  });
}

export const times = (a: Scalar, b: Scalar): Scalar => dot([a], [b]);
export const plus = (a: Scalar, b: Scalar): Scalar => total([a, b]);
export const minus = (a: Scalar, b: Scalar): Scalar => total([a, scaled(b, -1)]);
export const scaled = (a: Scalar, factor: number): Scalar => unary(a, a.value * factor, factor);
export const exp = (a: Scalar): Scalar => unary(a, Math.exp(a.value), Math.exp(a.value));
export const log = (a: Scalar): Scalar => unary(a, Math.log(a.value), 1 / a.value);
export const power = (a: Scalar, to: number): Scalar => unary(a, a.value ** to, to * a.value ** (to - 1));

/** Adds the derivatives of `root` to `grad` of all that it comes from. */
export function differentiate(root: Scalar): void {
  const order: Scalar[] = [];
  const seen = new Set<Scalar>();
  /** Numbers whose parents are being gone through: which list, and where in it. */
  const open = [{ scalar: root, list: 0, at: 0 }];
  for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
    const list = top.scalar.parents[top.list];
    if (list === undefined) {
      order.push(top.scalar);
      open.pop();
    } else if (top.at === list.length) {
      top.list++;
      top.at = 0;
    } else {
      const parent = list[top.at++];
      // whoever has no parents is only added to
      if (parent.parents.length === 0 || seen.has(parent)) continue;
      seen.add(parent);
      open.push({ scalar: parent, list: 0, at: 0 });
    }
  }
  root.grad += 1;
  for (const { grad, reverse } of order.reverse()) reverse(grad);
}
