// Keeps every Quarantine's status true, and writes its beginning and end into the audit trail.
import type { EventBody, EventType } from "../../contract/event.ts";
import type { Quarantine } from "../../crds/types.gen.ts";
import type { ProxyViews } from "../api/views.ts";
import type { KubeClient } from "../kube/client.ts";
import { Controller, type ControllerLog } from "../kube/controller.ts";
import { resourceTypes } from "../kube/resource-types.ts";
import { applyStatus } from "../kube/status.ts";
import type { KubeView } from "../kube/view.ts";
import { isActive, quarantineName } from "../quarantine/select.ts";
import { quarantineStatus } from "./quarantine-status.ts";

/** Somebody waits to hear that everybody is cut off. */
const waitingMs = 500;

/** Afterwards pods come and go, and `until` is noticed. */
const settledMs = 10_000;

const fieldManager = "chaperone-quarantines";

export interface QuarantineControllerOptions {
  readonly client: KubeClient;
  readonly view: KubeView;
  readonly views: Pick<ProxyViews, "confirm">;
  readonly operatorNamespace: string;
  readonly now: () => number;
  readonly log: ControllerLog;
  readonly record: (type: EventType, body: EventBody) => void;
}

export function quarantineController(options: QuarantineControllerOptions): Controller {
  const { client, view, views, operatorNamespace, now, record } = options;
  /** When this replica first saw each order as it stands; only younger views can confirm it. Entries go with their Quarantine. */
  const seen = new Map<string, { readonly of: string; readonly at: number }>();

  const seenAt = (quarantine: Quarantine): number => {
    const key = quarantineName(quarantine);
    const of = `${quarantine.metadata.uid ?? ""} ${quarantine.metadata.generation ?? 0}`;
    const known = seen.get(key);
    if (known?.of === of) return known.at;
    const at = now();
    seen.set(key, { of, at });
    return at;
  };

  const tell = (quarantine: Quarantine, state: "added" | "lifted"): void =>
    record("quarantine", {
      quarantine: { name: quarantineName(quarantine), reason: quarantine.spec.reason, state },
    });

  const controller = new Controller({
    name: "quarantines",
    workers: 1,
    log: options.log,
    async reconcile(key, signal) {
      const quarantine = view.quarantineOrders.store.get(key);
      if (quarantine === undefined) return {};
      const active = isActive(quarantine, now());
      const counted = views.confirm(quarantine, seenAt(quarantine), operatorNamespace);
      const status = quarantineStatus(quarantine, active, counted, now());
      const wrote = await applyStatus(
        client,
        resourceTypes.Quarantine,
        quarantine,
        { ...status },
        fieldManager,
        signal,
      );
      if (wrote) announce(quarantine, active);
      if (!active) return {};
      return { requeueAfterMs: counted.confirmed < counted.proxies ? waitingMs : settledMs };
    },
  });

  /** The stored status remembers what was announced over a restart; we remember it until the watch has brought that status back. */
  const announced = new Map<string, string>();
  const announce = (quarantine: Quarantine, active: boolean): void => {
    const key = quarantineName(quarantine);
    const state = `${quarantine.metadata.uid ?? ""} ${active ? "added" : "lifted"}`;
    if (announced.get(key) === state) return;
    announced.set(key, state);
    const was = quarantine.status?.conditions?.find(({ type }) => type === "Active")?.status;
    if (was !== "True" && active) tell(quarantine, "added");
    if (was === "True" && !active) tell(quarantine, "lifted");
  };

  // What was listed before we began to listen.
  for (const quarantine of view.quarantineOrders.store.values())
    controller.queue.add(quarantineName(quarantine));
  view.quarantineOrders.store.onChange(({ key, before, after }) => {
    controller.queue.add(key);
    // Seen now, not when a worker has time: a view of a moment later may already confirm it.
    if (after !== undefined) seenAt(after);
    if (before === undefined || after !== undefined) return;
    seen.delete(key);
    announced.delete(key);
    if (isActive(before, now())) tell(before, "lifted");
  });
  return controller;
}
