/** A place in the code and what stands there instead. */
export interface DrawnMutant {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly mutator: string;
  readonly replacement: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

export function drawn(mutant: DrawnMutant, environment: Environment): boolean;

export function shareTable(
  report: unknown,
  interval: (successes: number, trials: number) => { share: number; low: number; high: number },
  environment: Environment,
): string;

export function unloaded(
  files: readonly {
    readonly name: string;
    readonly tasks: readonly unknown[];
    readonly result?: { readonly state: string; readonly errors?: readonly { readonly message: string }[] };
  }[],
): { readonly id: string; readonly status: number; readonly failureMessage: string }[];
