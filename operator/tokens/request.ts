// Asks an authorization server for an access token: client credentials (RFC 6749 section 4.4) or token exchange (RFC 8693). Errors hold nothing that the server said but a standard code.
import * as oauth from "oauth4webapi";
import { tokenExchangeGrantType } from "../../contract/control.ts";
import { LeaseRefused } from "../grants/lease-refused.ts";
import type { ClientProof, TokenClient } from "./client.ts";
import { EndpointFailed, post, type TokenAccess } from "./endpoint.ts";

export interface AccessToken {
  readonly value: string;
  /** Undefined: the server did not say. */
  readonly livesSeconds: number | undefined;
}

/** RFC 6749 section 5.2 and RFC 8693 section 2.2.2. Another code may be anything, the secret included, and is not repeated. */
const standardErrors: ReadonlySet<string> = new Set([
  "invalid_request",
  "invalid_client",
  "invalid_grant",
  "invalid_scope",
  "invalid_target",
  "unauthorized_client",
  "unsupported_grant_type",
]);

/** A header of more is refused by most servers. */
const maxTokenLength = 16 * 1024;

/** @param connection `namespace/name`, for messages. Throws LeaseRefused. */
export async function requestToken(
  connection: string,
  client: TokenClient,
  access: TokenAccess,
  signal: AbortSignal,
): Promise<AccessToken> {
  const url = new URL(client.settings.tokenUrl);
  const where = `connection ${connection}: the token endpoint ${url.host}`;
  try {
    return await ask(client, url, access, signal);
  } catch (error) {
    // Never as a cause: those of the library hold the whole answer.
    throw asRefused(error, where);
  }
}

async function ask(
  client: TokenClient,
  url: URL,
  access: TokenAccess,
  signal: AbortSignal,
): Promise<AccessToken> {
  const server: oauth.AuthorizationServer = {
    issuer: client.settings.issuer ?? url.href,
    token_endpoint: url.href,
  };
  const self: oauth.Client = { client_id: client.clientId };
  const response = await oauth.genericTokenEndpointRequest(
    server,
    self,
    authentication(client.proof),
    client.subjectToken === undefined ? "client_credentials" : tokenExchangeGrantType,
    parameters(client),
    {
      signal,
      [oauth.customFetch]: async (_url, { headers, body }) => {
        const answer = await post(
          { url, headers, body: String(body), ca: client.ca },
          access,
          signal,
        );
        // It may be another answer in a moment.
        if (answer.status >= 500 || answer.status === 429)
          throw new EndpointFailed(
            "TokenEndpointUnreachable",
            `answered with status ${answer.status}`,
          );
        return answer;
      },
    },
  );
  const answer = await oauth.processGenericTokenEndpointResponse(server, self, response);
  if (answer.token_type !== "bearer")
    throw new EndpointFailed("TokenUnusable", "gave a token of another type than Bearer");
  const { access_token: value, expires_in: livesSeconds } = answer;
  if (value.length > maxTokenLength || !/^[\x21-\x7e]+$/.test(value))
    throw new EndpointFailed("TokenUnusable", "gave a token that no header can carry");
  return { value, livesSeconds };
}

function authentication(proof: ClientProof): oauth.ClientAuth {
  switch (proof.method) {
    case "client_secret_basic":
      return oauth.ClientSecretBasic(proof.secret);
    case "client_secret_post":
      return oauth.ClientSecretPost(proof.secret);
    case "private_key_jwt": {
      const { key, kid } = proof;
      return oauth.PrivateKeyJwt(kid === undefined ? key : { key, kid });
    }
    default:
      return proof satisfies never;
  }
}

function parameters({ settings, subjectToken }: TokenClient): URLSearchParams {
  const form = new URLSearchParams();
  if (settings.scopes !== undefined) form.set("scope", settings.scopes.join(" "));
  for (const audience of settings.audiences ?? []) form.append("audience", audience);
  for (const resource of settings.resources ?? []) form.append("resource", resource);
  const { tokenExchange } = settings;
  if (tokenExchange === undefined || subjectToken === undefined) return form;
  form.set("subject_token", subjectToken);
  form.set("subject_token_type", tokenExchange.subjectTokenType);
  form.set("requested_token_type", "urn:ietf:params:oauth:token-type:access_token");
  return form;
}

function asRefused(error: unknown, where: string): LeaseRefused {
  if (error instanceof EndpointFailed)
    return new LeaseRefused(error.reason, `${where} ${error.message}`, { temporary: true });
  if (error instanceof oauth.ResponseBodyError) {
    const code = standardErrors.has(error.error) ? error.error : "an error that is no standard one";
    return new LeaseRefused(
      "TokenRefused",
      `${where} refused to give a token (${error.status}, ${code}): check credential.oauth2, its Secret, and the client at the server`,
    );
  }
  return new LeaseRefused(
    "TokenUnusable",
    `${where} did not answer as RFC 6749 section 5 says: check credential.oauth2.tokenUrl`,
    { temporary: true },
  );
}
