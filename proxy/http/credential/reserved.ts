// Request headers of the agent's that never reach an upstream, whatever the Connection: each would speak in the place of what the Connection says.

/** Credentials. What the agent holds is a placeholder; the real one is added by the lease. */
export const credentialHeaders: readonly string[] = [
  "authorization",
  "proxy-authorization",
  "x-api-key", // Anthropic, AWS API Gateway
  "api-key", // Azure OpenAI
  "x-goog-api-key",
  "x-goog-iam-authorization-token",
  "x-amz-security-token", // AWS, beside a signature
  "x-auth-token", // OpenStack
  "x-access-token",
  "x-vault-token",
  "private-token", // GitLab, with the next two
  "job-token",
  "deploy-token",
  "ocp-apim-subscription-key", // Azure API Management
  "x-functions-key", // Azure Functions
  "x-rapidapi-key",
  "x-shopify-access-token",
  "dd-api-key", // Datadog, with the next
  "dd-application-key",
  "cf-access-client-id", // Cloudflare Access, with the next two
  "cf-access-client-secret",
  "cf-access-jwt-assertion",
  "x-amzn-oidc-accesstoken", // AWS load balancers, with the next two
  "x-amzn-oidc-data",
  "x-amzn-oidc-identity",
  "x-goog-iap-jwt-assertion",
];

/** Claims about where a request comes from or for whom it is made, which upstreams believe of a proxy; `x-forwarded-*` besides. */
export const claimHeaders: readonly string[] = [
  "forwarded",
  "x-real-ip",
  "x-client-ip",
  "x-cluster-client-ip",
  "true-client-ip",
  "cf-connecting-ip",
  "fastly-client-ip",
  "x-envoy-external-address",
  "remote-user",
  "x-remote-user",
  "x-webauth-user",
  "x-goog-authenticated-user-email",
  "x-goog-authenticated-user-id",
  // With the Connection's credential these choose whom it acts for, and who pays.
  "impersonate-user",
  "impersonate-group",
  "impersonate-uid",
  "openai-organization",
  "openai-project",
  "x-goog-user-project",
];

/** Families of such claims. */
export const claimPrefixes: readonly string[] = [
  "x-forwarded-",
  "x-auth-request-",
  "x-ms-client-principal",
  "impersonate-extra-",
];
