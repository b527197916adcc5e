// People in a cluster: an AccessSession that the webhook stamped binds their command line's key to them, and DPoP by that key proves them.
import { createHash } from "node:crypto";
import type { AccessSession, PublicJwk } from "../../crds/types.gen.ts";
import { unauthorized, unavailable } from "../api/errors.ts";
import type { PeopleAuthenticator, Person } from "../api/people.ts";
import { ProofRefused } from "../grants/dpop.ts";
import type { AccessReviewer } from "./access.ts";
import { Collection, type WatchParts } from "./collection.ts";
import { resourceTypes } from "./resource-types.ts";
import { typedReader, type Stored } from "./typed.ts";

/** However long the stamp says: a lost laptop is a lost ten minutes. */
export const sessionLifeMs = 10 * 60_000;

/** A command line creates its session and calls at once; the watch is milliseconds behind. */
const arrivalWaitMs = 2_000;

/** Strangers may not make us wait for more sessions than this at one time. */
const maxWaiting = 200;

const byKey = "jkt";
const group = "chaperone.dev";

/** RFC 7638, without the detour through WebCrypto's promises. */
export function thumbprintOf({ kty, crv, x, y }: PublicJwk): string {
  const members = kty === "EC" ? { crv, kty, x, y } : { crv, kty, x };
  return createHash("sha256").update(JSON.stringify(members)).digest("base64url");
}

export class KubePeople implements PeopleAuthenticator {
  readonly collection: Collection<Stored<"AccessSession">>;
  readonly #access: AccessReviewer;
  readonly #now: () => number;
  #waiting = 0;

  /** Sessions count in the operator's own namespace alone, where the chart says who may make them and the webhook stamps each. */
  constructor(parts: WatchParts, access: AccessReviewer, namespace: string) {
    this.collection = new Collection(parts, {
      type: resourceTypes.AccessSession,
      read: typedReader("AccessSession"),
      namespace,
      indexes: { [byKey]: ({ spec }) => [thumbprintOf(spec.publicKey)] },
    });
    this.#access = access;
    this.#now = parts.now;
  }

  authenticate: PeopleAuthenticator["authenticate"] = async (
    request,
    { proofs, replay, signal },
  ) => {
    try {
      const { jkt, jti } = await proofs.verify(request.proof, {
        method: request.method,
        path: request.path,
      });
      const session = this.#find(jkt) ?? (await this.#arrival(jkt, signal));
      if (session === undefined)
        throw unauthorized(
          "invalid_token",
          "SessionNotFound",
          "no valid AccessSession holds this key; create one (kubectl chaperone does) and try again",
        );
      if (replay.use(jkt, jti) !== "fresh")
        throw unauthorized(
          "invalid_dpop_proof",
          "ProofReplayed",
          "this DPoP proof was used before; make a new one for every request",
        );
      return personOf(session);
    } catch (error) {
      if (error instanceof ProofRefused)
        throw unauthorized(error.code, error.reason, error.message, error);
      throw error;
    }
  };

  authorize: PeopleAuthenticator["authorize"] = async (
    person,
    { verb, resource, namespace, name },
    signal,
  ) => {
    const question = {
      verb,
      group,
      resource,
      ...(namespace === undefined ? {} : { namespace }),
      ...(name === undefined ? {} : { name }),
    };
    try {
      return await this.#access.may(person, question, signal);
    } catch (cause) {
      throw unavailable(
        "AccessReviewUnavailable",
        "the API server cannot be asked for permission at the moment",
        cause,
      );
    }
  };

  start(): void {
    this.collection.start();
  }

  async close(): Promise<void> {
    await this.collection.close();
  }

  #find(jkt: string): AccessSession | undefined {
    return this.collection.store.by(byKey, jkt).find((session) => isValid(session, this.#now()));
  }

  async #arrival(jkt: string, signal: AbortSignal): Promise<AccessSession | undefined> {
    if (this.#waiting >= maxWaiting) return undefined;
    this.#waiting += 1;
    const { promise, resolve } = Promise.withResolvers<AccessSession | undefined>();
    const look = (): void => {
      const found = this.#find(jkt);
      if (found !== undefined) resolve(found);
    };
    const giveUp = (): void => resolve(undefined);
    const unsubscribe = this.collection.store.onChange(look);
    const timer = setTimeout(giveUp, arrivalWaitMs);
    signal.addEventListener("abort", giveUp, { once: true });
    try {
      look();
      return await promise;
    } finally {
      this.#waiting -= 1;
      clearTimeout(timer);
      unsubscribe();
      signal.removeEventListener("abort", giveUp);
    }
  }
}

/** Stamped by the webhook, not past what it says, and never older than ten minutes whatever it says. */
export function isValid({ spec, metadata }: AccessSession, now: number): boolean {
  const created = Date.parse(metadata.creationTimestamp ?? "");
  const until = Math.min(Date.parse(spec.expiresAt ?? ""), created + sessionLifeMs);
  return spec.user !== undefined && until > now && metadata.deletionTimestamp === undefined;
}

function personOf({ spec }: AccessSession): Person {
  const { username = "", uid, groups = [] } = spec.user ?? {};
  return {
    username,
    groups,
    isServiceAccount: username.startsWith("system:serviceaccount:"),
    local: false,
    ...(uid === undefined || uid === "" ? {} : { uid }),
  };
}
