// The one registry of what a proxy can refuse or fail with: code, HTTP status, SQLSTATE. Codes are never reused; docs/reference/errors.md lists them.
import type { RefusedTarget } from "../contract/event.ts";

export const proxyErrors = {
  Denied: { status: 403, sqlstate: "42501", retry: false },
  Pending: { status: 403, sqlstate: "42501", retry: true },
  ApprovalDenied: { status: 403, sqlstate: "42501", retry: false },
  ApprovalTimeout: { status: 403, sqlstate: "42501", retry: true },
  TooManyRequests: { status: 429, sqlstate: "53400", retry: true },
  MaskNotProvable: { status: 403, sqlstate: "42501", retry: false },
  LimitExceeded: { status: 429, sqlstate: "54000", retry: true },
  BudgetExceeded: { status: 403, sqlstate: "53400", retry: false },
  RepeatedOperation: { status: 403, sqlstate: "53400", retry: false },
  Quarantined: { status: 403, sqlstate: "28000", retry: false },
  GrantRefused: { status: 403, sqlstate: "28000", retry: false },
  GrantEnded: { status: 403, sqlstate: "57P01", retry: true },
  ControlPlaneUnavailable: { status: 503, sqlstate: "57P03", retry: true },
  ProxyTooOld: { status: 503, sqlstate: "0A000", retry: false },
  ConnectionUnknown: { status: 421, sqlstate: "3D000", retry: false },
  HostUnknown: { status: 403, sqlstate: "3D000", retry: false },
  PacketsRefused: { status: 403, sqlstate: "42501", retry: false },
  UpstreamUnreachable: { status: 502, sqlstate: "08001", retry: true },
  UpstreamTls: { status: 502, sqlstate: "08001", retry: false },
  UpstreamAuthentication: { status: 502, sqlstate: "28P01", retry: false },
  UpstreamProtocol: { status: 502, sqlstate: "08P01", retry: false },
  RecordingUnavailable: { status: 503, sqlstate: "58030", retry: true },
  MalformedRequest: { status: 400, sqlstate: "08P01", retry: false },
  TooLarge: { status: 413, sqlstate: "54000", retry: false },
  NotSupported: { status: 501, sqlstate: "0A000", retry: false },
  ShuttingDown: { status: 503, sqlstate: "57P01", retry: true },
} as const;

export type ProxyErrorCode = keyof typeof proxyErrors;

export class ProxyError extends Error {
  readonly code: ProxyErrorCode;
  /** Name of the access request that this is about. */
  readonly request: string | undefined;
  /** The place that no Connection names. */
  readonly target: Omit<RefusedTarget, "count"> | undefined;
  /** When the same operation may pass. */
  readonly retryAfterSeconds: number | undefined;

  /** @param message one sentence for the agent, naming connection, rule or limit, never a secret */
  constructor(
    code: ProxyErrorCode,
    message: string,
    options?: {
      readonly cause?: unknown;
      readonly request?: string;
      readonly target?: Omit<RefusedTarget, "count">;
      readonly retryAfterSeconds?: number;
    },
  ) {
    super(message, options);
    this.name = "ProxyError";
    this.code = code;
    this.request = options?.request;
    this.target = options?.target;
    this.retryAfterSeconds = options?.retryAfterSeconds;
  }

  get status(): number {
    return proxyErrors[this.code].status;
  }

  get sqlstate(): string {
    return proxyErrors[this.code].sqlstate;
  }
}
