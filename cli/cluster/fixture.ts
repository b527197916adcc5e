// For tests: what the command line sees of a cluster. An API server that authenticates by bearer token, stamps sessions as the webhook does, and carries requests to a real operator API.
import { request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AccessSession, PublicJwk } from "../../crds/types.gen.ts";
import { startTestApi, type TestApi } from "../../operator/api/fixture.ts";
import { unauthorized } from "../../operator/api/errors.ts";
import type { ApiReader } from "../../operator/api/audit.ts";
import type { PeopleAction, PeopleAuthenticator, Person } from "../../operator/api/people.ts";
import { ProofRefused } from "../../operator/grants/dpop.ts";
import { fieldAt } from "../../operator/kube/objects.ts";
import { isValid, thumbprintOf } from "../../operator/kube/people.ts";
import { newAuthority, newServing } from "../../operator/pki/authority.ts";

const group = "/apis/chaperone.dev/v1alpha1";
const sessionsOf = `${group}/namespaces/chaperone-system/accesssessions`;
const proxied = "/api/v1/namespaces/chaperone-system/services/https:chaperone:8443/proxy";

/** What the test API server's certificate names. */
const serverName = "kubernetes.test";

type Json = Record<string, unknown>;

export class TestCluster {
  readonly api: TestApi;
  readonly env: NodeJS.ProcessEnv;
  readonly #directory: string;
  readonly #server: ReturnType<typeof createServer>;
  readonly #parts: Parts;

  static async start(options: { readonly reader?: ApiReader } = {}): Promise<TestCluster> {
    const parts: Parts = {
      sessions: new Map(),
      objects: new Map(),
      pods: [],
      seen: [],
      refuse: () => undefined,
      may: () => true,
    };
    const api = await startTestApi({
      people: peopleOf(parts),
      origins: ["https://chaperone.chaperone-system.svc:8443"],
      ...options,
    });
    const authority = newAuthority(Date.now());
    const serving = newServing(authority, [serverName], Date.now());
    const server = createServer(serving, (request, response) => {
      answer(parts, api, request, response).catch((error: unknown) =>
        response.destroy(error instanceof Error ? error : undefined),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo; // a TCP server has one
    const directory = await mkdtemp(join(tmpdir(), "chaperone-cluster-"));
    await writeFile(join(directory, "config"), kubeconfig(port, authority.certificate));
    return new TestCluster(parts, api, server, directory);
  }

  private constructor(
    parts: Parts,
    api: TestApi,
    server: ReturnType<typeof createServer>,
    directory: string,
  ) {
    this.#parts = parts;
    this.api = api;
    this.#server = server;
    this.#directory = directory;
    this.env = { KUBECONFIG: join(directory, "config") };
  }

  /** Requests the API server has seen, as `METHOD path`. */
  get seen(): readonly string[] {
    return this.#parts.seen;
  }

  /** Names of the sessions that stand. */
  get sessions(): readonly string[] {
    return [...this.#parts.sessions.keys()];
  }

  /** The pods that there are, one page of the API server for each entry. */
  putPods(...pages: readonly (readonly Json[])[]): void {
    this.#parts.pods = pages;
  }

  /** Answers in the API server's place, while it says anything but undefined. */
  refuse(rule: Parts["refuse"]): void {
    this.#parts.refuse = rule;
  }

  allow(rule: Parts["may"]): void {
    this.#parts.may = rule;
  }

  endSessions(): void {
    this.#parts.sessions.clear();
  }

  async close(): Promise<void> {
    await this.api.close();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    await rm(this.#directory, { recursive: true });
  }
}

interface Parts {
  readonly sessions: Map<string, AccessSession>;
  readonly objects: Map<string, Json>;
  pods: readonly (readonly Json[])[];
  readonly seen: string[];
  refuse: (
    call: string,
  ) => { readonly code: number; readonly message: string; readonly details?: Json } | undefined;
  may: (person: Person, action: PeopleAction) => boolean;
}

/** What KubePeople does, over the sessions of this server. */
function peopleOf(parts: Parts): PeopleAuthenticator {
  return {
    async authenticate({ proof, method, path }, { proofs, replay }) {
      const { jkt, jti } = await proofs.verify(proof, { method, path }).catch((error: unknown) => {
        throw error instanceof ProofRefused
          ? unauthorized(error.code, error.reason, error.message)
          : error;
      });
      const session = [...parts.sessions.values()].find(
        ({ spec }) => thumbprintOf(spec.publicKey) === jkt,
      );
      if (session === undefined || !isValid(session, Date.now()))
        throw unauthorized(
          "invalid_token",
          "SessionNotFound",
          "no valid AccessSession holds this key",
        );
      if (replay.use(jkt, jti) !== "fresh")
        throw unauthorized("invalid_dpop_proof", "ProofReplayed", "used before");
      const { username = "", groups = [] } = session.spec.user ?? {};
      return { username, groups, isServiceAccount: false, local: false };
    },
    authorize: async (person, action) => parts.may(person, action),
  };
}

async function answer(
  parts: Parts,
  api: TestApi,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { method = "", url = "" } = request;
  const path = url.split("?")[0] ?? "";
  parts.seen.push(`${method} ${path}`);
  const refused = parts.refuse(`${method} ${path}`);
  if (refused !== undefined)
    return send(response, refused.code, { kind: "Status", status: "Failure", ...refused });
  if (url.startsWith(proxied))
    return await forward(api, url.slice(proxied.length), request, response);
  const body: unknown = method === "POST" ? JSON.parse(await textOf(request)) : undefined;
  if (method === "POST" && path === sessionsOf)
    return send(response, 201, stamp(parts, request, body));
  if (path.startsWith(`${sessionsOf}/`)) {
    parts.sessions.delete(path.slice(sessionsOf.length + 1));
    return send(response, 200, { kind: "Status", status: "Success" });
  }
  if (path.endsWith("/pods")) return send(response, 200, podPage(parts, url));
  return objects(parts, method, path, body, response);
}

function podPage({ pods }: Parts, url: string): Json {
  const query = new URL(url, "https://api").searchParams;
  if (query.get("labelSelector") !== "chaperone.dev/inject=true") return { items: [] };
  const page = Number(query.get("continue") ?? 0);
  const more = page + 1 < pods.length ? { continue: String(page + 1) } : {};
  return { kind: "PodList", metadata: more, items: pods[page] ?? [] };
}

function stamp(parts: Parts, request: IncomingMessage, body: unknown): AccessSession {
  const name = `cli-${parts.sessions.size}-${parts.seen.length}`;
  const username = request.headers.authorization?.replace("Bearer ", "") ?? "";
  const session: AccessSession = {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "AccessSession",
    metadata: { name, namespace: "chaperone-system", creationTimestamp: new Date().toISOString() },
    spec: {
      publicKey: fieldAt(body, "spec", "publicKey") as PublicJwk, // what the command line sent
      user: { username, groups: ["finance-leads"] },
      expiresAt: new Date(Date.now() + 600_000).toISOString(),
    },
  };
  parts.sessions.set(name, session);
  return session;
}

/** Quarantines, as the API server keeps any resource. */
function objects(
  parts: Parts,
  method: string,
  path: string,
  body: unknown,
  response: ServerResponse,
): void {
  const [, namespace, name] =
    /(?:\/namespaces\/([^/]+))?\/quarantines(?:\/([^/]+))?$/.exec(path) ?? [];
  if (method === "POST") {
    const made = `q-${parts.objects.size}`;
    const metadata = {
      name: made,
      namespace,
      uid: `uid-${made}`,
      resourceVersion: "1",
      creationTimestamp: "2026-11-20T10:00:00Z",
    };
    const object = { ...(body as Json), metadata };
    parts.objects.set(`${namespace ?? ""}/${made}`, object);
    return send(response, 201, object);
  }
  if (method === "DELETE") {
    const known = parts.objects.delete(`${namespace ?? ""}/${name ?? ""}`);
    return send(response, known ? 200 : 404, { kind: "Status", details: { name } });
  }
  const all = [...parts.objects].filter(
    ([key]) => namespace === undefined || key.startsWith(`${namespace}/`),
  );
  return send(response, 200, { kind: "QuarantineList", items: all.map(([, object]) => object) });
}

/** As the API server's service proxy does: its own credentials taken off, everything else carried. */
async function forward(
  api: TestApi,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const headers = Object.fromEntries(
    Object.entries(request.headers).filter(([name]) => name !== "authorization"),
  );
  const { status, answered, body } = await new Promise<{
    status: number;
    answered: IncomingMessage["headers"];
    body: string;
  }>((resolve, reject) => {
    const onward = httpRequest(
      `${api.origin}${path}`,
      { method: request.method, headers },
      (answer) => {
        textOf(answer).then(
          (body) => resolve({ status: answer.statusCode ?? 0, answered: answer.headers, body }),
          reject,
        );
      },
    );
    onward.once("error", reject);
    request.pipe(onward);
  });
  response.writeHead(status, answered).end(body);
}

async function textOf(stream: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of stream) text += String(chunk);
  return text;
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

function kubeconfig(port: number, ca: string): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "alice",
    clusters: [
      {
        name: "test",
        cluster: {
          server: `https://127.0.0.1:${port}`,
          "tls-server-name": serverName,
          "certificate-authority-data": Buffer.from(ca).toString("base64"),
        },
      },
    ],
    users: [
      { name: "alice", user: { token: "alice@example.com" } },
      { name: "bob", user: { token: "bob@example.com" } },
    ],
    contexts: [
      { name: "alice", context: { cluster: "test", user: "alice", namespace: "agents" } },
      { name: "bob", context: { cluster: "test", user: "bob" } },
    ],
  });
}
