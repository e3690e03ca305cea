/** Declares `name` for all lanes: `value` of all lanes joined. By exchanges of pairs, which drivers compile to single instructions. */
export function joined(
  name: string,
  value: string,
  lanes: number,
  join: (a: string, b: string) => string,
): string {
  const steps = [];
  for (let distance = 1; distance < lanes; distance *= 2)
    steps.push(`      ${name} = ${join(name, `subgroupShuffleXor(${name}, ${distance}u)`)};`);
  return `      var ${name} = ${value};\n${steps.join("\n")}`;
}

export const added = (a: string, b: string): string => `${a} + ${b}`;
export const larger = (a: string, b: string): string => `max(${a}, ${b})`;
