// The operator's API as a person of the kubeconfig: a short AccessSession binds a key made here to them, DPoP by that key proves each
// request, and the API server's service proxy carries it, so that neither a port-forward nor a way into the pod network is needed.
import { fieldAt, textAt } from "../../operator/kube/objects.ts";
import { ProofKey } from "../../proxy/grant/keys.ts";
import { Failure } from "../exit.ts";
import { type Answer, type ApiServer, isStatus, refusal, roleFor, roles } from "./api-server.ts";

/** The chart's Service and its port for people and proxies. */
const service = "chaperone";
const port = 8443;

/**
 * A session is good for ten minutes; a new one is made before the old one can end inside a request. None is taken away: its key
 * dies with this process, and the operator removes what has ended.
 */
const sessionUseMs = 9 * 60_000;

const sessionsPath = (namespace: string): string =>
  `/apis/chaperone.dev/v1alpha1/namespaces/${encodeURIComponent(namespace)}/accesssessions`;

interface Session {
  readonly key: Promise<ProofKey>;
  readonly madeAt: number;
}

/** The operator said no, or that something is not there; `reason` is its stable code. */
export class OperatorSaidNo extends Failure {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, reason: string, message: string) {
    super(message);
    this.name = "OperatorSaidNo";
    this.status = status;
    this.reason = reason;
  }
}

export class OperatorApi {
  readonly #server: ApiServer;
  readonly #namespace: string;
  readonly #now: () => number;
  #session: Session | undefined;
  #nonce: string | undefined;

  constructor(server: ApiServer, namespace: string, now: () => number) {
    this.#server = server;
    this.#namespace = namespace;
    this.#now = now;
  }

  /** @param path with query. Throws OperatorSaidNo, or Failure when the operator did not answer. */
  async call(method: "GET" | "POST", path: string, body?: unknown): Promise<unknown> {
    const tried = { nonce: false, session: false };
    for (;;) {
      const session = this.#currentSession();
      const answer = await this.#once(await session.key, method, path, body);
      if (answer.status >= 200 && answer.status < 300) return answer.body;
      const error = textAt(answer.body, "error");
      const reason = textAt(answer.body, "reason") ?? "";
      if (error === undefined || isStatus(answer.body)) throw this.#unreachable(answer);
      if (error === "use_dpop_nonce" && !tried.nonce) {
        tried.nonce = true; // a proof must carry the operator's own nonce (RFC 9449 section 8)
      } else if (reason === "SessionNotFound" && !tried.session) {
        tried.session = true; // ended, or deleted by somebody: one more
        if (this.#session === session) this.#session = undefined;
      } else {
        const said =
          textAt(answer.body, "error_description") ?? `the operator answered ${answer.status}`;
        throw new OperatorSaidNo(
          answer.status,
          reason,
          reason === "NotAuthorized" ? `${said} (${roleFor(path)})` : said,
        );
      }
    }
  }

  async #once(key: ProofKey, method: "GET" | "POST", path: string, body: unknown): Promise<Answer> {
    const proof = await key.proof({
      method,
      url: `https://${service}.${this.#namespace}.svc:${port}${path.split("?")[0] ?? ""}`,
      ...(this.#nonce === undefined ? {} : { nonce: this.#nonce }),
    });
    const answer = await this.#server.call({
      method,
      path: `/api/v1/namespaces/${encodeURIComponent(this.#namespace)}/services/https:${service}:${port}/proxy${path}`,
      headers: { dpop: proof },
      ...(body === undefined ? {} : { body }),
    });
    const nonce = answer.headers["dpop-nonce"];
    if (typeof nonce === "string") this.#nonce = nonce;
    return answer;
  }

  /** One for all calls of a command, also for those that come while it is being made. */
  #currentSession(): Session {
    const held = this.#session;
    if (held !== undefined && this.#now() - held.madeAt < sessionUseMs) return held;
    const session: Session = { key: this.#open(), madeAt: this.#now() };
    this.#session = session;
    session.key.catch(() => {
      if (this.#session === session) this.#session = undefined; // the next call tries again
    });
    return session;
  }

  async #open(): Promise<ProofKey> {
    const key = await ProofKey.create(this.#now);
    const answer = await this.#server.call({
      method: "POST",
      path: sessionsPath(this.#namespace),
      body: {
        apiVersion: "chaperone.dev/v1alpha1",
        kind: "AccessSession",
        metadata: { generateName: "cli-", namespace: this.#namespace },
        spec: { publicKey: key.publicJwk },
      },
    });
    const name = textAt(answer.body, "metadata", "name");
    if (answer.status !== 201 || name === undefined) throw this.#noSession(answer);
    if (textAt(answer.body, "spec", "user", "username") === undefined)
      throw new Failure(
        `nobody stamped the AccessSession ${this.#namespace}/${name}: the webhooks of Chaperone are not installed in this cluster`,
      );
    return key;
  }

  #noSession(answer: Answer): Failure {
    const what = `an AccessSession cannot be created in namespace ${this.#namespace}`;
    const message = textAt(answer.body, "message") ?? "";
    if (answer.status === 404) {
      const isNamespace = fieldAt(answer.body, "details", "kind") === "namespaces";
      return new Failure(
        isNamespace
          ? `there is no namespace ${this.#namespace}; name the one Chaperone is installed in with --chaperone-namespace`
          : "Chaperone is not installed in this cluster: it does not know the kind AccessSession",
      );
    }
    if (answer.status >= 500 && message.includes("webhook"))
      return new Failure(
        `${what}: the operator does not answer the API server; see: kubectl -n ${this.#namespace} get pods`,
      );
    return refusal(what, answer, roles.session(this.#namespace));
  }

  /** The API server answered in the operator's place. */
  #unreachable(answer: Answer): Failure {
    const what = `the operator in namespace ${this.#namespace}`;
    const see = `see: kubectl -n ${this.#namespace} get pods,endpointslices`;
    if (answer.status === 403 || answer.status === 401)
      return refusal(`${what} cannot be asked`, answer, roles.session(this.#namespace));
    if (answer.status === 404)
      return new Failure(
        `there is no service ${service} in namespace ${this.#namespace}; name the one Chaperone is installed in with --chaperone-namespace`,
      );
    if (answer.status === 502 || answer.status === 503 || answer.status === 504)
      return new Failure(
        `${what} cannot be reached by the API server: is it running, and does a NetworkPolicy let the API server in? ${see}`,
      );
    return refusal(`${what} did not answer`, answer, roles.session(this.#namespace));
  }
}
