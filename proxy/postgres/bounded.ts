// A deadline for questions of our own to the server: several waits share it.

export interface Deadline {
  /** @throws Error when the deadline comes first */
  readonly race: <T>(wait: Promise<T>) => Promise<T>;
  readonly clear: () => void;
}

export function bounded(milliseconds: number): Deadline {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error("no answer in time")), milliseconds);
  });
  expired.catch(() => undefined);
  return {
    race: (wait) => Promise.race([wait, expired]),
    clear: () => clearTimeout(timer),
  };
}
