// Every error of the operator's API: status, standard code, our reason, and one sentence.

export interface ApiErrorBody {
  readonly error: string;
  readonly error_description: string;
  readonly reason: string;
}

export class ApiError extends Error {
  readonly status: number;
  readonly error: string;
  readonly reason: string;
  /** For `WWW-Authenticate` on 401. */
  readonly scheme: "DPoP" | undefined;

  constructor(
    status: number,
    error: string,
    reason: string,
    message: string,
    options?: { readonly cause?: unknown; readonly scheme?: "DPoP" },
  ) {
    super(message, options?.cause === undefined ? {} : { cause: options.cause });
    this.name = "ApiError";
    this.status = status;
    this.error = error;
    this.reason = reason;
    this.scheme = options?.scheme;
  }

  body(): ApiErrorBody {
    return { error: this.error, error_description: this.message, reason: this.reason };
  }
}

/** RFC 6750 section 3.1 and RFC 9449 section 7.1. */
export function unauthorized(
  error: "invalid_token" | "invalid_dpop_proof" | "use_dpop_nonce",
  reason: string,
  message: string,
  cause?: unknown,
): ApiError {
  return new ApiError(401, error, reason, message, { cause, scheme: "DPoP" });
}

export function forbidden(reason: string, message: string): ApiError {
  return new ApiError(403, "access_denied", reason, message);
}

export function notFound(reason: string, message: string): ApiError {
  return new ApiError(404, "not_found", reason, message);
}

export function badRequest(reason: string, message: string): ApiError {
  return new ApiError(400, "invalid_request", reason, message);
}

export function tooMany(reason: string, message: string): ApiError {
  return new ApiError(429, "too_many_requests", reason, message);
}

export function unavailable(reason: string, message: string, cause?: unknown): ApiError {
  return new ApiError(503, "temporarily_unavailable", reason, message, { cause });
}
