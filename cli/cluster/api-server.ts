// Calls of the command line to the API server: one bounded request, one whole answer, and what its refusals mean to a person.
import { Agent as HttpAgent, request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest, type RequestOptions } from "node:https";
import { fieldAt, textAt } from "../../operator/kube/objects.ts";
import { Failure } from "../exit.ts";
import type { Cluster } from "./kubeconfig.ts";

/** The operator gives itself 10 s and a webhook 5 s; who waits longer waits for nobody. */
const callTimeoutMs = 20_000;

/** A recording may hold 64 MiB of texts, and JSON makes them larger. */
const maxAnswerBytes = 160 * 1024 * 1024;

export interface Call {
  readonly method: "GET" | "POST" | "DELETE";
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: unknown;
}

export class ApiServer {
  readonly cluster: Cluster;
  #agent: HttpAgent | undefined;

  constructor(cluster: Cluster) {
    this.cluster = cluster;
  }

  /** Any status is an answer; throws Failure when there is none. */
  async call({ method, path, headers = {}, body }: Call): Promise<Answer> {
    const credentials = await this.#credentials();
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const url = new URL(this.cluster.server + path);
    const options: RequestOptions = {
      ...credentials,
      agent: this.#agentFor(url, credentials),
      method,
      signal: AbortSignal.timeout(callTimeoutMs),
      headers: {
        accept: "application/json",
        "user-agent": "chaperone-cli",
        ...Object.fromEntries(Object.entries(credentials.headers ?? {})),
        ...headers,
        ...(payload === undefined
          ? {}
          : {
              "content-type": "application/json",
              "content-length": Buffer.byteLength(payload),
            }),
      },
    };
    try {
      return await send(url, options, payload);
    } catch (cause) {
      throw new Failure(
        `the API server ${this.cluster.server} of context ${this.cluster.context} cannot be reached (${reasonOf(cause)})`,
        { cause },
      );
    }
  }

  close(): void {
    this.#agent?.destroy();
  }

  async #credentials(): Promise<RequestOptions> {
    try {
      return await this.cluster.credentials();
    } catch (cause) {
      throw new Failure(
        `the kubeconfig's credentials for context ${this.cluster.context} cannot be had: ${reasonOf(cause)}`,
        { cause },
      );
    }
  }

  /** One kept connection for all calls of a command; the client's own agents are made for one call each. */
  #agentFor(url: URL, credentials: RequestOptions): RequestOptions["agent"] {
    if (this.cluster.isProxied) return credentials.agent;
    const { ca, cert, key, pfx, passphrase, servername, rejectUnauthorized } = credentials;
    const tls = { ca, cert, key, pfx, passphrase, servername, rejectUnauthorized };
    const set = Object.fromEntries(Object.entries(tls).filter(([, value]) => value !== undefined));
    this.#agent ??=
      url.protocol === "https:"
        ? new HttpsAgent({ keepAlive: true, ...set })
        : new HttpAgent({ keepAlive: true });
    return this.#agent;
  }
}

function send(url: URL, options: RequestOptions, payload: string | undefined): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = (url.protocol === "https:" ? httpsRequest : httpRequest)(
      url,
      options,
      (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on("data", (chunk: Buffer) => {
          size += chunk.length;
          if (size > maxAnswerBytes)
            request.destroy(new Error(`its answer is larger than ${maxAnswerBytes} bytes`));
          else chunks.push(chunk);
        });
        response.once("error", reject);
        response.once("end", () => {
          const { statusCode: status = 0, headers } = response;
          resolve({ status, headers, body: parsed(Buffer.concat(chunks).toString("utf8")) });
        });
      },
    );
    request.once("error", reject);
    request.end(payload);
  });
}

/** What is not JSON (a proxy's page) is kept as text. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  if (cause.name === "AbortError" || cause.name === "TimeoutError")
    return `no answer within ${callTimeoutMs} ms`;
  return "code" in cause && typeof cause.code === "string" ? cause.code : cause.message;
}

/** The API server's own refusal (a Status object), not that of a server behind it. */
export function isStatus(body: unknown): boolean {
  return textAt(body, "kind") === "Status" && fieldAt(body, "status") === "Failure";
}

/** The chart's roles that let people in, so that a refusal can name the one to ask for. */
export const roles = {
  session: (namespace: string) =>
    `the Role chaperone-session of namespace ${namespace} (chart value roles.sessionGroups), or name the namespace Chaperone is installed in with --chaperone-namespace`,
  auditor: "ClusterRole chaperone-auditor",
  approver: "ClusterRole chaperone-approver",
  responder: "ClusterRole chaperone-responder",
} as const;

/** Which of them grants this path of the operator's API. */
export function roleFor(path: string): string {
  return path.startsWith("/v1/read/requests") ? roles.approver : roles.auditor;
}

/** A person's words for what the API server refused. `role` is the one that would grant it. */
export function refusal(what: string, { status, body }: Answer, role: string): Failure {
  const said = textAt(body, "message") ?? (typeof body === "string" ? body.slice(0, 300) : "");
  if (status === 401)
    return new Failure(
      `${what}: the API server does not accept this kubeconfig's credentials; log in again`,
    );
  if (status === 403) return new Failure(`${what}: ${said}; ask for ${role}`);
  return new Failure(`${what}: the API server answered ${status} ${said}`.trimEnd());
}
