// The life of access requests: opened by proxies, decided by people, spent once, expired by time.
import type { EventBody, EventType } from "../../contract/event.ts";
import type { OpenRequest, SpendAnswer } from "../../contract/control.ts";
import type { AccessRequest, AccessRequestStatus } from "../../crds/types.gen.ts";
import { RequestConflict, type RequestStore, type ResourceView } from "../resources.ts";
import {
  mayDecide,
  orderGroups,
  outcome,
  phaseOf,
  stampDecision,
  type Approver,
  type Barred,
  type MayDecide,
} from "./decide.ts";
import type { DetailStore } from "./details.ts";
import { buildRequest, checkOpenCount, findSame, type Requester } from "./open.ts";
import { connectionOf, phaseAt } from "./state.ts";

/** Writers meet on one request when people decide at the same moment; more rounds than this means something rewrites it in a loop. */
const maxWriteRounds = 8;

/** Names taken by finished requests of the same operation are skipped; nobody holds the same operation more often than this while they are kept. */
const maxNameRounds = 50;

/** Opens are serialised by pod; a pod that queues more than this is refused at the request limit anyway. */
const maxQueuedPods = 10_000;

export interface ApprovalsOptions {
  readonly view: ResourceView;
  readonly store: RequestStore;
  readonly details: DetailStore;
  readonly now: () => number;
  /** Audit events of the operator's own stream. */
  readonly record: (type: EventType, body: EventBody) => void;
  /** Local mode: groups and duties are not checked, and every event says so. */
  readonly isLocal: boolean;
  /** Who deployed the agent and who wrote the policies last. */
  readonly barred?: (request: AccessRequest, signal: AbortSignal) => Promise<readonly Barred[]>;
  /** Why this subject can no longer obtain a grant for the connection; undefined when it can. */
  readonly withoutStanding: (requester: Requester, connection: string) => string | undefined;
}

export interface DecisionInput {
  readonly namespace: string;
  readonly name: string;
  readonly approver: Approver;
  readonly verdict: "Approved" | "Denied";
  readonly reason?: string;
}

export type DecisionAnswer =
  | { readonly request: AccessRequest }
  | { readonly refused: Exclude<MayDecide, { allowed: true }> }
  | { readonly notFound: true };

export class Approvals {
  readonly #options: ApprovalsOptions;
  readonly #opening = new Map<string, Promise<unknown>>();

  constructor(options: ApprovalsOptions) {
    this.#options = options;
  }

  /** The request for this operation: the one that already stands, or a new one. Throws RequestRefused. */
  async open(requester: Requester, open: OpenRequest, signal: AbortSignal): Promise<AccessRequest> {
    const before = this.#opening.get(requester.podUid) ?? Promise.resolve();
    if (this.#opening.size >= maxQueuedPods && !this.#opening.has(requester.podUid))
      throw new Error("too many pods open access requests at once; try again");
    const mine = before.then(
      () => this.#openNow(requester, open, signal),
      () => this.#openNow(requester, open, signal),
    );
    this.#opening.set(requester.podUid, mine);
    try {
      return await mine;
    } finally {
      if (this.#opening.get(requester.podUid) === mine) this.#opening.delete(requester.podUid);
    }
  }

  async #openNow(
    requester: Requester,
    open: OpenRequest,
    signal: AbortSignal,
  ): Promise<AccessRequest> {
    const { store, view, now, details } = this.#options;
    signal.throwIfAborted();
    const existing = await store.list(undefined, signal);
    const same = findSame(existing, requester, open, now());
    if (same !== undefined) return same;
    checkOpenCount(existing, requester, now());
    let earlier = 0;
    for (let round = 0; round < maxNameRounds; round += 1) {
      const wanted = buildRequest(view, requester, open, earlier, now());
      const taken = await store.get(wanted.metadata.namespace, wanted.metadata.name, signal);
      const created = taken ?? (await this.#create(wanted, signal));
      if (created === "taken") continue; // made between our look and our write: look again under the same name
      if (findSame([created], requester, open, now()) === undefined) {
        earlier += 1; // a finished one of the same operation, or another's
        continue;
      }
      if (taken === undefined) {
        if (open.detail !== undefined) details.put(detailKey(created), open.detail);
        this.#record("request-opened", created, {});
      }
      return created;
    }
    throw new Error(
      `no free name for an access request on ${open.connection} after ${maxNameRounds} attempts`,
    );
  }

  async #create(wanted: AccessRequest, signal: AbortSignal): Promise<AccessRequest | "taken"> {
    const { store } = this.#options;
    try {
      return await store.create(wanted, signal);
    } catch (error) {
      // A conflict is told from a failure by looking: every store says "exists" in its own words.
      if ((await store.get(wanted.metadata.namespace, wanted.metadata.name, signal)) !== undefined)
        return "taken";
      throw error;
    }
  }

  /** One person's decision, checked and stamped here; also what it amounts to. */
  async decide(input: DecisionInput, signal: AbortSignal): Promise<DecisionAnswer> {
    const { store, now, barred, isLocal } = this.#options;
    // Whatever an authenticator says, only local mode waives groups and duties.
    const approver = { ...input.approver, local: input.approver.local && isLocal };
    for (let round = 0; round < maxWriteRounds; round += 1) {
      const request = await store.get(input.namespace, input.name, signal);
      if (request === undefined) return { notFound: true };
      const answer = mayDecide({
        request,
        approver,
        now: now(),
        ...(barred === undefined ? {} : { barred: await barred(request, signal) }),
      });
      if (!answer.allowed) return { refused: answer };
      const decision = stampDecision(
        orderGroups(approver, request),
        input.verdict,
        input.reason,
        now(),
      );
      const decided: AccessRequest = {
        ...request,
        status: { ...request.status, decisions: [...(request.status?.decisions ?? []), decision] },
      };
      const written = await this.#write({ ...decided, status: this.#settled(decided) }, signal);
      if (written === undefined) continue;
      this.#record("request-decided", written, {
        verdict: input.verdict,
        by: decision.by,
        ...(input.reason === undefined ? {} : { reason: input.reason }),
      });
      return { request: written };
    }
    throw new RequestConflict(input.name);
  }

  /** Brings the phase up to date with decisions that were written past us (kubectl). Safe to call on every change. */
  async settle(request: AccessRequest, signal: AbortSignal): Promise<AccessRequest> {
    if (phaseAt(request, this.#options.now()) !== "Pending") return request;
    const status = this.#settled(request);
    if (status.phase === undefined || status.phase === "Pending") return request;
    const written = await this.#write({ ...request, status }, signal);
    if (written === undefined) return request;
    const people = (written.status?.decisions ?? []).map(({ by }) => by).join(", ");
    this.#record("request-decided", written, { verdict: status.phase, by: people });
    return written;
  }

  /**
   * Uses the approval. True at most once, whoever else tries at the same time: the stored phase changes by compare-and-swap
   * before anything is forwarded.
   */
  async spend(
    requester: Requester,
    namespace: string,
    name: string,
    digest: string,
    signal: AbortSignal,
  ): Promise<SpendAnswer> {
    const { store, now, withoutStanding } = this.#options;
    for (let round = 0; round < maxWriteRounds; round += 1) {
      const request = await store.get(namespace, name, signal);
      if (request === undefined || request.spec.requester.podUid !== requester.podUid)
        return no("RequestNotFound");
      if (request.spec.digest !== digest) return no("DigestMismatch");
      const phase = phaseAt(request, now());
      if (phase !== "Approved") return no(phase === "Spent" ? "AlreadySpent" : `Request${phase}`);
      const lost = withoutStanding(requester, connectionOf(request));
      if (lost !== undefined) return no(lost);
      const status: AccessRequestStatus = {
        ...request.status,
        phase: "Spent",
        spentAt: new Date(now()).toISOString(),
      };
      if ((await this.#write({ ...request, status }, signal)) !== undefined) {
        this.#options.details.drop(detailKey(request));
        return { spent: true };
      }
    }
    return no("Conflict");
  }

  /** Writes `Expired` where time ran out. Returns how many. */
  async expire(signal: AbortSignal): Promise<number> {
    const { store, now, details } = this.#options;
    let expired = 0;
    for (const request of await store.list(undefined, signal)) {
      signal.throwIfAborted();
      if (phaseAt(request, now()) !== "Expired" || phaseOf(request) === "Expired") continue;
      const wasPending = phaseOf(request) === "Pending";
      const written = await this.#write(
        { ...request, status: { ...request.status, phase: "Expired" } },
        signal,
      );
      if (written === undefined) continue; // decided or spent at the last moment
      expired += 1;
      details.drop(detailKey(request));
      this.#record("request-decided", written, {
        verdict: "Expired",
        reason: wasPending ? "nobody decided in time" : "the approval was not used in time",
      });
    }
    return expired;
  }

  detail(namespace: string, name: string): string | undefined {
    return this.#options.details.get(`${namespace}/${name}`);
  }

  #settled(request: AccessRequest): AccessRequestStatus {
    const result = outcome(request, this.#options.isLocal);
    return result.phase === "Approved"
      ? { ...request.status, phase: "Approved", validUntil: result.validUntil }
      : { ...request.status, phase: result.phase };
  }

  /** Undefined when someone else wrote first. */
  async #write(request: AccessRequest, signal: AbortSignal): Promise<AccessRequest | undefined> {
    try {
      return await this.#options.store.updateStatus(request, signal);
    } catch (error) {
      if (error instanceof RequestConflict) return undefined;
      throw error;
    }
  }

  #record(
    type: "request-opened" | "request-decided",
    request: AccessRequest,
    what: { readonly verdict?: string; readonly by?: string; readonly reason?: string },
  ): void {
    const { requester, session, kind, summary, digest } = request.spec;
    const { namespace, name } = request.metadata;
    const protocol =
      this.#options.view.connection(namespace, request.spec.connection)?.spec.protocol ?? "";
    this.#options.record(type, {
      session,
      subject: requester,
      connection: { namespace, name: request.spec.connection, protocol },
      operation: { kind, summary, digest },
      request: { name, ...what },
      ...(this.#options.isLocal ? { assurance: "local" } : {}),
    });
  }
}

function detailKey(request: AccessRequest): string {
  return `${request.metadata.namespace}/${request.metadata.name}`;
}

function no(reason: string): SpendAnswer {
  return { spent: false, reason };
}
