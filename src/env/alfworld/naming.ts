/** Display names of objects (`cabinet_bar__minus_00_...` to `cabinet 6`), numbered as the original numbers them. */
import type { Problem } from "../pddl/pddl.js";

/** Names of a game's objects, both ways. */
export class EntityNames {
  /** Object id to display name, for every object of the start facts, in id order. */
  readonly byId: ReadonlyMap<string, string>;
  readonly #ids = new Map<string, string>();

  constructor(byId: ReadonlyMap<string, string>) {
    this.byId = byId;
    for (const [id, name] of byId) if (!this.#ids.has(name)) this.#ids.set(name, id);
  }

  /** Display name of an id; an object that no start fact mentions has its id and a space, as all unnumbered ones. */
  nameOf(id: string): string {
    return this.byId.get(id) ?? `${id} `;
  }

  /** The id that a display name stands for. */
  idOf(name: string): string | undefined {
    return this.#ids.get(name);
  }
}

/**
 * Numbers the objects that the start facts mention. An id is `base_bar_...`; ids of one base, sorted by code point, get
 * the highest number first. An id with `basin` in it has that added to its base, so a sink's basin is no sink. Ids without
 * `_bar_` get no number but a trailing space.
 */
export function nameEntities(problem: Problem): EntityNames {
  const ids = [...new Set(problem.init.flatMap((atom) => atom.args))].sort();
  const left = new Map<string, number>();
  for (const id of ids) {
    const base = baseOf(id);
    if (base !== undefined) left.set(base, (left.get(base) ?? 0) + 1);
  }
  const names = new Map<string, string>();
  for (const id of ids) {
    const base = baseOf(id);
    if (base === undefined) {
      names.set(id, `${id} `);
      continue;
    }
    const number = left.get(base) as number;
    left.set(base, number - 1);
    names.set(id, `${base} ${number}`);
  }
  return new EntityNames(names);
}

function baseOf(id: string): string | undefined {
  const end = id.indexOf("_bar_");
  if (end < 0) return undefined;
  return id.slice(0, end) + (id.includes("basin") ? "basin" : "");
}
