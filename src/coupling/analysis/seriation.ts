/** An order of samples in which similar ones are neighbours, for heat maps. */
import { requireGram } from "./checks.js";

/** A cluster: its members in order, and its mean similarity to the other living clusters by their place. */
interface Cluster {
  readonly members: number[];
  readonly similarity: Float64Array;
}

/**
 * Average-linkage clustering (UPGMA): the two clusters with the highest mean similarity over pairs of their members are
 * joined until one is left. At each join the one or both are turned round so that the most similar of their four ends meet.
 * Equal similarities are settled by the lower index, so the order is the same on every machine.
 * @param similarity [N, N], row-major, symmetric; cosines, for example
 * @returns the N indices in their new order
 * @remarks N^3 steps at worst, fast for some hundred samples.
 * @source Sokal & Michener 1958; turning ends is ours
 */
export function clusteredOrder(similarity: ArrayLike<number>, count: number): number[] {
  requireGram(similarity, count);
  const clusters: (Cluster | undefined)[] = Array.from({ length: count }, (_, i) => ({
    members: [i],
    similarity: Float64Array.from({ length: count }, (_, j) => similarity[i * count + j]),
  }));
  for (let left = count; left > 1; left--) join(clusters, similarity, count);
  return clusters.find((cluster) => cluster !== undefined)?.members ?? [];
}

/** Joins the closest two clusters into the place of the first. */
function join(clusters: (Cluster | undefined)[], similarity: ArrayLike<number>, count: number): void {
  let [first, second, best] = [-1, -1, -Infinity];
  for (let i = 0; i < count; i++) {
    const cluster = clusters[i];
    if (!cluster) continue;
    for (let j = i + 1; j < count; j++) {
      if (clusters[j] && cluster.similarity[j] > best) [first, second, best] = [i, j, cluster.similarity[j]];
    }
  }
  const [a, b] = [clusters[first] as Cluster, clusters[second] as Cluster];
  const [sizeA, sizeB] = [a.members.length, b.members.length];
  const joined = a.similarity.map((value, j) => (sizeA * value + sizeB * b.similarity[j]) / (sizeA + sizeB));
  clusters[second] = undefined;
  clusters[first] = {
    members: meeting(a.members, b.members, (i, j) => similarity[i * count + j]),
    similarity: joined,
  };
  clusters.forEach((cluster, j) => {
    if (cluster && j !== first) cluster.similarity[first] = joined[j];
  });
}

/** The two lists one after the other, turned so that the most similar ends meet. */
function meeting(
  a: readonly number[],
  b: readonly number[],
  similarity: (i: number, j: number) => number,
): number[] {
  const turned = (list: readonly number[]) => list.slice().reverse();
  const ways = [
    [a, b],
    [a, turned(b)],
    [turned(a), b],
    [turned(a), turned(b)],
  ];
  const value = ([one, two]: readonly (readonly number[])[]) => similarity(one[one.length - 1], two[0]);
  const best = ways.reduce((found, way) => (value(way) > value(found) ? way : found));
  return best.flat();
}
