// Audit events as `chaperone events -o json` prints them, one object a line.
export interface EventLine {
  readonly stream: string;
  readonly seq: number;
  readonly type: string;
  readonly intent?: number;
  readonly session?: string;
  readonly operation?: {
    readonly kind: string;
    readonly summary: string;
    readonly facts?: unknown;
  };
  readonly decision?: { readonly verdict: string; readonly rule: string; readonly reason: string };
  readonly outcome?: { readonly status: string; readonly error?: string };
  readonly connection?: { readonly namespace: string; readonly name: string };
  readonly error?: { readonly code: string; readonly message: string };
  readonly gap?: { readonly reason: string };
}

export function parseEvents(stdout: string): EventLine[] {
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as EventLine);
}
