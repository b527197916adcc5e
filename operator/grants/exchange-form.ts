// Reads the form of a token exchange (RFC 8693 section 2.1) and says what is wrong with it in that RFC's words.
import {
  connectionAudience,
  grantTokenType,
  jwtTokenType,
  podAudience,
  tokenExchangeGrantType,
  type TokenError,
} from "../../contract/control.ts";

/** A projected token takes about 1.2 KiB. */
export const maxSubjectTokenBytes = 16 * 1024;

export interface ExchangeForm {
  readonly subjectToken: string;
  /** `namespace/name`; undefined asks for a pod grant. */
  readonly connection: string | undefined;
}

export type TokenErrorCode = TokenError["error"];

/** A refused exchange: `error` as RFCs 6749, 8693 and 9449 name it, `reason` ours. */
export class ExchangeRefused extends Error {
  readonly error: TokenErrorCode;
  readonly reason: string;
  readonly status: number;

  constructor(
    error: TokenErrorCode,
    reason: string,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = "ExchangeRefused";
    this.error = error;
    this.reason = reason;
    this.status = error === "temporarily_unavailable" ? 503 : 400;
  }

  body(): TokenError {
    return { error: this.error, error_description: this.message, reason: this.reason };
  }
}

const single = [
  "grant_type",
  "subject_token",
  "subject_token_type",
  "requested_token_type",
  "actor_token",
  "actor_token_type",
  "scope",
];
const audiencePattern = new RegExp(
  `^${connectionAudience("", "").replace("/", "")}([a-z0-9][-a-z0-9]{0,62})/([a-z0-9][-a-z0-9.]{0,252})$`,
);

type Check = (form: URLSearchParams) => ExchangeRefused | undefined;

const checks: readonly Check[] = [
  (form) => {
    const repeated = single.find((name) => form.getAll(name).length > 1);
    return repeated === undefined
      ? undefined
      : invalid("ParameterRepeated", `${repeated} is given more than once`);
  },
  (form) =>
    form.has("grant_type") ? undefined : invalid("ParameterMissing", "grant_type is missing"),
  (form) =>
    form.get("grant_type") === tokenExchangeGrantType
      ? undefined
      : new ExchangeRefused(
          "unsupported_grant_type",
          "UnsupportedGrantType",
          `grant_type must be ${tokenExchangeGrantType}`,
        ),
  (form) =>
    form.get("subject_token") ? undefined : invalid("ParameterMissing", "subject_token is missing"),
  (form) =>
    (form.get("subject_token")?.length ?? 0) <= maxSubjectTokenBytes
      ? undefined
      : invalid("TokenTooLarge", `subject_token is larger than ${maxSubjectTokenBytes} bytes`),
  (form) =>
    form.get("subject_token_type") === jwtTokenType
      ? undefined
      : invalid("UnsupportedTokenType", `subject_token_type must be ${jwtTokenType}`),
  (form) =>
    [null, grantTokenType].includes(form.get("requested_token_type"))
      ? undefined
      : invalid("UnsupportedTokenType", `requested_token_type must be ${grantTokenType} or absent`),
  (form) =>
    form.has("actor_token") || form.has("actor_token_type")
      ? invalid("ActorUnsupported", "actor_token is not supported: a pod acts for itself")
      : undefined,
  (form) =>
    form.has("resource")
      ? invalidTarget("name the connection by audience, not by resource")
      : undefined,
  (form) =>
    form.getAll("audience").length > 1
      ? invalidTarget("one grant is for one audience; ask for each on its own")
      : undefined,
];

/** Throws ExchangeRefused. Parameters it does not know are ignored, as RFC 6749 section 3.2 asks. */
export function readExchangeForm(body: string): ExchangeForm {
  const form = new URLSearchParams(body);
  for (const check of checks) {
    const refused = check(form);
    if (refused !== undefined) throw refused;
  }
  return {
    subjectToken: form.get("subject_token") ?? "",
    connection: connectionOfAudience(form.get("audience") ?? podAudience),
  };
}

function connectionOfAudience(audience: string): string | undefined {
  if (audience === podAudience) return undefined;
  const [, namespace, name] = audiencePattern.exec(audience) ?? [];
  if (namespace === undefined || name === undefined) {
    throw invalidTarget(
      `audience must be ${podAudience} or ${connectionAudience("NAMESPACE", "NAME")}`,
    );
  }
  return `${namespace}/${name}`;
}

function invalid(reason: string, message: string): ExchangeRefused {
  return new ExchangeRefused("invalid_request", reason, message);
}

function invalidTarget(message: string): ExchangeRefused {
  return new ExchangeRefused("invalid_target", "AudienceInvalid", message);
}
