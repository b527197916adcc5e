// Every form of credential from manifests to the upstream, through the whole of local mode, and a search of everything that was written for each secret.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { createServer } from "node:https";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { openLocalBackend } from "../../cli/dev/backend.ts";
import type { StoredEvent } from "../../contract/event.ts";
import { startLocal, type Local } from "../../cli/dev/local.ts";
import {
  scriptedServer,
  token,
  type ScriptedServer,
} from "../../operator/tokens/scripted-server.ts";
import { findSecrets } from "./local-search.ts";
import { startAuthority, type TestAuthority } from "./postgres-certificates.ts";

const secret = (what: string): string => `${what}-${randomBytes(12).toString("hex")}`;
const secrets = {
  header: secret("header"),
  password: secret("password"),
  query: secret("query"),
  clientSecret: secret("client"),
  subject: secret("subject"),
  token: secret("token"),
  awsSecret: secret("aws"),
  session: secret("session"),
};

const closers: (() => Promise<unknown> | void)[] = [];
const server = { requests: new Array<IncomingMessage>(), port: 0 };
let authority: TestAuthority;
let certificate: { readonly certificate: string; readonly key: string };
let login: ScriptedServer;
let local: Local;
let directory: string;

before(async () => {
  authority = await startAuthority();
  closers.push(() => authority.close());
  const { certificatePem, keyPem } = await authority.server();
  certificate = await authority.client("agent");
  const demands = { ca: authority.caPem, requestCert: true, rejectUnauthorized: true };
  const tls = { cert: certificatePem, key: keyPem, ...demands };
  const origin = createServer(tls, (request, response) => {
    server.requests.push(request);
    request.resume();
    // An upstream that shows where it was asked, as many do in their errors.
    response.writeHead(302, { location: `https://elsewhere.example${request.url}` });
    response.end("moved");
  });
  origin.listen(0, "127.0.0.1");
  await once(origin, "listening");
  closers.push(() => {
    origin.closeAllConnections();
    origin.close();
  });
  const address = origin.address();
  server.port = typeof address === "object" && address !== null ? address.port : 0;
  login = await scriptedServer({ after: (closer) => void closers.push(closer) }, "localhost");
  const gives = token({ access_token: secrets.token, expires_in: 30 });
  const said = { error: "invalid_client", error_description: Object.values(secrets).join() };
  const refuses = token({ access_token: undefined, ...said }, 401);
  login.answer = (response, asked) =>
    (asked.path === "/refused" ? refuses : gives)(response, asked);

  directory = await mkdtemp(join(tmpdir(), "chaperone-credentials-"));
  closers.push(() => rm(directory, { recursive: true, force: true }));
  const manifests = join(directory, "manifests.yaml");
  await writeFile(manifests, yaml());
  local = await startLocal({
    files: [manifests],
    namespace: "agents",
    serviceAccount: "agent",
    chain: undefined,
    state: join(directory, "state"),
    portBase: undefined,
    logLevel: "debug",
    say: () => {},
  });
  closers.push(() => local.close());
});

after(async () => {
  for (const closer of closers.toReversed()) await closer();
});

const names = ["header", "basic", "query", "client", "exchange", "aws", "refused", "away"] as const;

function yaml(): string {
  const pem = (text: string): string => text.trimEnd().replaceAll("\n", "\n    ");
  const connection = (name: string, credential: string): string => `---
apiVersion: chaperone.dev/v1alpha1
kind: Connection
metadata: {name: ${name}, namespace: agents}
spec:
  protocol: http
  endpoint:
    url: https://localhost:${server.port}/${name}
    tls: {mode: VerifyFull, caSecretRef: {name: cas, key: upstream}, clientCertificateSecretRef: {name: certificate}}
  hosts: [${name}.example]
  credential: {${credential}}
`;
  const oauth2 = (more: string, url = login.url): string =>
    `oauth2: {tokenUrl: "${url}", caSecretRef: {name: cas, key: login}, secretRef: {name: keys}, clientIdKey: clientId, clientSecretKey: clientSecret${more}}`;
  const forms: Readonly<Record<(typeof names)[number], string>> = {
    header: "static: {secretRef: {name: keys}, header: {name: X-Token, value: '${header}'}}",
    basic:
      "static: {secretRef: {name: keys}, basic: {usernameKey: clientId, passwordKey: password}}",
    query: "static: {secretRef: {name: keys}, query: {name: key, value: '${query}'}}",
    client: oauth2(""),
    exchange: oauth2(", tokenExchange: {subjectTokenKey: subject}"),
    aws: "awsSigV4: {service: execute-api, region: eu-central-1, secretRef: {name: keys}, accessKeyIdKey: clientId, secretAccessKeyKey: awsSecret, sessionTokenKey: session}",
    refused: oauth2("", login.url.replace("/oauth2/token", "/refused")),
    away: oauth2("", "https://localhost:1/token"),
  };
  return `apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: agents}
stringData: ${JSON.stringify({ ...secrets, clientId: "agent-client" })}
---
apiVersion: v1
kind: Secret
metadata: {name: certificate, namespace: agents}
type: kubernetes.io/tls
stringData:
  tls.crt: |
    ${pem(certificate.certificate)}
  tls.key: |
    ${pem(certificate.key)}
---
apiVersion: v1
kind: Secret
metadata: {name: cas, namespace: agents}
stringData:
  upstream: |
    ${pem(authority.caPem)}
  login: |
    ${pem(login.ca)}
---
apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: agent, namespace: agents}
spec:
  targetRefs: [${names.map((name) => `{group: chaperone.dev, kind: Connection, name: ${name}}`).join(", ")}]
  subjects: [{serviceAccounts: [agent]}]
  rules: [{name: reads, action: Allow, http: {methods: [GET]}}]
  recording: {detail: Full}
${names.map((name) => connection(name, forms[name])).join("")}`;
}

async function ask(name: (typeof names)[number], path = "/a?x=1"): Promise<Response> {
  const found = local.connections.find((connection) => connection.name === name);
  assert.ok(found !== undefined);
  return await fetch(`${found.url}${path}`, { redirect: "manual" });
}

/** What is in the store once the operator's own stream has written it. */
async function grantsOf(name: (typeof names)[number]): Promise<readonly StoredEvent[]> {
  const backend = await openLocalBackend(join(directory, "state"));
  const deadline = performance.now() + 5_000;
  for (;;) {
    const { events } = await backend.events({ limit: 1_000 });
    const grants = events.filter(
      ({ header, body }) => header.type === "grant" && body.connection?.name === name,
    );
    if (grants.length > 0) return grants;
    assert.ok(performance.now() < deadline, "no grant was recorded");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function last(): IncomingMessage {
  const request = server.requests.at(-1);
  assert.ok(request !== undefined);
  return request;
}

test("each form arrives as its specification says, and redirects come back without it", async () => {
  const location = async (name: (typeof names)[number]): Promise<string | null> => {
    const answer = await ask(name);
    assert.equal(answer.status, 302);
    return answer.headers.get("location");
  };
  assert.equal(await location("header"), "https://elsewhere.example/header/a?x=1");
  assert.equal(last().headers["x-token"], secrets.header);
  await location("basic");
  assert.equal(last().headers.authorization, `Basic ${btoa(`agent-client:${secrets.password}`)}`);
  assert.equal(await location("query"), "https://elsewhere.example/query/a?x=1");
  assert.equal(last().url, `/query/a?x=1&key=${secrets.query}`);
  await location("aws");
  assert.match(
    last().headers.authorization ?? "",
    /^AWS4-HMAC-SHA256 Credential=agent-client\/\d{8}\/eu-central-1\/execute-api\/aws4_request, /,
  );
  assert.equal(last().headers["x-amz-security-token"], secrets.session);
  for (const name of ["client", "exchange"] as const) {
    await location(name);
    assert.equal(last().headers.authorization, `Bearer ${secrets.token}`);
  }
  assert.deepEqual(
    login.asked.map(({ form }) => form.get("subject_token")),
    [null, secrets.subject],
  );
});

test("a grant is no longer than its token, and a second request under it asks for no second one", async () => {
  const before = login.asked.length;
  await ask("client");
  assert.equal(login.asked.length, before);
  const grants = await grantsOf("client");
  assert.equal(grants.length, 1);
  for (const { header, body } of grants) {
    const { expiresAt = "" } = body.grant ?? {};
    const seconds = (Date.parse(expiresAt) - Date.parse(header.time)) / 1_000;
    assert.ok(seconds > 20 && seconds <= 28, String(seconds));
  }
});

test("a server that refuses, and one that is away, are said to the agent by name and reach no upstream", async () => {
  const before = server.requests.length;
  const refused = await ask("refused");
  assert.equal(refused.status, 403);
  assert.match(await refused.text(), /GrantRefused.*agents\/refused.*\(401, invalid_client\)/);
  const away = await ask("away");
  assert.equal(away.status, 503);
  assert.match(await away.text(), /agents\/away.*the token endpoint localhost:1 cannot be reached/);
  assert.equal(server.requests.length, before);
});

test("nothing that was written holds a secret: events, spools, stores, state", async () => {
  await local.close();
  closers.pop();
  const key = certificate.key.split("\n")[1] ?? "";
  const found = await findSecrets([...Object.values(secrets), key], join(directory, "state"));
  assert.deepEqual(found, []);
});
