// Which of two resource versions is the newer one, where that can be known.

const decimal = /^[1-9][0-9]*$/;

/**
 * Resource versions of the API server's own kinds and of custom resources are decimal numbers that only grow (KEP-5504); for
 * anything else the answer is undefined, and the caller believes the order of arrival.
 */
export function compareVersions(a: string, b: string): number | undefined {
  if (!decimal.test(a) || !decimal.test(b)) return undefined;
  if (a.length !== b.length) return a.length - b.length;
  return a === b ? 0 : a < b ? -1 : 1;
}
