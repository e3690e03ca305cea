/** The sample of mutants of `npm run mutate`: who is drawn, and what the table counts. */
import { describe, expect, test } from "vitest";
import { wilsonInterval } from "../../src/core/statistics.js";
import { type DrawnMutant, drawn, shareTable, unloaded } from "../support/mutation.js";

const mutants = Array.from(
  { length: 2000 },
  (_, at): DrawnMutant => ({
    file: `src/rl/file${at % 7}.ts`,
    line: at,
    column: 4,
    mutator: "EqualityOperator",
    replacement: "a < b",
  }),
);
const sample = (share: string | undefined, seed?: string) =>
  mutants.filter((mutant) => drawn(mutant, { MUTATION_SHARE: share, MUTATION_SEED: seed }));

describe("a sample of mutants", () => {
  test("has about the share asked for, the same each time, another for another seed; without a share it has all", () => {
    const [tenth, again, other] = [sample("0.1"), sample("0.1", "1"), sample("0.1", "2")];
    // 200 expected, with a standard deviation of 13.4
    for (const some of [tenth, other]) expect(Math.abs(some.length - 200)).toBeLessThan(54);
    expect(again).toEqual(tenth);
    expect(tenth.filter((mutant) => other.includes(mutant)).length).toBeLessThan(60);
    expect(sample(undefined)).toEqual(mutants);
    // a larger share adds to the smaller one
    expect(sample("0.3")).toEqual(expect.arrayContaining(tenth));
  });

  test.each(["0", "1.1", "-1", "many", ""])("a share of %j is refused", (share) => {
    expect(() => drawn(mutants[0], { MUTATION_SHARE: share })).toThrow("MUTATION_SHARE");
  });

  test("the table counts by the sample, uncovered mutants too, and notices another one", () => {
    const environment = { MUTATION_SHARE: "0.5" };
    const statuses = ["Killed", "Timeout", "Survived", "NoCoverage", "Ignored"];
    const asked = mutants.slice(0, 40);
    const report = {
      files: {
        "src/a.ts": {
          mutants: asked.map((mutant, at) => {
            const status = statuses[at % statuses.length];
            const isLeft = !drawn({ ...mutant, file: "src/a.ts" }, environment) && status !== "NoCoverage";
            return {
              location: { start: { line: mutant.line, column: mutant.column + 1 } },
              mutatorName: mutant.mutator,
              replacement: mutant.replacement,
              status: isLeft && status !== "Ignored" ? "CompileError" : status,
              statusReason: isLeft ? "not drawn" : undefined,
            };
          }),
        },
      },
    };
    const counted = asked.flatMap((mutant, at) => {
      const status = statuses[at % statuses.length];
      return status !== "Ignored" && drawn({ ...mutant, file: "src/a.ts" }, environment) ? [status] : [];
    });
    const killed = counted.filter((status) => status === "Killed" || status === "Timeout").length;
    expect(counted).toContain("NoCoverage");
    expect(killed).toBeGreaterThan(0);
    const rows = shareTable(report, wilsonInterval, environment).split("\n");
    const { share, low, high } = wilsonInterval(killed, counted.length);
    const percent = (value: number) => `${(100 * value).toFixed(0)} %`;
    const figures = `| 32 | ${counted.length} | ${killed} | ${percent(share)} | ${percent(low)} to ${percent(high)} |`;
    expect(rows.slice(2)).toEqual([`| \`src/a.ts\` ${figures}`, `| together ${figures}`]);
    expect(() => shareTable(report, wilsonInterval, { MUTATION_SHARE: "0.5", MUTATION_SEED: "2" })).toThrow(
      "not the sample of this report",
    );
  });
});

test("a file that cannot be loaded is a failed test; others are left to their tests", () => {
  const errors = [{ message: "no such thing" }];
  const files = [
    { name: "a.test.ts", tasks: [], result: { state: "fail", errors } },
    { name: "b.test.ts", tasks: [{}], result: { state: "fail", errors } },
    { name: "c.test.ts", tasks: [], result: { state: "skip" } },
    { name: "d.test.ts", tasks: [] },
  ];
  expect(unloaded(files)).toMatchObject([{ id: "a.test.ts#", status: 1, failureMessage: "no such thing" }]);
});
