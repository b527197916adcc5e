// Parameters and bodies that approvers may look at: kept beside the requests, never inside the resource.

/** What approvers fetch when they look closer. A replica that does not have it says so; the request itself is unaffected. */
export interface DetailStore {
  put(key: string, detail: string): void;
  get(key: string): string | undefined;
  drop(key: string): void;
}

/** Longer details are cut by the proxy already; this is the most that one request may hold. */
export const maxDetailBytes = 256 * 1024;

/** All details of one replica together. The oldest go first: an approver who comes late decides on the statement alone. */
const maxDetailsBytes = 32 * 1024 * 1024;

export function memoryDetails(): DetailStore {
  const kept = new Map<string, string>();
  let total = 0;
  const drop = (key: string): void => {
    const old = kept.get(key);
    if (old === undefined) return;
    kept.delete(key);
    total -= Buffer.byteLength(old);
  };
  return {
    put(key, detail) {
      drop(key);
      const size = Buffer.byteLength(detail);
      if (size > maxDetailBytes) return;
      kept.set(key, detail);
      total += size;
      for (const oldest of kept.keys()) {
        if (total <= maxDetailsBytes) break;
        drop(oldest);
      }
    },
    get: (key) => kept.get(key),
    drop,
  };
}
