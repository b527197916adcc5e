// The hub of live streams: every change that touches a pod goes to its proxy at once, one line of JSON each.
import { controlVersion, type StreamMessage } from "../../contract/control.ts";
import type { EventBody, EventType } from "../../contract/event.ts";
import type { AccessRequest, Connection } from "../../crds/types.gen.ts";
import type { Bundle } from "../../policy/bundle.ts";
import { phaseAt, stateOf } from "../approvals/state.ts";
import type { Governing } from "../grants/govern.ts";
import type { LiveGrants } from "../grants/live.ts";
import {
  covers,
  isActive,
  ordersFor,
  quarantineMessage,
  quarantineName,
  type QuarantineOrder,
} from "../quarantine/select.ts";
import type { RequestStore, ResourceChange } from "../resources.ts";
import { ChangeTracker, subjectKey, type Touched } from "./changes.ts";
import type { ViewPod } from "./views.ts";

/** A proxy that hears nothing for three of these takes the stream for dead. */
export const pingIntervalMs = 5_000;

/** How late the end of a quarantine (`until`) or of a grant may be noticed. */
const tickMs = 1_000;

/** Pods that one replica serves. */
export const maxStreams = 10_000;

/** A reader that lets this much wait is not reading; it is dropped and will come back to a full picture. */
export const maxUnreadBytes = 256 * 1024;

/** Messages that a newer proxy must understand; none so far. */
const requiredFeatures: readonly string[] = [];

/** Where lines go; an HTTP response in the server, anything in tests. */
export interface StreamSink {
  write(line: string): void;
  /** Bytes written and not yet taken by the peer's socket. */
  unread(): number;
  end(): void;
  destroy(): void;
}

export interface StreamHubOptions {
  readonly governing: Governing;
  readonly requests: Pick<RequestStore, "onChange">;
  readonly live: LiveGrants;
  readonly record: (type: EventType, body: EventBody) => void;
  /** What went wrong while a change was told, for the log. */
  readonly onProblem: (error: unknown) => void;
}

interface Stream {
  readonly pod: ViewPod;
  readonly sink: StreamSink;
  /** Milliseconds since 1970: the stream ends with the grant that opened it. */
  readonly expiresAt: number;
  /** Quarantines that this proxy was told about, by name. */
  orders: ReadonlyMap<string, QuarantineOrder>;
}

export class StreamHub {
  readonly #options: StreamHubOptions;
  readonly #streams = new Map<string, Stream>();
  readonly #bySubject = new Map<string, Set<Stream>>();
  readonly #tracker: ChangeTracker;
  readonly #unsubscribe: readonly (() => void)[];
  readonly #ticker: NodeJS.Timeout;
  #lastPing: number;
  /** Names of the quarantines in force when last looked at. */
  #inForce: string;

  constructor(options: StreamHubOptions) {
    this.#options = options;
    const { view, now } = options.governing;
    this.#lastPing = now();
    this.#inForce = this.#quarantinesInForce();
    this.#tracker = new ChangeTracker(
      options.governing,
      (touched) => this.#pushTouched(touched),
      options.onProblem,
    );
    this.#unsubscribe = [
      view.onChange((change) => this.#onChange(change)),
      options.requests.onChange((request) => this.#onRequest(request)),
    ];
    this.#ticker = setInterval(() => this.#tick(), tickMs);
    this.#ticker.unref();
  }

  get size(): number {
    return this.#streams.size;
  }

  /** Takes a new stream; a pod has one, so an older one ends. Undefined when there is no room. Returns what to call when the peer is gone. */
  open(pod: ViewPod, expiresAt: number, sink: StreamSink): (() => void) | undefined {
    const older = this.#streams.get(pod.podUid);
    if (older === undefined && this.#streams.size >= maxStreams) return undefined;
    if (older !== undefined) this.#drop(older, "end");
    const stream: Stream = { pod, sink, expiresAt, orders: new Map() };
    this.#streams.set(pod.podUid, stream);
    const key = subjectKey(pod);
    this.#bySubject.set(key, (this.#bySubject.get(key) ?? new Set()).add(stream));
    this.#tracker.addSubject(pod);
    const generation = this.#generation();
    this.#push(stream, {
      type: "hello",
      version: controlVersion,
      requires: requiredFeatures,
      generation,
    });
    this.#updateOrders(stream);
    // The first ping says that every quarantine in force has been named.
    this.#push(stream, { type: "ping", generation });
    return () => {
      if (this.#streams.get(pod.podUid) === stream) this.#drop(stream, "destroy");
    };
  }

  /** A connection grant went out: what its proxy now enforces is what the next change is compared with. */
  issued(pod: ViewPod, connection: Connection, bundle: Bundle): void {
    this.#tracker.issued(pod, connection, bundle);
  }

  /** The pod is gone, or its container came back with another key. */
  forgetPod(podUid: string): void {
    const stream = this.#streams.get(podUid);
    if (stream !== undefined) this.#drop(stream, "end");
  }

  async close(): Promise<void> {
    clearInterval(this.#ticker);
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    await this.#tracker.close();
    for (const stream of this.#streams.values()) this.#drop(stream, "end");
  }

  #onChange(change: ResourceChange): void {
    // Not queued behind anything: within a second of the order nothing may pass any more.
    if (change.kind === "Quarantine") this.#quarantineChanged();
    else this.#tracker.changed(change);
  }

  #quarantineChanged(): void {
    this.#inForce = this.#quarantinesInForce();
    for (const stream of this.#streams.values()) this.#updateOrders(stream);
  }

  /** Tells the proxy what was added, changed or lifted since it was last told. */
  #updateOrders(stream: Stream): void {
    const { view, now, operatorNamespace } = this.#options.governing;
    const orders = new Map(
      ordersFor(view.quarantines(), stream.pod, now(), operatorNamespace).map((order) => [
        order.name,
        order,
      ]),
    );
    const before = stream.orders;
    stream.orders = orders;
    const generation = this.#generation();
    for (const order of orders.values()) {
      if (JSON.stringify(before.get(order.name)) === JSON.stringify(order)) continue;
      this.#push(stream, {
        type: "quarantined",
        name: order.name,
        connections: order.reach,
        message: quarantineMessage(order),
        generation,
      });
      this.#revokeUnder(stream, order);
    }
    for (const name of before.keys())
      if (!orders.has(name)) this.#push(stream, { type: "lifted", name, generation });
  }

  #revokeUnder(stream: Stream, order: QuarantineOrder): void {
    const { live } = this.#options;
    const { podUid } = stream.pod;
    const held = live.select({ podUid }).flatMap(({ connection }) => connection ?? []);
    for (const connection of held)
      if (covers(order.reach, connection)) this.#forgetGrants(podUid, connection, "Quarantined");
  }

  #pushTouched({ connection, subject, outcome }: Touched): void {
    const generation = this.#generation();
    for (const stream of this.#bySubject.get(subject) ?? []) {
      if (outcome.kind === "changed") {
        this.#push(stream, { type: "changed", connection, generation });
        continue;
      }
      this.#push(stream, {
        type: "revoked",
        connection,
        reason: outcome.reason,
        message: outcome.message,
        generation,
      });
      this.#forgetGrants(stream.pod.podUid, connection, outcome.reason);
    }
  }

  #forgetGrants(podUid: string, connection: string, reason: string): void {
    const { live, record } = this.#options;
    for (const entry of live.revoke({ podUid, connection })) {
      const [namespace = "", name = ""] = connection.split("/");
      record("revoke", {
        subject: {
          namespace: entry.namespace,
          serviceAccount: entry.serviceAccount,
          pod: entry.pod,
          podUid,
        },
        connection: {
          namespace,
          name,
          protocol: this.#options.governing.view.connection(namespace, name)?.spec.protocol ?? "",
        },
        grant: { id: entry.id, expiresAt: new Date(entry.expiresAt).toISOString(), reason },
      });
    }
  }

  #onRequest(request: AccessRequest): void {
    const stream = this.#streams.get(request.spec.requester.podUid);
    const now = this.#options.governing.now();
    if (stream === undefined || phaseAt(request, now) === "Pending") return;
    this.#push(stream, {
      type: "request-decided",
      request: stateOf(request, stream.pod.namespace, now),
      generation: this.#generation(),
    });
  }

  #tick(): void {
    const now = this.#options.governing.now();
    const pings = now - this.#lastPing >= pingIntervalMs;
    if (pings) this.#lastPing = now;
    // A quarantine with `until` ends, or a skewed one begins, without any change.
    if (this.#quarantinesInForce() !== this.#inForce) this.#quarantineChanged();
    for (const stream of this.#streams.values()) {
      if (stream.expiresAt <= now) {
        this.#drop(stream, "end");
        continue;
      }
      if (pings) this.#push(stream, { type: "ping", generation: this.#generation() });
    }
  }

  #push(stream: Stream, message: StreamMessage): void {
    if (this.#streams.get(stream.pod.podUid) !== stream) return;
    stream.sink.write(`${JSON.stringify(message)}\n`);
    if (stream.sink.unread() > maxUnreadBytes) this.#drop(stream, "destroy");
  }

  #drop(stream: Stream, how: "end" | "destroy"): void {
    if (this.#streams.get(stream.pod.podUid) !== stream) return;
    this.#streams.delete(stream.pod.podUid);
    const key = subjectKey(stream.pod);
    const peers = this.#bySubject.get(key);
    peers?.delete(stream);
    if (peers?.size === 0) this.#bySubject.delete(key);
    this.#tracker.removeSubject(stream.pod);
    stream.sink[how]();
  }

  #quarantinesInForce(): string {
    const { view, now } = this.#options.governing;
    const at = now();
    return JSON.stringify(
      view
        .quarantines()
        .filter((quarantine) => isActive(quarantine, at))
        .map(quarantineName),
    );
  }

  #generation(): number {
    return this.#options.governing.view.generation();
  }
}
